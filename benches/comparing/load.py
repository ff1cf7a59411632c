"""Load generators: wrk, and the peers' crate where wrk cannot."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from comparing.run import PEERS, Run
from measuring.server import Server

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass
class Sent:
    """Results of a burst of requests."""

    answered: int
    # Answers that are no success, and requests that were not answered.
    refused: int
    failed: int
    seconds: float
    # Different bodies, where they were compared, and connections.
    bodies: int = 0
    opened: int = 0
    statuses: dict[str, int] = field(default_factory=dict)

    def check(self) -> Sent:
        if self.refused or self.failed or not self.answered:
            raise RuntimeError(f"{self.answered} answered, {self.refused} refused, {self.failed} failed")
        return self


def pinned(command: list[str], cpus: set[int]) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr or done.stdout}")
    return done.stdout


def wrk(run: Run, url: str, script: str, *arguments: object, **more: object) -> Sent:
    """One thread of wrk with a script of ours, which ends with a line of JSON."""
    seconds, cpus = more.get("seconds", run.seconds), more.get("cpus", run.load_cpus)
    command = ["wrk", "-t1", f"-c{run.connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPTS / script), url, "--", *map(str, arguments)]
    told = json.loads(pinned(command, cpus).strip().rpartition("\n")[2])
    return Sent(**told)


def images(run: Run, url: str, order: str = "prepared", **more: object) -> Sent:
    """The SDK's request for GetImage; `first` and `many` say for which images."""
    first, many = more.pop("first", 0), more.pop("many", run.images)
    return wrk(run, url, "ids.lua", run.template, first, many, order, **more)


def signed(run: Run, url: str, requests: Path) -> Sent:
    """The requests of a file, each once; what time is left when they are used up is idle."""
    return wrk(run, url, "signed.lua", requests)


def own(run: Run, target: str, cpus: set[int] | None = None, **options: object) -> Sent:
    """Load of the peers' crate: a fixed count, Unix sockets, thousands of connections, churn."""
    return told(pinned(own_command(run, target, **options), cpus or run.load_cpus))


def own_command(run: Run, target: str, **options: object) -> list[str]:
    options = {"connections": run.connections, "template": run.template, **options}
    command = [str(PEERS), "load", "--target", target]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def told(text: str) -> Sent:
    fields = json.loads(text)
    refused = sum(count for status, count in fields["statuses"].items() if status != "200")
    return Sent(refused=refused, **fields)


def write_signed(path: Path, requests: Iterable[bytes], count: int) -> Path:
    """The file that `signed` sends."""
    with path.open("wb") as file:
        file.write(b"%d\n" % count)
        for request in requests:
            file.write(b"%d\n" % len(request))
            file.write(request)
    return path


def requests_at(origin: Server) -> int:
    """Returns the number of calls to the origin of the peers' crate so far."""
    with urlopen(f"http://{origin.ports['listen']}/requests", timeout=5) as answer:
        return json.load(answer)["requests"]
