"""Starting and stopping, from the view of a service manager and of busy SDKs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from alibabacloud_aiworkspace20210204.client import Client

from clients import PLAIN, connect
from processes import Emulator, Gateway, binary

# As systemd does: the socket is descriptor 3, and the variables name the process that is to take it.
ACTIVATE = """
import os, socket, sys
listener = socket.socket()
listener.bind((sys.argv[1], 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def activated(address: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ACTIVATE, address, binary(), "serve", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def flags(emulator: Emulator) -> list[str]:
    settings = [
        "admin.address=127.0.0.1:0",
        f"upstream.endpoint=http://{emulator.address}",
        "upstream.allow_http=true",
        "shutdown.lame_duck=0s",
    ]
    return [word for setting in settings for word in ("--set", setting)]


def test_a_socket_that_was_opened_before_is_listened_on(emulator: Emulator, image: str) -> None:
    process = activated("127.0.0.1", *flags(emulator))
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    # Nobody need wait until it is up: the kernel holds the connection.
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as stream:
        stream.sendall(b"GET /nowhere HTTP/1.1\r\nHost: g\r\n\r\n")
        assert stream.recv(1 << 16).startswith(b"HTTP/1.1 404 ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_socket_that_others_reach_is_refused_without_authentication(emulator: Emulator) -> None:
    process = activated("0.0.0.0", *flags(emulator))
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert 'auth.mode = "required"' in stderr


def test_systemd_is_notified_at_start_and_at_stop(
    tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        gateway = Gateway(tmp_path, emulator, False)
        assert manager.recv(1024) == b"READY=1\n"
        gateway.process.send_signal(signal.SIGTERM)
        assert manager.recv(1024) == b"STOPPING=1\n"
        gateway.stop()


async def test_a_stop_under_load_loses_none_of_the_async_sdks_requests(
    tmp_path: Path, emulator: Emulator, image: str
) -> None:
    gateway = Gateway(tmp_path, emulator, False, ["--set", "shutdown.lame_duck=2s"])
    client = connect(gateway.address)
    await client.get_image_async(image, PLAIN)
    stopping = asyncio.Event()
    workers = [asyncio.create_task(ask_until(stopping, client, image)) for _ in range(16)]
    await asyncio.sleep(0.5)
    os.kill(gateway.process.pid, signal.SIGTERM)
    # A load balancer notices within the lame-duck time, and sends no more.
    await asyncio.sleep(1)
    stopping.set()
    answered = await asyncio.gather(*workers)
    assert min(answered) > 0
    gateway.stop()


async def ask_until(stopping: asyncio.Event, client: Client, image: str) -> int:
    answered = 0
    while not stopping.is_set():
        await client.get_image_async(image, PLAIN)
        answered += 1
    return answered
