"""Knows the metrics, labels and values that a query may name, and reports queries that name others."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as promql

from exposition import Family, Labels

# Labels that Prometheus or the operator adds to each series of a target.
TARGET = {"job", "instance", "namespace", "pod"}
# Labels with names from the operator's files: any value is possible.
OPEN = {"client"}
OF_COUNTERS = {"rate", "irate", "increase"}


@dataclass(frozen=True)
class Metric:
    """One name that a query may select."""

    labels: Labels
    only_rises: bool


class Vocabulary:
    """The names that exist; recording rules add theirs with `learn`."""

    def __init__(self, families: dict[str, Family]) -> None:
        self.metrics = {"up": Metric({}, only_rises=False)}
        for family in families.values():
            for name in family.series():
                labels = {label: values for label, values in family.labels.items()
                          if label != "le" or name.endswith("_bucket")}
                self.metrics[name] = Metric(labels, family.kind in ("counter", "histogram"))

    def learn(self, record: str, expr: str) -> None:
        """A recorded series carries the labels of its target and those that it is summed by."""
        sums = (node.modifier for node in parts(promql.parse(expr)) if isinstance(node, promql.AggregateExpr))
        kept = {label for sum_ in sums if sum_ and sum_.type == promql.AggModifierType.By for label in sum_.labels}
        self.metrics[record] = Metric({label: set() for label in kept - TARGET}, only_rises=False)

    def problems(self, text: str) -> Iterator[str]:
        """Yields the problems of a query."""
        try:
            query = promql.parse(text)
        except ValueError as error:
            yield f"does not parse: {error}"
            return
        for node in parts(query):
            if isinstance(node, promql.VectorSelector):
                yield from self.selector_problems(node)
            elif isinstance(node, promql.Call):
                yield from self.call_problems(node)
            known = self.labels_below(node) | TARGET
            for label in named_labels(node):
                if label not in known:
                    yield f"no series in {node.prettify().strip()} has a label {label}"

    def selector_problems(self, selector: promql.VectorSelector) -> Iterator[str]:
        name = name_of(selector)
        metric = self.metrics.get(name)
        if metric is None:
            yield f"no such metric: {name or selector.prettify()}"
            return
        for matcher in selector.matchers.matchers:
            if matcher.name in TARGET:
                continue
            if matcher.name not in metric.labels:
                yield f"{name} has no label {matcher.name}"
            elif matcher.name not in OPEN:
                yield from unmatched(name, matcher, metric.labels[matcher.name])

    def call_problems(self, call: promql.Call) -> Iterator[str]:
        if call.func.name in OF_COUNTERS:
            for node in parts(call):
                if isinstance(node, promql.VectorSelector):
                    metric = self.metrics.get(name_of(node))
                    if metric is not None and not metric.only_rises:
                        yield f"{call.func.name} of {name_of(node)}, which is no counter"

    def labels_below(self, node: promql.Expr) -> set[str]:
        """Labels of every series that is selected within."""
        names = {name_of(part) for part in parts(node) if isinstance(part, promql.VectorSelector)}
        return {label for name in names & self.metrics.keys() for label in self.metrics[name].labels}

    def labels_of(self, text: str) -> set[str]:
        """Labels that a query's result may carry."""
        return self.labels_below(promql.parse(text)) | TARGET


def parts(query: promql.Expr) -> list[promql.Expr]:
    """The query and all it is made of."""
    found: list[promql.Expr] = []
    promql.walk(query, found.append)
    return found


def name_of(selector: promql.VectorSelector) -> str:
    """Returns the metric's name; empty for a selector by labels only."""
    return selector.name or ""


def named_labels(node: promql.Expr) -> list[str]:
    """Labels that an aggregation or a matching names."""
    modifier = getattr(node, "modifier", None)
    if isinstance(modifier, promql.AggModifier):
        return list(modifier.labels)
    if isinstance(modifier, promql.BinModifier):
        matching = list(modifier.matching.labels) if modifier.matching else []
        return matching + list(modifier.group_labels or [])
    return []


def unmatched(metric: str, matcher: promql.Matcher, values: set[str]) -> Iterator[str]:
    """Yields alternatives of a matcher that are not existing values."""
    is_pattern = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
    wanted = matcher.value.split("|") if is_pattern else [re.escape(matcher.value)]
    for alternative in wanted:
        if not any(re.fullmatch(alternative, value) for value in values):
            yield f"{metric} has no {matcher.name} {alternative}, only {', '.join(sorted(values))}"
