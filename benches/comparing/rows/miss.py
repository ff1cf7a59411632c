"""Misses: fetched, signed and stored; and thousands of clients that miss the same image at once."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import count
from urllib.request import urlopen

from comparing import load, rounds
from comparing.entrants import started
from comparing.judging import judge, line
from comparing.peers import Peer
from comparing.rounds import Contestant
from comparing.run import Run
from comparing.table import Line, Row
from measuring import server
from measuring.server import Server

GANG = 10_000


def miss(run: Run) -> Row:
    """Every request another image; peers pass the request on and keep nothing."""
    # No image is asked for twice, whatever the round.
    beginnings = count(10**9, 10**7)
    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())

        def contestant(name: str, its: Server, address: str) -> Contestant:
            def send(_: int) -> load.Sent:
                return load.images(run, f"http://{address}", "ascending", first=next(beginnings))

            return Contestant(name, its, send)

        def passing(name: str, peer: Peer) -> Contestant:
            return contestant(f"{name}, passing on", peer.server, peer.address("PASS"))

        gateway = stack.enter_context(run.gateway(origin))
        everybody = [contestant("gateway: fetch, sign, store", gateway, gateway.ports["listen"])]
        others, absent = started(run, stack, origin, ["nginx", "HAProxy", "Envoy"], passing)
        everybody += others
        for one in everybody:
            one.send(rounds.WARMING)
        rounds.measure(everybody, run.rounds)
    return in_front_of_nginx(run, everybody, absent)


def in_front_of_nginx(run: Run, everybody: list[Contestant], absent: list[Line]) -> Row:
    nginx = next((one for one in everybody if one.name.startswith("nginx")), None)
    reference = nginx or everybody[0]
    lines = [line(one, reference) for one in everybody] + absent
    if nginx and nginx.costs and everybody[0].costs:
        judge(lines[0], everybody[0], nginx, 2.0)
    how = f"Every request another image, {run.connections} at once, from an origin on plain HTTP."
    against = "against nginx" if nginx else "no nginx, so against the gateway"
    return Row("Miss", how, lines, against=against)


def gang(run: Run) -> Row:
    """All connections are open before the first request; the origin takes a second."""
    with ExitStack() as stack:
        origin = stack.enter_context(slow_origin(run))
        gateway = stack.enter_context(run.gateway(origin))
        image = control(origin, "images?limit=1")[0]
        before = control(origin, "counts")["requests"]
        target = gateway.ports["listen"]
        options = {"connections": GANG, "count": GANG, "prefix": image, "many": 1, "compare_bodies": "true"}
        sent = load.own(run, target, **options)
        calls = control(origin, "counts")["requests"] - before
    alike = sent.answered == GANG and sent.statuses == {"200": GANG} and sent.bodies == 1
    lines = [
        Line("calls of the origin", str(calls), bar="1", met=calls == 1),
        Line(
            "answered",
            f"{sent.answered:,}",
            bar=f"{GANG:,}, alike",
            met=alike,
            note=f"{sent.statuses}, {sent.bodies} body, {sent.failed} failed, in {sent.seconds:.1f} s",
        ),
    ]
    how = f"{GANG:,} connections ask for one image that nobody asked for before; the origin takes 1 s."
    return Row("Gang start", how, lines, unit="count", against="")


def slow_origin(run: Run) -> Server:
    """The emulator, which verifies the gateway's signature too."""
    return server.emulator(10, run.load_cpus, "--latency", "1s")


def control(origin: Server, route: str) -> object:
    with urlopen(f"http://{origin.ports['listen']}/emulator/{route}", timeout=10) as answer:
        return json.load(answer)
