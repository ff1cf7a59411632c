"""Counts a server's instructions under callgrind, and attributes them to the parts of the handling of a request."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

# Parts by source file; the first match counts. Code that matches none, such as the standard library, the allocator
# and header maps, counts to the part that called it.
PARTS = {
    "hyper": r"/hyper-1|/httparse-|src/bare\.rs",
    # Its clock is the caller's.
    "tokio and system calls": r"/(tokio|tokio-util|mio|hyper-util|socket2)-\d[^/]*/(?!src/time/(instant|clock))",
    "guard of the connection": r"server/(guard|write_timeout|connection_slots)",
    "server": r"crates/http-edge/src/(server|peer)",
    "classify": r"crates/pai-api/",
    "id": r"src/gateway/request_id\.rs",
    "sign-in: headers, client, checks": r"src/auth/(authenticate|headers|clients)|src/auth\.rs",
    "sign-in: signature": r"crates/aliyun-auth/",
    "sign-in: nonce": r"src/auth/nonces",
    "limits and policy": r"src/auth/",
    "directives": r"src/gateway/directives",
    "look-up": r"src/cache\.rs|src/cache/(images|lookup)\.rs|/moka-",
    "body": r"src/cache/entry/packed_text\.rs|crates/http-edge/src/body",
    "freshness": r"src/cache/",
    "headers of the response": r"src/response",
    "counting": r"src/observability/|/prometheus-",
    "from part to part": r"src/gateway",
}
REST = "the rest"
ELSEWHERE = 0


@dataclass
class Counted:
    """Instructions of one run by function and address, and the calls between functions."""

    program: str = ""
    own: Counter[tuple[str, int]] = field(default_factory=Counter)
    calls: Counter[tuple[str, int, str]] = field(default_factory=Counter)


def command(out: str) -> list[str]:
    """Goes before the command of a server."""
    options = ["--dump-instr=yes", "--dump-line=no", "--compress-pos=no", "--separate-threads=no"]
    return ["valgrind", "--tool=callgrind", *options, f"--callgrind-out-file={out}"]


def total(out: str) -> int:
    """Instructions of the whole run."""
    return int(re.search(r"^(?:summary|totals): (\d+)", Path(out).read_text(), re.MULTILINE)[1])


def read(out: str) -> Counted:
    """Parses what callgrind wrote; its format is in valgrind's manual, "Callgrind Format Specification"."""
    counted, names = Counted(), {}
    here, target, is_call, is_own = "", "", False, False

    def spelled(line: str) -> str:
        """A name is written once and then stands as its number."""
        kind, number, name = re.match(r"c?(\w+)=(\(\d+\)) ?(.*)", line).groups()
        return names.setdefault((kind, number), name)

    for line in Path(out).read_text().splitlines():
        if line.startswith("cmd: "):
            counted.program = line.split()[1]
        elif line.startswith("ob="):
            is_own = spelled(line) == counted.program
        elif line.startswith("cob="):
            spelled(line)
        elif line.startswith("fn="):
            here = spelled(line)
        elif line.startswith("cfn="):
            target = spelled(line)
        elif line.startswith("calls="):
            is_call = True
        elif line.startswith("0x"):
            address, cost = (int(number, 0) for number in line.split()[:2])
            # Addresses of shared libraries are not the program's.
            address = address if is_own else ELSEWHERE
            if is_call:
                counted.calls[here, address, target] += cost
            else:
                counted.own[here, address] += cost
            is_call = False
    return counted


def by_part(few: Counted, many: Counted, requests: int) -> Counter[str]:
    """Instructions a request, by part, out of two runs that differ by so many requests."""
    own = Counter({at: (cost - few.own[at]) / requests for at, cost in many.own.items()})
    calls = {at: (cost - few.calls[at]) / requests for at, cost in many.calls.items()}
    addresses = {at for _, at in own} | {at for _, at, _ in calls}
    part_at = parts_of(many.program, addresses)
    shares = callers(calls, part_at)
    found: Counter[str] = Counter()
    for (function, address), cost in own.items():
        if part := part_at.get(address):
            found[part] += cost
        else:
            for part, share in (shares.get(function) or {REST: 1.0}).items():
                found[part] += cost * share
    return found


def callers(calls: dict, part_at: dict[int, str]) -> dict[str, dict[str, float]]:
    """The parts on whose behalf each function runs, as shares, by the cost of the calls of it."""
    into = defaultdict(list)
    for (caller, address, callee), cost in calls.items():
        if cost > 0 and caller != callee:
            into[callee].append((caller, address, cost))
    shares: dict[str, dict[str, float]] = {}
    # A chain of calls without a part is short; each round takes one step along it.
    for _ in range(30):
        following = {}
        for callee, edges in into.items():
            weights: Counter[str] = Counter()
            for caller, address, cost in edges:
                if part := part_at.get(address):
                    weights[part] += cost
                else:
                    for part, share in shares.get(caller, {}).items():
                        weights[part] += cost * share
            if whole := sum(weights.values()):
                following[callee] = {part: weight / whole for part, weight in weights.items()}
        shares = following
    return shares


def parts_of(program: str, addresses: set[int]) -> dict[int, str]:
    """The part of each instruction: that of the innermost inlined function which has one."""
    asked = "\n".join(map(hex, sorted(addresses)))
    told = subprocess.run(
        ["addr2line", "-e", program, "-i", "-a"], input=asked, capture_output=True, text=True, check=True
    ).stdout
    found: dict[int, str] = {}
    at = 0
    for line in told.splitlines():
        if line.startswith("0x"):
            at = int(line, 16)
        elif at not in found:
            part = next((part for part, path in PARTS.items() if re.search(path, line)), None)
            if part:
                found[at] = part
    return found
