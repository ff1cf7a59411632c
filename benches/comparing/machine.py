"""Describes the machine and the tools of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from comparing import peers
from comparing.run import Run
from measuring import server


def head(run: Run, command: str) -> str:
    """The head of the results: everything that a reader needs to compare another machine."""
    facts = {
        "machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory()}, Linux {platform.release()}",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "command": f"`{command}`",
        "profile": "`release`, and the settings' defaults but for addresses",
        "rounds": f"{run.rounds} of {run.seconds} s in turn, after a warm-up; medians, ratios round by round",
        "load": f"wrk, 1 thread, {run.connections} connections, requests as the Python SDK writes them "
        f"({run.template.stat().st_size} bytes), bodies of 626 bytes",
        "peers": peers.versions(run),
        "processors": f"servers on {sorted(run.server_cpus)}, load and origin on {sorted(run.load_cpus)}",
    }
    table = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"""# Results

What counts is the CPU time that a server's processes use for a request, as the kernel's scheduler counts
it, against a bare hyper server in the same run. Absolute figures are this machine's, this hour's. Where a
bar is missed, [docs/performance.md](../docs/performance.md) says what stands in the way, by profile.

{table}"""


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def memory() -> str:
    kibibytes = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{kibibytes / 2**20:.0f} GiB"


def commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=server.ROOT, capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "src", "Cargo.lock") else ""
    return git("rev-parse", "--short=12", "HEAD") + changed
