"""Many images: the cost of a lookup among a million, and the memory of each."""

from __future__ import annotations

import time
from contextlib import ExitStack

from comparing import load, rounds
from comparing.judging import judge, line
from comparing.rounds import Contestant
from comparing.run import Run
from comparing.table import Line, Row, at_most
from measuring.server import Server

MANY_AT_ONCE = 128
# Seconds to fill the cache in; some 40 where nobody else works.
PATIENCE = 180


def images(run: Run) -> Row:
    """Any of so many images, at random, against any of a thousand."""
    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        few = stack.enter_context(run.gateway(origin))
        many = stack.enter_context(run.gateway(origin, {"cache.max_bytes": "4GiB"}))
        fill(run, few, run.images)
        time.sleep(1)
        idle = many.resident()
        took = fill(run, many, run.many_images)
        # Allocators give back what they do not need after a while.
        time.sleep(3)
        each = (many.resident() - idle) / run.many_images
        asked = load.requests_at(origin)

        def contestant(name: str, server: Server, amount: int) -> Contestant:
            url = f"http://{server.ports['listen']}"
            return Contestant(name, server, lambda _: load.images(run, url, "random", many=amount))

        everybody = [
            contestant(f"{run.images:,} images", few, run.images),
            contestant(f"{run.many_images:,} images", many, run.many_images),
        ]
        rounds.measure(everybody, run.rounds)
        answered = sum(rate * run.seconds for one in everybody for rate in one.rates)
        missed = (load.requests_at(origin) - asked) / max(answered, 1)
    return told(run, everybody, each, took, missed)


def told(run: Run, everybody: list[Contestant], each: float, took: float, missed: float) -> Row:
    few, many = everybody
    lines = [line(one, few) for one in everybody]
    memory = Line("memory of an image of 626 bytes", f"{each:,.0f} B")
    if run.many_images == 1_000_000:
        if few.costs and many.costs:
            judge(lines[1], many, few, 1.6)
        memory.bar, memory.met = at_most(each, 1200, "{:,.0f} B")
    how = (
        f"Any image at random. Filled with {run.many_images:,} by misses in {took:.0f} s, "
        f"`cache.max_bytes` raised to 4 GiB; {missed:.1%} of the requests measured went to the origin. "
        "Memory is resident memory above that of the idle gateway."
    )
    return Row("Many images", how, [*lines, memory], against=f"against {run.images:,}")


def fill(run: Run, gateway: Server, amount: int) -> float:
    """Asks for each image once; tells how many seconds it took."""
    target = gateway.ports["listen"]
    sent = load.own(run, target, connections=MANY_AT_ONCE, count=amount, seconds=PATIENCE)
    # A fetch that came too late on a busy machine is made up for by the first request that misses.
    if sent.failed or sent.answered < amount or sent.refused > amount / 1000:
        raise RuntimeError(f"{sent.answered:,} of {amount:,} in {sent.seconds:.0f} s, {sent.statuses}")
    return sent.seconds
