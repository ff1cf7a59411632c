"""docs/metrics.md, made from what a gateway exposes, and whether it still says so."""

import re
from collections.abc import Iterator
from pathlib import Path

from exposition import Family

PAGE = Path("docs/metrics.md")
SOURCES = Path("src")
# Each registration in the source, by the one struct that makes metrics.
REGISTERED = re.compile(
    r"\bregister\s*\.(?:counters?|gauges?|histograms?|float)\(\s*\"(\w+)\""
)
# Labels whose values the exposition of one run cannot list.
ELSEWHERE = {
    "client": "names in `auth.clients_file`, `anonymous`, `unauthenticated`",
    "part": "`clients`, `tls`",
    "reason": "as in `src/auth/refused.rs`",
    "source": "as `credentials.source`",
    "scope": "`user`, `user_api`",
    "version": "this build's",
}
HEAD = """\
# Metrics

Generated; do not edit. `.ci/check-observability --write` starts a gateway and an emulated origin with a quota, has clients let in and refused, and writes this page from the `HELP` and `TYPE` lines and the series of `/metrics`. A labelled metric is not exposed before its first series, so the check also reads every registration in `src/` and fails if one is missing here; without `--write` it fails if this page is not what it would write.

A histogram `X` is the series `X_bucket`, with a label `le`, `X_sum` and `X_count`. Labels come from enums and from the operator's files, never from a request. [deploy/alerts.yaml](../deploy/alerts.yaml) alerts on them, [deploy/dashboards/gateway.json](../deploy/dashboards/gateway.json) draws them, [operations.md](operations.md) says what to do.
"""


def write(families: dict[str, Family]) -> str:
    """The page."""
    metrics = [
        f"| `{family.name}` | {family.kind} | {labels_of(family)} | {family.help} |" for family in families.values()
    ]
    labels = [
        f"| `{name}` | {described(name, families)} |"
        for name in sorted({name for family in families.values() for name in family.labels} - {"le"})
    ]
    return "\n".join([
        HEAD,
        "| metric | type | labels | what |", "|---|---|---|---|", *metrics, "",
        "## Labels", "",
        "| label | values |", "|---|---|", *labels, "",
    ])


def labels_of(family: Family) -> str:
    return ", ".join(f"`{name}`" for name in sorted(family.labels.keys() - {"le"}))


def described(label: str, families: dict[str, Family]) -> str:
    """Where a label means different things, each with its metric."""
    if label in ELSEWHERE:
        return ELSEWHERE[label]
    by_values: dict[str, list[str]] = {}
    for family in families.values():
        if label in family.labels:
            values = ", ".join(f"`{value}`" for value in sorted(family.labels[label]))
            by_values.setdefault(values, []).append(family.name.removeprefix("pai_gateway_"))
    if len(by_values) == 1:
        return next(iter(by_values))
    return "; ".join(f"{values} ({', '.join(names)})" for values, names in by_values.items())


def problems(families: dict[str, Family]) -> Iterator[str]:
    """What is wrong with the page, and with the exposition it is made from."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("metrics*/*.rs")))
    text += (SOURCES / "metrics.rs").read_text(encoding="utf-8")
    registered = {f"pai_gateway_{name}" for name in REGISTERED.findall(text)}
    exposed = {name for name in families if name.startswith("pai_gateway_")}
    for name in sorted(registered - exposed):
        yield f"{name} is registered and not exposed: .ci/check-metrics must give it a series"
    for name in sorted(exposed - registered):
        yield f"{name} is exposed, and its registration was not found in {SOURCES}"
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != write(families):
        yield f"{PAGE} is not what this gateway exposes: run .ci/check-observability --write"
