"""Prints the chart's README.md with its table of values made anew, from values.yaml and its comments.

    chart_readme.py CHART
"""

import json
import pathlib
import re
import sys

import yaml

BEGIN, END = "<!-- values: made by .ci/check-deploy --sync -->", "<!-- end of values -->"
KEY = re.compile(r"^( *)([A-Za-z]\w*):")
LONGEST = 60


def main() -> None:
    chart = pathlib.Path(sys.argv[1])
    text = (chart / "values.yaml").read_text()
    rules = json.loads((chart / "values.schema.json").read_text())
    comments = documented(text)
    rows = [row(path, value, comments) for path, value in leaves(yaml.safe_load(text), rules)]
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])
    before, _, rest = (chart / "README.md").read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    sys.stdout.write(f"{before}{BEGIN}\n{table}\n{END}{after}")


def leaves(values: dict, rule: dict, prefix: str = ""):
    """Each value that is set by itself; a map without rules for its keys is one value."""
    for key, value in values.items():
        inner = rule.get("properties", {}).get(key, {})
        path = f"{prefix}{key}"
        if path != "config" and isinstance(value, dict) and "properties" in inner:
            yield from leaves(value, inner, f"{path}.")
        else:
            yield path, value


def documented(text: str) -> dict[str, str]:
    """The comment before each key, by the key's path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        key = KEY.match(line)
        if line.strip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
        elif key:
            indent = len(key[1])
            path = [part for part in path if part[0] < indent] + [(indent, key[2])]
            found[".".join(name for _, name in path)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def row(path: str, value, comments: dict[str, str]) -> str:
    default = json.dumps(value)
    default = f"`{default}`" if len(default) <= LONGEST else "see values.yaml"
    meaning = comments.get(path, "").partition(" For example:")[0]
    parent = path.rpartition(".")[0]
    # The comment of a table stands with its first value.
    first = [known for known in comments if known.startswith(f"{parent}.")][:1] if parent else []
    if first == [path] and comments.get(parent):
        meaning = f"{comments[parent]} {meaning}".strip()
    return f"| `{path}` | {default} | {meaning} |".replace("  |", " |")


main()
