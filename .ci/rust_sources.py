"""The Rust sources that the checks read: every crate's own, without tests."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def files():
    """Yields the crate, the path and the lines, without the test module, of each source file."""
    crates = [("pai-image-gateway", ROOT / "src")]
    crates += [(folder.parent.name, folder) for folder in sorted(ROOT.glob("crates/*/src"))]
    for crate, folder in crates:
        for path in sorted(folder.rglob("*.rs")):
            if path.name not in ("tests.rs", "testing.rs") and "tests" not in path.parts:
                yield crate, path, production(path)


def production(path):
    """The file's lines up to its test module."""
    lines = path.read_text().splitlines()
    for at, line in enumerate(lines[:-1]):
        if line.strip() == "#[cfg(test)]" and re.match(r"\s*(pub(\(\w+\))? )?mod \w+ \{", lines[at + 1]):
            return lines[:at]
    return lines
