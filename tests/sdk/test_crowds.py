"""Many clients at once cost the origin one call for each image."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alibabacloud_aiworkspace20210204.client import Client

from clients import PLAIN, connect
from processes import Emulator, Gateway
from test_auth import ALL, client_of, guarded

TASKS = 200
THREADS = 64

MILLION = 1_000_000
BUDGET = 20
BATCH = 1000
STATUS = re.compile(r"HTTP/1\.1 (\d+)")


def slow(emulator: Emulator, milliseconds: int) -> None:
    """Makes the origin slow enough that a whole crowd arrives while the first call is out."""
    emulator.inject({"operation": "GetImage", "times": 1000, "kind": "latency", "ms": milliseconds})


async def test_two_hundred_tasks_make_one_call(
    client: Client, emulator: Emulator, image: str
) -> None:
    slow(emulator, 500)
    answers = await asyncio.gather(*(client.get_image_async(image, PLAIN) for _ in range(TASKS)))
    assert emulator.calls() == 1
    assert len({answer.body.request_id for answer in answers}) == 1
    statuses = [answer.headers["cache-status"] for answer in answers]
    assert statuses.count("pai-image-gateway; fwd=uri-miss; stored") == 1
    assert "pai-image-gateway; fwd=uri-miss; collapsed" in statuses


def test_sixty_four_threads_make_one_call_for_each_image(
    client: Client, emulator: Emulator
) -> None:
    slow(emulator, 200)
    images = emulator.image_ids(8)
    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(lambda image: client.get_image(image, PLAIN), images * THREADS))
    assert emulator.calls() == len(images)
    assert len({answer.body.request_id for answer in answers}) == len(images)


def test_clients_of_every_kind_share_one_call(
    gateway: Gateway, emulator: Emulator, image: str
) -> None:
    slow(emulator, 200)
    clients = [
        connect(gateway.address),
        connect(gateway.address, access_key_id="ANOTHER", access_key_secret="other"),
        connect(gateway.address, security_token="STS.token"),
        connect(gateway.address, signature_algorithm="v2"),
    ]
    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(lambda client: client.get_image(image, PLAIN), clients))
    assert emulator.calls() == 1


def test_a_million_made_up_ids_cost_one_client_its_budget_and_nobody_an_image(
    tmp_path: Path, emulator: Emulator
) -> None:
    gateway = guarded(
        tmp_path,
        emulator,
        bearer("chief", f"misses_per_second = 1000\n{ALL}"),
        bearer("guesser", f"misses_per_second = {BUDGET}\n{ALL}"),
    )
    known = emulator.image_ids(100)
    chief = connect(gateway.address, **token("chief"))
    for image in known:
        chief.get_image(image, PLAIN)
    # Those whose ttl outlasts the flood on the slowest machine: nothing but an eviction makes them misses.
    lasting = [image for image in known if seconds_left(chief, image) > 600]
    assert len(lasting) > 50
    began = time.monotonic()
    answered = pipelined(gateway.address, "guesser", MILLION)
    seconds = time.monotonic() - began
    assert answered.total() == MILLION
    assert set(answered) == {"404", "429"}
    spent = emulator.calls() - len(known)
    assert 0 < spent == answered["404"] <= BUDGET * (seconds + 1) + 1
    for image in lasting:
        assert seconds_left(chief, image) > 0
    gateway.stop()


def seconds_left(client: Client, image: str) -> int:
    """The rest of a hit's ttl, in seconds."""
    status = client.get_image(image, PLAIN).headers["cache-status"]
    assert status.startswith("pai-image-gateway; hit; ttl="), status
    return int(status.rpartition("=")[2])


def token(name: str) -> dict[str, Any]:
    return {"access_key_id": None, "access_key_secret": None, "bearer_token": name}


def bearer(name: str, grant: str = ALL) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return client_of(name, f'bearer_sha256 = "{digest}"', '["get"]', grant)


def pipelined(address: str, name: str, requests: int) -> Counter[str]:
    """Requests missing ids, many at a time; counts the responses by status."""
    host, _, port = address.rpartition(":")
    answered: Counter[str] = Counter()
    with socket.create_connection((host, int(port)), timeout=30) as stream:
        for start in range(0, requests, BATCH):
            stream.sendall(
                b"".join(
                    f"GET /api/v1/images/image-{number:x} HTTP/1.1\r\nHost: g\r\n"
                    f"Authorization: Bearer {name}\r\n\r\n".encode()
                    for number in range(start, start + BATCH)
                )
            )
            received, bodies = [], 0
            while bodies < BATCH:
                received.append(stream.recv(1 << 20))
                bodies += received[-1].count(b"}")
            answered.update(STATUS.findall(b"".join(received).decode()))
    return answered
