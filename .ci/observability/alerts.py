"""Checks that alerts query existing metrics, and that each has its runbook section and its two tests."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vocabulary import Vocabulary

RULES = Path("deploy/alerts.yaml")
TESTS = Path("deploy/alerts.test.yaml")
RUNBOOK = Path("docs/operations.md")
SEVERITIES = {"critical", "warning"}
ANNOTATIONS = {"summary", "description", "runbook_url"}
# A placeholder for the repository's address: see .github/workflows/release.yml.
REPOSITORY = "https://example.com/pai-image-gateway/"
TEMPLATE_LABEL = re.compile(r"\$labels\.(\w+)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def problems(vocabulary: Vocabulary) -> Iterator[str]:
    """Yields each problem with its place."""
    rules = [rule for group in load(RULES)["groups"] for rule in group["rules"]]
    anchors = {anchor(heading) for heading in HEADING.findall(RUNBOOK.read_text(encoding="utf-8"))}
    tests = expectations()
    for rule in rules:
        found = list(vocabulary.problems(rule["expr"]))
        yield from (f"{RULES}: {rule.get('alert') or rule['record']}: {problem}" for problem in found)
        if "record" in rule and not found:
            vocabulary.learn(rule["record"], rule["expr"])
        if "alert" in rule and not found:
            for problem in alert_problems(rule, vocabulary, anchors, tests[rule["alert"]]):
                yield f"{RULES}: {rule['alert']}: {problem}"
    names = {rule["alert"] for rule in rules if "alert" in rule}
    for heading in HEADING.findall(RUNBOOK.read_text(encoding="utf-8")):
        if heading.startswith("PaiGateway") and heading not in names:
            yield f"{RUNBOOK}: {heading} is no alert"


def alert_problems(
    rule: dict[str, Any], vocabulary: Vocabulary, anchors: set[str], tested: set[bool]
) -> Iterator[str]:
    if rule["labels"].get("severity") not in SEVERITIES:
        yield f"severity is one of {', '.join(sorted(SEVERITIES))}"
    if rule["annotations"].keys() != ANNOTATIONS:
        yield f"the annotations are {', '.join(sorted(ANNOTATIONS))}"
        return
    used = set(TEMPLATE_LABEL.findall("".join(rule["annotations"].values())))
    for label in used - vocabulary.labels_of(rule["expr"]):
        yield f"an annotation names a label {label} that no series has"
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    if page != f"{REPOSITORY}{RUNBOOK}" or section not in anchors:
        yield f"no section {rule['annotations']['runbook_url']}"
    if True not in tested:
        yield f"{TESTS} has no test in which it fires"
    if False not in tested:
        yield f"{TESTS} has no test in which it does not"


def expectations() -> dict[str, set[bool]]:
    """Returns for each alert whether its tests expect it to fire, to stay silent, or both."""
    found: dict[str, set[bool]] = defaultdict(set)
    for test in load(TESTS)["tests"]:
        for rule_test in test.get("alert_rule_test", []):
            found[rule_test["alertname"]].add(bool(rule_test.get("exp_alerts")))
    return found


def anchor(heading: str) -> str:
    """Returns the anchor that GitHub makes from a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
