"""One runtime for all workers, or one for each: the cost of distributing connections."""

from __future__ import annotations

from contextlib import ExitStack

from comparing import load, rounds
from comparing.judging import line
from comparing.rounds import Contestant
from comparing.run import Run
from comparing.table import Row

WORKERS = 2
# What a kind of client keeps a connection for: the pool of a synchronous SDK, and its asynchronous
# sister, which opens one a call.
KINDS = {"64 connections kept": 0, "a connection a request": 1}


def runtimes(run: Run) -> Row:
    """Bare hyper both ways, so that nothing but the runtime differs."""
    everybody: dict[str, list[Contestant]] = {}
    with ExitStack() as stack:
        for kind, close_after in KINDS.items():
            everybody[kind] = []
            for way, name in (("shared", "one runtime"), ("each", "one for each")):
                server = stack.enter_context(
                    run.own("hyper", way, str(WORKERS), cpus=run.two_cpus)
                )

                def send(number: int, server=server, close_after=close_after):
                    return load.own(
                        run,
                        server.ports["listen"],
                        run.load_beside_two,
                        seconds=run.seconds,
                        close_after=close_after,
                        many=run.images,
                    )

                everybody[kind].append(Contestant(f"{name}, {kind}", server, send))
        for contestants in everybody.values():
            for one in contestants:
                one.send(rounds.WARMING)
            rounds.measure(contestants, run.rounds)
    lines = [line(one, both[0]) for both in everybody.values() for one in both]
    how = (
        f"Bare hyper with {WORKERS} workers: one multi-thread runtime that hands connections around, "
        "or a current_thread runtime with a listener of its own (SO_REUSEPORT) for each worker."
    )
    return Row("Runtimes", how, lines, against="against one runtime")
