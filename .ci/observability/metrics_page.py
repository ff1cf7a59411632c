"""Compares docs/metrics.md, as the gateway prints it from its declarations, with a running gateway's metrics."""

import re
from collections.abc import Iterator
from pathlib import Path

from exposition import Family

PAGE = Path("docs/metrics.md")
METRIC = re.compile(r"\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) \| (.*) \|")
LABEL = re.compile(r"\| `(\w+)` \| (.*) \|")
CODE = re.compile(r"`([^`]+)`")
# Values of one label that not every metric has: a list, and the metrics that it is for.
LIST = re.compile(r"(`[^()]*`|[^();]*) \(([a-z_, ]+)\)")


def read(page: str) -> dict[str, Family]:
    """Each metric of the page, with the values that the page gives each label."""
    metrics, _, labels = page.partition("## Labels")
    families = {}
    for match in METRIC.finditer(metrics):
        name, kind, names, help_ = match.groups()
        families[name] = Family(name, help_, kind, {label: set() for label in CODE.findall(names)})
    for name, values in LABEL.findall(labels):
        for family in families.values():
            if name in family.labels:
                family.labels[name] |= set(CODE.findall(of_metric(values, family.name)))
    for family in families.values():
        if family.kind == "histogram":
            family.labels["le"] = set()
    return families


def of_metric(values: str, metric: str) -> str:
    """The list of values that is for this metric."""
    short = metric.removeprefix("pai_gateway_")
    lists = LIST.findall(values)
    return next((found for found, metrics in lists if short in metrics.split(", ")), "" if lists else values)


def problems(page: str, declared: dict[str, Family], exposed: dict[str, Family]) -> Iterator[str]:
    """Yields problems of the page in docs, and of the declarations."""
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        yield f"{PAGE} is not what this gateway declares: run .ci/check-observability --write"
    for name, family in exposed.items():
        if name not in declared:
            yield f"{name} is exposed and not declared"
        else:
            yield from differences(declared[name], family)


def differences(declared: Family, exposed: Family) -> Iterator[str]:
    """Yields metrics that differ from their declaration; the exposed values complete open labels."""
    for what in ("kind", "help"):
        if getattr(declared, what) != getattr(exposed, what):
            yield f"{declared.name}: its {what} is exposed as {getattr(exposed, what)}"
    if declared.labels.keys() != exposed.labels.keys():
        yield f"{declared.name}: its labels are exposed as {', '.join(sorted(exposed.labels))}"
    for name, values in exposed.labels.items():
        declared.labels.setdefault(name, set()).update(values)
