"""The unmodified Python SDK raises typed errors, never a parse failure."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.exceptions import (
    AlibabaCloudException,
    ClientException,
    ServerException,
    ThrottlingException,
)
from darabonba.exceptions import UnretryableException

from clients import PLAIN, connect
from processes import Emulator, Gateway

MALFORMED = ["a*b", "a**b", "a b", "a/b", "a%2Fb", "it's(!)", "a;b:c@d", "-a", "镜像", "."]
TOO_LONG = "a" * 129
STALE = re.compile(r"pai-image-gateway; hit; ttl=-?\d+; detail=(revalidating|origin-error)")


def fails(image: str, **fault: Any) -> dict[str, Any]:
    """A fault for every call for `image`, or for the first `times`."""
    return {"operation": "GetImage", "image": image, "times": 1000, **fault}


def raised(call: Any, *arguments: Any) -> AlibabaCloudException:
    with pytest.raises(AlibabaCloudException) as caught:
        call(*arguments)
    return caught.value


def test_unknown_image_raises_the_typed_not_found(client: Client, emulator: Emulator) -> None:
    for _ in range(2):
        error = raised(client.get_image, "image-nowhere", PLAIN)
        assert type(error) is ClientException
        assert (error.status_code, error.code) == (404, "ImageNotFound")
        assert error.request_id and error.request_id != "None"
        assert error.retry_after is None
    assert emulator.calls() == 1


async def test_unknown_image_raises_the_typed_not_found_async(client: Client) -> None:
    with pytest.raises(ClientException) as caught:
        await client.get_image_async("image-nowhere", PLAIN)
    assert (caught.value.status_code, caught.value.code) == (404, "ImageNotFound")
    assert caught.value.request_id != "None"


@pytest.mark.parametrize("image", [*MALFORMED, TOO_LONG])
async def test_malformed_id_costs_no_upstream_call(
    client: Client, emulator: Emulator, image: str
) -> None:
    with pytest.raises(ClientException) as caught:
        await client.get_image_async(image, PLAIN)
    for error in (raised(client.get_image, image, PLAIN), caught.value):
        assert type(error) is ClientException
        assert (error.status_code, error.code) == (400, "InvalidParameter")
    assert emulator.all_calls() == 0


def test_operation_of_another_api_costs_no_upstream_call(
    client: Client, emulator: Emulator
) -> None:
    error = raised(client.list_workspaces, models.ListWorkspacesRequest())
    assert type(error) is ClientException
    assert (error.status_code, error.code) == (404, "InvalidApi.NotFound")
    assert emulator.all_calls() == 0


def test_throttle_tells_the_sdk_when_to_come_back(
    client: Client, emulator: Emulator, image: str
) -> None:
    emulator.inject(
        fails(image, kind="throttle", code="Throttling.User", status=400, retry_after_ms=700)
    )
    error = raised(client.get_image, image, PLAIN)
    assert type(error) is ThrottlingException
    assert (error.status_code, error.code) == (429, "Throttling.User")
    assert 0 < error.retry_after <= 700


def status(number: int, code: str) -> dict[str, Any]:
    return {"kind": "status", "status": number, "code": code, "message": "broken"}


FAILURES = [
    (status(500, "InternalError"), "UpstreamUnavailable"),
    (status(503, "ServiceUnavailable"), "UpstreamUnavailable"),
    ({"kind": "close_before"}, "UpstreamUnavailable"),
    ({"kind": "close_mid_body"}, "UpstreamUnavailable"),
    ({"kind": "garbage"}, "InvalidUpstreamResponse"),
    ({"kind": "empty"}, "InvalidUpstreamResponse"),
    ({"kind": "not_object"}, "InvalidUpstreamResponse"),
    ({"kind": "truncated"}, "InvalidUpstreamResponse"),
]
STATUS = {"UpstreamUnavailable": 503, "InvalidUpstreamResponse": 502}


@pytest.mark.parametrize(("fault", "code"), FAILURES, ids=[fault["kind"] for fault, _ in FAILURES])
def test_failing_origin_is_a_typed_server_error(
    client: Client, emulator: Emulator, image: str, fault: dict[str, Any], code: str
) -> None:
    emulator.inject(fails(image, **fault))
    error = raised(client.get_image, image, PLAIN)
    assert type(error) is ServerException
    assert (error.status_code, error.code) == (STATUS[code], f"Gateway.{code}")
    assert error.request_id and error.request_id != "None"


def test_silent_origin_is_a_typed_timeout(client: Client, emulator: Emulator, image: str) -> None:
    emulator.inject(fails(image, kind="stall", ms=4000))
    started = time.monotonic()
    error = raised(client.get_image, image, PLAIN)
    assert time.monotonic() - started < 3
    assert type(error) is ServerException
    assert (error.status_code, error.code) == (504, "Gateway.UpstreamTimeout")


def test_single_failure_is_not_seen(client: Client, emulator: Emulator, image: str) -> None:
    emulator.inject(
        {**fails(image, kind="status", status=503, code="ServiceUnavailable"), "times": 1}
    )
    assert client.get_image(image, PLAIN).body.name
    assert emulator.calls() == 2


def test_compressed_origin_is_not_seen(client: Client, emulator: Emulator, image: str) -> None:
    emulator.inject(fails(image, kind="gzip"))
    answer = client.get_image(image, PLAIN)
    assert answer.body.name
    assert "content-encoding" not in answer.headers


def test_outage_is_not_seen_for_a_known_image(
    client: Client, gateway: Gateway, emulator: Emulator, image: str
) -> None:
    known = client.get_image(image, PLAIN)
    emulator.inject(fails(image, kind="status", status=500, code="InternalError"))
    gateway.expire(image)
    for _ in range(3):
        answer = client.get_image(image, PLAIN)
        assert answer.body.to_map() == known.body.to_map()
        assert STALE.fullmatch(answer.headers["cache-status"])


def test_tls_to_the_plain_port_fails_at_once(gateway: Gateway, image: str) -> None:
    client = connect(gateway.address, protocol=None)
    started = time.monotonic()
    with pytest.raises(UnretryableException):
        client.get_image(image, PLAIN)
    assert time.monotonic() - started < 3
