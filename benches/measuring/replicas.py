"""The program of benches/replicas: built, run, and its tables written into a document."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from measuring import document
from measuring.server import ROOT


def main(command: str, usage: str | None, page: Path, runs: list[list[str]], mode: list[str]) -> int:
    """Runs the program with this command's options, or, with --write, once for each of `runs`.

    `mode` is what the program is given beside them. The exit code is 1 if a bar is missed.
    """
    given = sys.argv[1:]
    shown = [command]
    if is_debug := given[:1] == ["--debug"]:
        shown.append(given.pop(0))
    program = build(["--profile", "dev"] if is_debug else [])
    if "--help" in given:
        print(usage)
    if "--write" not in given:
        return subprocess.run([program, "--bench", *mode, *given], cwd=ROOT).returncode
    given.remove("--write")
    codes, parts = [], []
    for run in runs:
        arguments = [program, "--bench", *mode, *run, *given]
        done = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        codes.append(done.returncode)
        parts.append(f"```sh\n{shlex.join([*shown, *run, *given])}\n```\n\n{done.stdout}")
    document.write(page, command, "\n".join(parts))
    return max(codes)


def build(profile: list[str]) -> str:
    """Builds the program and the gateway; the former's path."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "fleet", *profile]
    command += ["--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "fleet" and message.get("executable"):
            return message["executable"]
    sys.exit("cargo has built no benches/fleet")
