"""The contestants of a row, and their preparation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from comparing import load, peers
from comparing.peers import Peer
from comparing.rounds import WARMING, Contestant
from comparing.run import Run
from comparing.table import Line
from measuring.server import Server

# Bursts of load within which a cache must be full.
WARM_UPS = 10


def by_wrk(run: Run, name: str, server: Server, scheme: str = "http", address: str = "") -> Contestant:
    url = f"{scheme}://{address or server.ports['listen']}"
    # Handshakes are in a round's cost; in a longer one they matter less.
    seconds = 2 * run.seconds if scheme == "https" else run.seconds

    def send(number: int) -> load.Sent:
        return load.images(run, url, seconds=1 if number == WARMING else seconds)

    return Contestant(name, server, send)


def started(
    run: Run,
    stack: ExitStack,
    origin: Server,
    names: list[str],
    enter: Callable[[str, Peer], Contestant],
) -> tuple[list[Contestant], list[Line]]:
    """Returns the available contestants, and a line for each missing one."""
    there, absent = [], []
    for name in names:
        try:
            peer = peers.start(name, run, origin.ports["listen"])
        except peers.Missing as why:
            absent.append(Line(name, str(why)))
            continue
        stack.enter_context(peer.server)
        there.append(enter(name, peer))
    return there, absent


def warm(run: Run, everybody: list[Contestant], origin: Server) -> None:
    """Fills the caches; a contestant that still calls the origin is reported as no cache."""
    for one in everybody:
        one.failure = "asks the origin again and again"
        for _ in range(WARM_UPS):
            before = load.requests_at(origin)
            answered = one.send(WARMING).answered
            if answered > run.images and load.requests_at(origin) == before:
                one.failure = ""
                break
