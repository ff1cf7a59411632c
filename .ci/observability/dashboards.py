"""Checks that the dashboard is its generator's output, and queries existing metrics."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vocabulary import Vocabulary

FOLDER = Path("deploy/dashboards")
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$job": ".*", "$instance": ".*"}
NAME = re.compile(r"label_values\((\w+)")
LEGEND_LABEL = re.compile(r"\{\{(\w+)\}\}")


def problems(vocabulary: Vocabulary) -> Iterator[str]:
    """Yields each problem with its place."""
    generated = subprocess.run([FOLDER / "generate", "--print"], capture_output=True, text=True, check=True).stdout
    path = FOLDER / "gateway.json"
    text = path.read_text(encoding="utf-8")
    if text != generated:
        yield f"{path} is not what {FOLDER}/generate writes: run it"
    dashboard = json.loads(text)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            for problem in query_problems(target["expr"], target["legendFormat"], vocabulary):
                yield f'{path}: "{panel["title"]}" {target["refId"]}: {problem}'
    for variable in dashboard["templating"]["list"]:
        for problem in variable_problems(variable, vocabulary):
            yield f"{path}: variable {variable['name']}: {problem}"
    yield from (f"{path}: {problem}" for problem in layout_problems(dashboard["panels"]))


def query_problems(expr: str, legend: str, vocabulary: Vocabulary) -> Iterator[str]:
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    if "$" in expr:
        yield f"a variable that the dashboard does not have: {expr}"
        return
    found = list(vocabulary.problems(expr))
    yield from found
    if not found:
        for label in set(LEGEND_LABEL.findall(legend)) - vocabulary.labels_of(expr):
            yield f"the legend names a label {label} that no series has"


def variable_problems(variable: dict[str, Any], vocabulary: Vocabulary) -> Iterator[str]:
    if variable["type"] == "query":
        for name in NAME.findall(variable["definition"]):
            if name not in vocabulary.metrics:
                yield f"no such metric: {name}"


def layout_problems(panels: list[dict[str, Any]]) -> Iterator[str]:
    """Yields panels that overlap or share an id."""
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield f'"{panel["title"]}" lies on "{taken[cell]}"'
                break
            taken[cell] = panel["title"]
    if len({panel["id"] for panel in panels}) < len(panels):
        yield "two panels have one id"
