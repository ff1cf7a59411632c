"""Starts the emulator and the gateway as processes, as an operator would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wire import Answer, ask

ACCESS_KEY_ID = "GWCENTRALKEY"
ACCESS_KEY_SECRET = "central-secret-of-the-gateway"
JSON = {"Content-Type": "application/json"}

# More official ones among them than alipai asks for on one page.
IMAGES = 240
# As the emulator makes them: every fourth.
OFFICIAL_IMAGES = IMAGES // 4

START_SECONDS = 15.0
STOP_SECONDS = 30.0


def binary() -> str:
    release = Path(__file__).resolve().parents[2] / "target" / "release"
    return os.environ.get("PAI_GATEWAY_BIN", str(release / "pai-image-gateway"))


class Server:
    """One process that writes the addresses it listens on to a file."""

    def __init__(self, folder: Path, command: str, *arguments: str) -> None:
        self.command = command
        self.log = folder / f"{command}.log"
        ports_file = folder / f"{command}.ports"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary(), command, *arguments, "--ports-file", str(ports_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.ports = self._await_ports(ports_file)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def address(self) -> str:
        return self.ports["listen"]

    def stop(self) -> None:
        """Asks the process to stop, and expects it to do so cleanly."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        print(f"--- {self.command}\n{self._log_tail()}")  # pytest shows it beside a failure
        assert code == 0, f"{self.command} ended with {code} on SIGTERM"

    def _await_ports(self, ports_file: Path) -> dict[str, str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = self.process.poll()
            assert code is None, f"{self.command} ended with {code} at start\n{self._log_tail()}"
            try:
                return json.loads(ports_file.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.01)
        raise AssertionError(f"{self.command} never listened\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


class Emulator(Server):
    """The origin: verifies every signature, counts, and fails on request."""

    def __init__(self, folder: Path) -> None:
        secret = folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(ACCESS_KEY_SECRET)
        super().__init__(
            folder,
            "emulate",
            *("--listen", "127.0.0.1:0"),
            *("--images", str(IMAGES)),
            *("--access-key-id", ACCESS_KEY_ID),
            *("--access-key-secret-file", str(secret)),
        )

    def image_ids(self, limit: int) -> list[str]:
        answer = self._control("GET", f"/emulator/images?limit={limit}").json()
        return answer["ImageIds"] if isinstance(answer, dict) else answer

    def put(self, image: str, document: bytes) -> None:
        """Stores a document, which is then the answer byte for byte."""
        self._control("PUT", f"/emulator/images/{image}", document)

    def inject(self, *faults: dict[str, Any]) -> None:
        self._control("POST", "/emulator/faults", json.dumps(faults).encode())

    def calls(self, action: str = "GetImage") -> int:
        return self._counts()["operations"].get(action, 0)

    def all_calls(self) -> int:
        return sum(self._counts()["operations"].values())

    def rejected(self) -> dict[str, int]:
        """How many requests were refused, by reason."""
        return self._counts()["rejected"]

    def _counts(self) -> dict[str, Any]:
        return self._control("GET", "/emulator/counts").json()

    def _control(self, method: str, target: str, body: bytes | None = None) -> Answer:
        answer = ask(self.address, method, target, body, JSON if body else None)
        assert answer.status in (200, 201, 204), f"{method} {target}: {answer}"
        return answer


class Gateway(Server):
    """The gateway in front of an emulator, with the emulator's key and without authentication."""

    def __init__(
        self, folder: Path, emulator: Emulator, writes: bool, more: Sequence[str] = ()
    ) -> None:
        config = folder / "gateway.toml"
        config.write_text(f"""
            [listen]
            address = "127.0.0.1:0"
            [admin]
            address = "127.0.0.1:0"
            [upstream]
            endpoint = "http://{emulator.address}"
            allow_http = true
            [credentials]
            source = "static"
            access_key_id = "{ACCESS_KEY_ID}"
            access_key_secret_file = "{folder / 'secret'}"
            [shutdown]
            lame_duck = "0s"
            [api]
            writes = {str(writes).lower()}
            """)
        super().__init__(folder, "serve", "--config", str(config), *more)

    def get(self, target: str, headers: dict[str, str] | None = None) -> Answer:
        return ask(self.address, "GET", target, headers=headers)

    def expire(self, image: str) -> None:
        """Makes the entry of an image stale, as the end of its ttl would."""
        purge = json.dumps({"image": image, "soft": True}).encode()
        answer = ask(self.ports["admin"], "POST", "/purge", purge, JSON)
        assert answer.status == 200, answer
