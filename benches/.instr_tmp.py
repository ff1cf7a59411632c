#!/usr/bin/env python3
"""Counts the instructions of a hit, which no neighbour on the machine can move.

    benches/instructions           compares with benches/instructions.json, fails beyond the margin
    benches/instructions --write   writes that file anew
    benches/instructions --annotate NAME   shows where the instructions of a row go

Runs the release build under callgrind twice with different numbers of requests; the difference is what
requests cost. User space alone: what the kernel does is not in it. Needs valgrind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent))
from measuring import sdk, server  # noqa: E402

COMMITTED = Path(__file__).resolve().parent / "instructions.json"
# Compilers and allocators differ a little between machines; a mistake on the road costs more.
MARGIN = 0.05
FEW, MANY = 500, 2500
IMAGES = 100
PATIENT = {"api.wait": "60s", "upstream.attempt_timeout": "50s", "upstream.deadline": "60s"}


def main() -> int:
    if not shutil.which("valgrind"):
        print("valgrind is missing", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    annotate = sys.argv[2] if sys.argv[1:2] == ["--annotate"] else None
    profile = ["--profile", "profiling"] if annotate else ["--release"]
    pass
    if annotate:
        pass
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "hit": {},
            "hit, verified": {
                "auth.mode": "required",
                "auth.clients_file": sdk.clients(folder),
            },
        }
        if annotate:
            rows = {annotate: rows[annotate]}
        counted = {}
        for name, settings in rows.items():
            few, many = (count(settings, n, annotate) for n in (FEW, MANY))
            counted[name] = round((many - few) / (MANY - FEW))
    if annotate:
        print(f"{annotate}: {counted[annotate]} instructions a request")
        return 0
    if "--write" in sys.argv:
        COMMITTED.write_text(json.dumps(counted, indent=2) + "\n")
    return compare(counted, json.loads(COMMITTED.read_text()))


def compare(counted: dict[str, int], committed: dict[str, int]) -> int:
    print("| row | instructions a request | committed | change |\n|---|---|---|---|")
    worse = False
    for name, now in counted.items():
        before = committed[name]
        change = now / before - 1
        worse |= change > MARGIN
        print(f"| {name} | {now} | {before} | {change:+.1%} |")
    if worse:
        print(f"more than {MARGIN:.0%} beyond benches/instructions.json", file=sys.stderr)
    return int(worse)


def count(settings: dict[str, str], requests: int, annotate: str | None) -> int:
    """Instructions of a whole run that answers so many hits."""
    out = tempfile.mktemp(prefix="callgrind-")
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    binary = server.target() / "profiling/pai-image-gateway" if annotate else None
    with server.emulator(IMAGES) as origin:
        address = origin.ports["listen"]
        with urlopen(f"http://{address}/emulator/images?limit={IMAGES}") as answer:
            images = json.load(answer)
        # Under valgrind, on a busy machine, a fetch may take longer than a client would wait.
        settings = {**settings, **PATIENT}
        options = {"before": valgrind, "binary": binary, "environment": {"TOKIO_WORKER_THREADS": "1"}}
        with server.gateway(address, settings, **options) as gateway:
            ask(gateway.ports["listen"], images, len(images) + requests)
    if annotate and requests == MANY:
        command = ["callgrind_annotate", "--inclusive=no", "--auto=no", "--threshold=98", out]
        print(subprocess.run(command, capture_output=True, text=True).stdout[:400000])
    text = Path(out).read_text()
    os.unlink(out)
    return int(re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)[1])


def ask(address: str, images: list[str], requests: int) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in sdk.get_images(images, address, requests):
            stream.sendall(request)
            received = stream.recv(1 << 16)
            while not received.endswith(b"}"):
                received += stream.recv(1 << 16)
            assert received.startswith(b"HTTP/1.1 200 OK\r\n"), received


if __name__ == "__main__":
    sys.exit(main())
