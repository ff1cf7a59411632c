"""Figures of a running gateway, from itself and from the kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from measuring.server import Server


@dataclass
class Footprint:
    resident: int
    descriptors: int
    threads: int
    # Of the runtime, where /metrics tells.
    tasks: float | None


def footprint(gateway: Server) -> Footprint:
    process = Path(f"/proc/{gateway.pid}")
    # Before it is asked, for to answer takes memory.
    resident = gateway.resident()
    told = metrics(gateway)
    tasks = [value for name, value in told.items() if name == "pai_gateway_tasks"]
    return Footprint(
        resident=resident,
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        tasks=tasks[0] if tasks else None,
    )


def metrics(gateway: Server) -> dict[str, float]:
    with urlopen(f"http://{gateway.ports['admin']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}
