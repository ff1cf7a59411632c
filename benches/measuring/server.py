"""Server processes, each on processors of its own, and their costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")
CENTRAL = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "emulator-key",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "emulator-secret",
}


def target() -> Path:
    """Where cargo puts what it builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def build(*arguments: str) -> None:
    subprocess.run(["cargo", "build", "--locked", *arguments], cwd=ROOT, check=True)


class Server:
    """A process that is stopped at the end of a `with`."""

    def __init__(
        self,
        command: list[str],
        cpus: set[int] | None = None,
        environment: dict[str, str] | None = None,
        ports_file: str | None = None,
        patience: float = 60,
        log: Path | None = None,
    ) -> None:
        began = time.monotonic()
        errors = log.open("wb") if log else subprocess.PIPE if ports_file else subprocess.DEVNULL
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=errors if log else subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
        )
        if log:
            errors.close()
        self.pid = self.process.pid
        self.ports: dict[str, str] = {}
        if ports_file:
            self._await(Path(ports_file), began + patience)
        self.started_in = time.monotonic() - began

    def _await(self, file: Path, until: float) -> None:
        while time.monotonic() < until and self.process.poll() is None:
            if file.exists() and (text := file.read_text()).endswith("}"):
                self.ports = json.loads(text)
                file.unlink()
                return
            time.sleep(0.001)
        self.process.kill()
        self.process.wait()
        errors = self.process.stderr
        raise RuntimeError(errors.read().decode() if errors else f"{file}: nothing was written")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def children(self) -> list[int]:
        """This process and all below it."""
        found, at = [self.pid], 0
        while at < len(found):
            tasks = Path(f"/proc/{found[at]}/task")
            for task in tasks.iterdir() if tasks.exists() else []:
                found += map(int, (task / "children").read_text().split())
            at += 1
        return found

    def cpu_seconds(self) -> float:
        """CPU time of its threads and its children's so far, in user space and in the kernel.

        To the nanosecond, from the scheduler's own count; /proc/PID/stat knows hundredths of a second.
        """
        nanoseconds = 0
        for pid in self.children():
            for task in Path(f"/proc/{pid}/task").iterdir():
                # A thread may end between the two looks.
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def resident(self) -> int:
        """Bytes in memory of it and its children."""
        pages = 0
        for pid in self.children():
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * PAGE


def emulator(images: int, cpus: set[int] | None = None, *options: str) -> Server:
    """The origin, from the release build."""
    ports = tempfile.mktemp(prefix="emulator-", suffix=".json")
    command = [str(target() / "release/pai-image-gateway"), "emulate", "--images", str(images)]
    more = ["--listen", "127.0.0.1:0", "--ports-file", ports]
    return Server([*command, *more, *options], cpus, ports_file=ports)


def gateway(
    origin: str,
    settings: dict[str, str] | None = None,
    *,
    cpus: set[int] | None = None,
    before: list[str] | None = None,
    environment: dict[str, str] | None = None,
    binary: Path | None = None,
) -> Server:
    """The gateway with its default settings but for addresses and the pace; `before` goes before its command."""
    ports = tempfile.mktemp(prefix="gateway-", suffix=".json")
    all_settings = {
        "listen.address": "127.0.0.1:0",
        "admin.address": "127.0.0.1:0",
        "upstream.allow_http": "true",
        "upstream.endpoint": f"http://{origin}",
        # Misses are measured as fast as they can be.
        **{f"upstream.calls_per_second.{name}": "0" for name in ("get_image", "list_images", "list_image_labels")},
        "credentials.source": "env",
        "shutdown.lame_duck": "0s",
        **(settings or {}),
    }
    binary = binary or target() / "release/pai-image-gateway"
    command = [*(before or []), str(binary), "serve", "--ports-file", ports]
    for key, value in all_settings.items():
        command += ["--set", f"{key}={value}"]
    return Server(command, cpus, {**CENTRAL, **(environment or {})}, ports)
