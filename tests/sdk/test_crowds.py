"""Many clients at once cost the origin one call for each image."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from alibabacloud_aiworkspace20210204.client import Client

from clients import PLAIN, connect
from processes import Emulator, Gateway

TASKS = 200
THREADS = 64


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
