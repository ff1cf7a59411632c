"""Costs of an idle gateway: memory, time to start, disk space; and two workers."""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack

from comparing import load, rounds
from comparing.judging import judge, line
from comparing.rounds import Contestant
from comparing.run import Run
from comparing.table import Line, Row, at_most
from measuring import server
from measuring.server import Server

MIB = 1 << 20
STARTS = 10


def idle(run: Run) -> Row:
    """As it is started on this machine, on all its processors."""
    with run.origin() as origin:
        starts = [ready_in(run, origin) for _ in range(STARTS)]
        with run.gateway(origin, cpus=run.server_cpus | run.load_cpus) as gateway:
            time.sleep(2)
            resident = gateway.resident() / MIB
    binary = (server.target() / "release/pai-image-gateway").stat().st_size / MIB
    milliseconds = statistics.median(starts) * 1e3
    lines = [
        Line("resident when idle", f"{resident:.1f} MiB"),
        Line("from exec to ready", f"{milliseconds:.0f} ms"),
        Line("stripped binary", f"{binary:.1f} MiB"),
    ]
    lines[0].bar, lines[0].met = at_most(resident, 15, "{:.1f} MiB")
    lines[1].bar, lines[1].met = at_most(milliseconds, 200, "{:.0f} ms")
    lines[1].spread = " ".join(f"{start * 1e3:.0f}" for start in sorted(starts))
    lines[2].bar, lines[2].met = at_most(binary, 16, "{:.1f} MiB")
    how = f"Static credential from the environment; ready is a 200 of `/readyz`, median of {STARTS} starts."
    return Row("Footprint", how, lines, unit="figure", against="")


def ready_in(run: Run, origin: Server) -> float:
    """Seconds from before the fork until /readyz says 200."""
    began = time.monotonic()
    with run.gateway(origin) as gateway:
        host, _, port = gateway.ports["admin"].rpartition(":")
        while time.monotonic() < began + 30:
            with socket.create_connection((host, int(port)), timeout=5) as stream:
                stream.sendall(b"GET /readyz HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
                if stream.recv(64).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - began
            time.sleep(0.001)
    raise RuntimeError("not ready after 30 s")


def workers(run: Run) -> Row:
    """Both may use two processors; they differ in the runtime's threads alone."""
    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())

        def contestant(name: str, count: int) -> Contestant:
            gateway = stack.enter_context(run.gateway(origin, cpus=run.two_cpus, workers=count))
            url = f"http://{gateway.ports['listen']}"
            return Contestant(name, gateway, lambda _: load.images(run, url, cpus=run.load_beside_two))

        everybody = [contestant("one worker", 1), contestant("two workers", 2)]
        for one in everybody:
            one.send(rounds.WARMING)
        rounds.measure(everybody, run.rounds)
    lines = [line(one, everybody[0]) for one in everybody]
    if all(one.costs for one in everybody):
        judge(lines[1], everybody[1], everybody[0], 1.15)
        lines.append(throughput(run, *everybody))
    how = f"Hits; the gateway on {sorted(run.two_cpus)}, the load on {sorted(run.load_beside_two)}."
    return Row("Two workers", how, lines, against="against one")


def throughput(run: Run, one: Contestant, two: Contestant) -> Line:
    if run.load_beside_two & run.two_cpus:
        note = "cannot be shown: the load has no processor of its own"
        return Line("throughput of two against one", "", note=note)
    value = round(two.rate / one.rate, 2)
    met = value >= 1.8
    return Line("throughput of two against one", "", f"{value:.2f}", bar="≥ 1.80", met=met)
