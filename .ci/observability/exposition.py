"""Reads the metrics of a running gateway: each family with its type, help, and the labels of its series."""

import re
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? \S+$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = dict[str, set[str]]


@dataclass
class Family:
    """One metric; a histogram is one of three series."""

    name: str
    help: str
    kind: str = "untyped"
    labels: Labels = field(default_factory=dict)

    def series(self) -> list[str]:
        if self.kind == "histogram":
            return [f"{self.name}_{part}" for part in ("bucket", "sum", "count")]
        return [self.name]

    def note(self, sample: str, labels: str) -> None:
        for name, value in LABEL.findall(labels):
            if name != "le" or sample.endswith("_bucket"):
                self.labels.setdefault(name, set()).add(value)


def read(path: Path) -> dict[str, Family]:
    """Families by name, in the order of the exposition, which is alphabetical."""
    families: dict[str, Family] = {}
    current = Family("", "")
    for line in path.read_text(encoding="utf-8").splitlines():
        match line.split(" ", 3):
            case ["#", "HELP", name, text]:
                current = families.setdefault(name, Family(name, text))
            case ["#", "TYPE", name, kind]:
                current = families.setdefault(name, Family(name, ""))
                current.kind = kind
            case _:
                sample = SAMPLE.fullmatch(line)
                if sample is None or sample["name"] not in current.series():
                    raise ValueError(f"{path}: a line of no known family: {line}")
                current.note(sample["name"], sample["labels"] or "")
    return families
