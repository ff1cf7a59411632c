"""Two hundred different images asked at once, where the origin lets fifty calls a second pass."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from comparing.rows.miss import control
from comparing.run import Run
from comparing.table import Line, Row
from measuring import server

IMAGES = 200
# The vendor's documented quota of a read, and the default of api.wait.
QUOTA, PATIENCE = 50, 2.5
TRIES = 5


def quota(run: Run) -> Row:
    """Each image is one client's, who comes again when it is told to; benches/quota has the other rows."""
    with ExitStack() as stack:
        options = ["--quota", str(QUOTA), "--latency", "40ms"]
        origin = stack.enter_context(server.emulator(IMAGES, run.load_cpus, *options))
        paced = {"upstream.calls_per_second.get_image": str(QUOTA)}
        address = stack.enter_context(run.gateway(origin, paced)).ports["listen"]
        targets = [f"/api/v1/images/{image}" for image in control(origin, f"images?limit={IMAGES}")]
        with ThreadPoolExecutor(IMAGES) as clients:
            visits = list(clients.map(lambda target: visit(address, target), targets))
        counts = control(origin, "counts")
    throttled, calls = counts["codes"].get("Throttling.User", 0), counts["requests"]
    in_time = sum(wait <= PATIENCE for wait, _ in visits)
    tries = max(tries for _, tries in visits)
    lines = [
        Line("calls of the origin", str(calls), bar=str(IMAGES), met=calls == IMAGES),
        Line("throttled", str(throttled), bar="0", met=throttled == 0),
        Line("answered within 2.5 s", str(in_time), bar="≥ 140", met=in_time >= 140),
        Line("tries of a client, at most", str(tries), bar="≤ 2", met=tries <= 2),
    ]
    how = (
        f"{IMAGES} clients ask for an image each; the origin takes 40 ms and throttles beyond {QUOTA} calls a "
        "second. Clients come again exactly when `x-acs-retry-after` says."
    )
    return Row("At the account's quota", how, lines, unit="count", against="")


def visit(address: str, target: str) -> tuple[float, int]:
    """Seconds until the image came, and the number of requests that it took."""
    client, began = http.client.HTTPConnection(address, timeout=10), time.monotonic()
    for tries in range(1, TRIES + 1):
        client.request("GET", target)
        answer = client.getresponse()
        answer.read()
        if answer.status == 200:
            return time.monotonic() - began, tries
        time.sleep(int(answer.headers["x-acs-retry-after"]) / 1000)
    raise RuntimeError(f"{target} was answered {answer.status} at try {TRIES}")
