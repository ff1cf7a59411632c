"""Turns the rounds of a contestant into a table row, and judges its bar."""

from __future__ import annotations

from comparing import rounds
from comparing.rounds import Contestant
from comparing.table import Line, at_most


def line(one: Contestant, reference: Contestant) -> Line:
    if one.failure or not one.costs:
        return Line(one.name, f"failed: {one.failure}")
    if not reference.costs:
        return Line(one.name, f"{one.cost:.1f}", note="no reference")
    each = " ".join(f"{value:.2f}" for value in rounds.ratios(one, reference))
    busy = min(1.0, one.cost * one.rate / 1e6)
    note = f"{one.rate:,.0f} a second, {busy:.0%} of a core"
    return Line(one.name, f"{one.cost:.1f}", f"{rounds.ratio(one, reference):.2f}", each, note=note)


def judge(its: Line, one: Contestant, reference: Contestant, bar: float) -> None:
    its.bar = f"≤ {bar:.2f}"
    measured = one.costs and reference.costs and not one.failure and not reference.failure
    its.met = bool(measured) and at_most(rounds.ratio(one, reference), bar)[1]


def against_best(gateway: Contestant, others: list[Contestant], bar: float | None = 0.55) -> Line:
    measured = [one for one in others if one.costs and not one.failure]
    if not measured or gateway.failure:
        return Line("gateway against the best peer", "", note="nobody to compare with")
    best = min(measured, key=lambda one: one.cost)
    value = rounds.ratio(gateway, best)
    its = Line("gateway against the best peer", "", f"{value:.2f}", note=f"{best.name} is the best")
    if bar:
        its.bar, its.met = at_most(value, bar)
    return its
