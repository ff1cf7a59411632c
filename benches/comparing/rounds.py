"""Measures servers in turn, round after round, so that noise on the machine affects all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from comparing.load import Sent
from measuring.server import Server

# In place of a round's number: what is sent then is not measured.
WARMING = -1


@dataclass
class Contestant:
    name: str
    server: Server
    # Sends one round of load; its argument is the number of the round.
    send: Callable[[int], Sent]
    costs: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    # Why there is no figure.
    failure: str = ""

    def measure(self, number: int) -> None:
        before = self.server.cpu_seconds()
        sent = self.send(number).check()
        self.costs.append((self.server.cpu_seconds() - before) * 1e6 / sent.answered)
        self.rates.append(sent.answered / sent.seconds)

    @property
    def cost(self) -> float:
        """CPU µs a request."""
        return statistics.median(self.costs)

    @property
    def rate(self) -> float:
        """Requests a second, at the rate that this load could send them."""
        return statistics.median(self.rates)


def measure(contestants: list[Contestant], rounds: int) -> None:
    """One that fails twice in a round is not measured on, and says why."""
    for number in range(rounds):
        for contestant in contestants:
            if not contestant.failure:
                contestant.failure = attempt(contestant, number) and attempt(contestant, number)


def attempt(contestant: Contestant, number: int) -> str:
    """What went wrong, if anything did."""
    try:
        contestant.measure(number)
    except (RuntimeError, OSError, ValueError) as error:
        return (str(error).strip() or repr(error)).splitlines()[-1][:120]
    return ""


def ratios(one: Contestant, other: Contestant) -> list[float]:
    """One against the other, round by round."""
    return [cost / reference for cost, reference in zip(one.costs, other.costs)]


def ratio(one: Contestant, other: Contestant) -> float:
    return statistics.median(ratios(one, other))
