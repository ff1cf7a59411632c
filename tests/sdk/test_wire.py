"""Requests that no SDK sends today, but a proxy or SDK may send tomorrow."""

from __future__ import annotations

import json

import pytest

from processes import Emulator, Gateway
from wire import ask

ESCAPES = [
    lambda image: image,
    lambda image: image.replace("-", "%2D"),
    lambda image: image.replace("-", "%2d"),
    lambda image: "".join(f"%{ord(letter):02X}" for letter in image),
]


def test_one_image_is_one_entry_however_it_is_escaped(
    gateway: Gateway, emulator: Emulator, image: str
) -> None:
    bodies = {gateway.get(f"/api/v1/images/{escape(image)}").body for escape in ESCAPES}
    assert len(bodies) == 1
    assert emulator.calls() == 1


def test_verbose_is_read_in_every_spelling(
    gateway: Gateway, emulator: Emulator, image: str
) -> None:
    for verbose in ("True", "true", "TRUE", "t%72ue"):
        assert gateway.get(f"/api/v1/images/{image}?Verbose={verbose}").json()["Labels"]
    for query in ("", "?", "?Verbose", "?Verbose=", "?Verbose=False", "?Verbose=false"):
        assert not gateway.get(f"/api/v1/images/{image}{query}").json().get("Labels")
    assert emulator.calls() == 2


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/images/",
        "/api/v1/images/a%2Fb",
        "/api/v1/images/a%252Fb",
        "/api/v1/images/a%00b",
        "/api/v1/images/%zz",
        "/api/v1/images/%ff",
        "/api/v1/images/image-1?Verbose=1",
        "/api/v1/images/image-1?Verbose=True&Verbose=True",
        "/api/v1/images/image-1?Verbose=True&X=1",
    ],
)
def test_malformed_request_gets_an_error_in_the_api_s_shape(
    gateway: Gateway, emulator: Emulator, target: str
) -> None:
    answer = gateway.get(target)
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()
    assert set(error) == {"RequestId", "HostId", "Code", "Message"}
    assert error["Code"] == "InvalidParameter"
    assert error["HostId"] == gateway.address
    assert emulator.all_calls() == 0


@pytest.mark.parametrize("target", ["/", "/api/v1/", "/api/v1//images/a", "/api/v2/images/a"])
def test_unknown_route_is_not_found(gateway: Gateway, emulator: Emulator, target: str) -> None:
    answer = gateway.get(target)
    assert (answer.status, answer.json()["Code"]) == (404, "InvalidApi.NotFound")
    assert emulator.all_calls() == 0


def test_wrong_method_gets_405_with_the_allowed_methods(gateway: Gateway, image: str) -> None:
    answer = ask(gateway.address, "POST", f"/api/v1/images/{image}", b"{}")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, DELETE"


def test_target_may_be_in_absolute_form(gateway: Gateway, emulator: Emulator, image: str) -> None:
    host = "aiworkspace.cn-hangzhou.aliyuncs.com"
    answer = gateway.get(f"http://{host}/api/v1/images/{image}", {"Host": host})
    assert answer.status == 200
    assert answer.body == gateway.get(f"/api/v1/images/{image}").body
    assert emulator.calls() == 1


def test_answer_is_whole_for_a_client_that_has_a_copy(gateway: Gateway, image: str) -> None:
    first = gateway.get(f"/api/v1/images/{image}")
    answer = gateway.get(
        f"/api/v1/images/{image}",
        {
            "If-None-Match": first.headers.get("etag", "*"),
            "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT",
            "Range": "bytes=0-1",
        },
    )
    assert (answer.status, answer.body) == (200, first.body)


def test_headers_of_the_client_never_reach_the_origin(gateway: Gateway, image: str) -> None:
    answer = gateway.get(
        f"/api/v1/images/{image}",
        {
            "Authorization": "ACS3-HMAC-SHA256 Credential=X,SignedHeaders=host,Signature=0",
            "x-acs-action": "RemoveImage",
            "x-acs-security-token": "a-client-s-token",
            "x-acs-version": "1999-01-01",
            "X-HTTP-Method-Override": "DELETE",
        },
    )
    assert answer.status == 200
    assert gateway.get(f"/api/v1/images/{image}?Verbose=true").status == 200


def test_body_may_be_chunked(gateway: Gateway) -> None:
    document = {"Name": "chunked", "ImageUri": "registry.example/pai/x:1", "Size": 1}
    text = json.dumps(document).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (text[:7], text[7:]))
    answer = ask(
        gateway.address,
        "POST",
        "/api/v1/images",
        chunks + b"0\r\n\r\n",
        {"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
    )
    assert answer.status == 200
    image = answer.json()["ImageId"]
    assert gateway.get(f"/api/v1/images/{image}").json()["Name"] == "chunked"
