"""Reads of the unmodified Python SDK through the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client

from clients import ODD, ODD_KEY, PLAIN, VERBOSE, call, connect, facts
from processes import Emulator, Gateway

EXAMPLE = Path(__file__).parents[1] / "vectors" / "getimage_example.json"
WORKSPACE = "15945"

# Texts that would arrive instead of ODD if it were decoded twice, never, in part or as bytes.
MISREAD = [
    unquote(ODD),
    unquote_plus(ODD),
    quote(ODD, safe=""),
    quote_plus(ODD),
    *(ODD.partition(separator)[0] for separator in "%&#?;"),
    ODD.encode().decode("latin-1"),
]


def add(origin: Client, number: int, text: str) -> str:
    """Adds an image that has `text` wherever the API leaves a text free; returns its id."""
    labels = {"system.source": "test", ODD_KEY: text}
    request = models.AddImageRequest(
        description=text,
        image_uri=text,
        labels=[models.AddImageRequestLabels(key, value) for key, value in labels.items()],
        name=f"odd-{number}",
        workspace_id=WORKSPACE,
    )
    return origin.add_image(request).body.image_id


def test_plain_answer_is_what_the_origin_answers(
    client: Client, origin: Client, image: str
) -> None:
    answer = client.get_image(image, PLAIN)
    assert answer.status_code == 200
    assert facts(answer.body) == facts(origin.get_image(image, PLAIN).body)
    assert answer.body.name and answer.body.image_uri
    assert not answer.body.labels


def test_labels_come_only_when_verbose(client: Client, origin: Client, image: str) -> None:
    answer = client.get_image(image, VERBOSE)
    assert facts(answer.body) == facts(origin.get_image(image, VERBOSE).body)
    assert answer.body.labels
    assert not client.get_image(image, models.GetImageRequest(verbose=False)).body.labels


async def test_async_answer_is_what_the_sync_client_gets(client: Client, image: str) -> None:
    for request in (PLAIN, VERBOSE):
        answer = await client.get_image_async(image, request)
        assert facts(answer.body) == facts(client.get_image(image, request).body)


def test_second_call_is_a_hit(client: Client, emulator: Emulator, image: str) -> None:
    first = client.get_image(image, PLAIN)
    second = client.get_image(image, PLAIN)
    assert first.headers["cache-status"] == "pai-image-gateway; fwd=uri-miss; stored"
    assert second.headers["cache-status"].startswith("pai-image-gateway; hit; ttl=")
    assert int(second.headers["age"]) >= 0
    assert second.headers["x-acs-request-id"] == first.headers["x-acs-request-id"]
    assert second.headers["x-pai-gateway-request-id"] != first.headers["x-pai-gateway-request-id"]
    assert second.body.to_map() == first.body.to_map()
    assert emulator.calls() == 1


def test_plain_and_verbose_are_kept_apart(client: Client, emulator: Emulator, image: str) -> None:
    for _ in range(3):
        client.get_image(image, PLAIN)
        client.get_image(image, models.GetImageRequest(verbose=False))
        client.get_image(image, VERBOSE)
    assert emulator.calls() == 2


def test_documented_example_arrives_byte_for_byte(
    client: Client, gateway: Gateway, emulator: Emulator
) -> None:
    emulator.put("image-documented", EXAMPLE.read_bytes())
    for outcome in ("fwd=uri-miss", "hit"):
        answer = gateway.get("/api/v1/images/image-documented?Verbose=true")
        assert answer.body == EXAMPLE.read_bytes()
        assert outcome in answer.headers["cache-status"]
    body = client.get_image("image-documented", VERBOSE).body
    assert body.to_map() == json.loads(EXAMPLE.read_bytes())
    assert body.description == "NLP模型压缩训练镜像\n"


def test_fields_nobody_knows_arrive_byte_for_byte(
    client: Client, gateway: Gateway, emulator: Emulator
) -> None:
    document = (
        '{ "Zeta" : {"b":1, "a":[1,2.50,null]},\n\t"Identity":null,"Signature":null,'
        '"Size":9007199254740993,"Name":"caf\\u00e9-镜像","Labels":[],"RequestId":"R-1"}\n'
    ).encode()
    emulator.put("image-odd", document)
    for _ in range(2):
        assert gateway.get("/api/v1/images/image-odd?Verbose=true").body == document
    body = client.get_image("image-odd", VERBOSE).body
    assert body.size == 9007199254740993
    assert body.name == "café-镜像"
    assert body.request_id == "R-1"


@pytest.mark.parametrize("method", ["list_images", "list_images_async"])
async def test_odd_characters_of_a_search_reach_the_origin_exactly(
    client: Client, origin: Client, method: str
) -> None:
    image, *others = [add(origin, number, text) for number, text in enumerate([ODD, *MISREAD])]
    for condition in (
        {"image_uri": ODD},
        {"labels": f"system.source=test,{ODD_KEY}={ODD}"},
        {"query": ODD},
    ):
        request = models.ListImagesRequest(**condition, options="", page_size=50, verbose=True)
        body = (await call(client, method, request)).body
        assert [found.image_id for found in body.images] == [image]
        assert (body.total_count, body.images[0].description) == (1, ODD)
        assert facts(body) == facts(origin.list_images(request).body)
    every = models.ListImagesRequest(labels="system.source=test", name="", page_size=50)
    found = {found.image_id for found in (await call(client, method, every)).body.images}
    assert found == {image, *others}


@pytest.mark.parametrize("method", ["list_image_labels", "list_image_labels_async"])
async def test_odd_characters_of_labels_reach_the_origin_exactly(
    client: Client, origin: Client, method: str
) -> None:
    for number, text in enumerate([ODD, *MISREAD]):
        add(origin, number, text)
    both = f"{ODD_KEY},system.source"
    for condition, expected in (
        ({"label_keys": both}, {*MISREAD, ODD, "test"}),
        ({"label_keys": both, "label_filter": f"{ODD_KEY}={ODD}"}, {ODD, "test"}),
        ({"label_keys": ODD_KEY, "label_filter": f"{ODD_KEY}={ODD}"}, {ODD}),
    ):
        request = models.ListImageLabelsRequest(**condition, workspace_id=WORKSPACE)
        body = (await call(client, method, request)).body
        assert {label.value for label in body.labels} == expected


def test_list_images_is_cached_as_the_origin_answers_it(client: Client, origin: Client, emulator: Emulator) -> None:
    request = models.ListImagesRequest(page_number=2, page_size=50, sort_by="GmtCreateTime")
    expected = facts(origin.list_images(request).body)
    before = emulator.calls("ListImages")
    for status in ("fwd=uri-miss; stored", "hit; ttl="):
        answer = client.list_images(request)
        assert facts(answer.body) == expected
        assert answer.headers["cache-status"].startswith(f"pai-image-gateway; {status}")
    assert emulator.calls("ListImages") == before + 1


def test_list_images_as_alipai_asks_it(gateway: Gateway, origin: Client) -> None:
    client = connect(
        gateway.address,
        signature_algorithm="v2",
        user_agent="pai-python-sdk/0.4.13; python/3.11.7",
    )
    request = models.ListImagesRequest(
        labels="system.official=true,system.supported.dlc=true,system.chipType=GPU",
        order="DESC",
        page_number=1,
        page_size=50,
        sort_by="GmtCreateTime",
        verbose=True,
    )
    body = client.list_images(request).body.to_map()
    assert [name for name, value in body.items() if isinstance(value, list)] == ["Images"]
    assert body["TotalCount"] > 0
    assert all("Labels" in image for image in body["Images"])
    assert body["Images"] == origin.list_images(request).body.to_map()["Images"]


def test_list_image_labels_is_what_the_origin_answers(
    client: Client, origin: Client, image: str
) -> None:
    for request in (
        models.ListImageLabelsRequest(image_id=image),
        models.ListImageLabelsRequest(label_keys="system.chipType,system.official"),
    ):
        body = client.list_image_labels(request).body
        assert body.labels
        assert facts(body) == facts(origin.list_image_labels(request).body)


def test_sts_style_credentials_are_accepted(
    gateway: Gateway, emulator: Emulator, image: str
) -> None:
    client = connect(gateway.address, security_token="STS.token/+=abc")
    assert client.get_image(image, PLAIN).body.name
    assert emulator.calls() == 1


async def test_legacy_signature_is_accepted(
    gateway: Gateway, client: Client, emulator: Emulator, image: str
) -> None:
    legacy = connect(gateway.address, signature_algorithm="v2")
    answer = legacy.get_image(image, VERBOSE)
    assert facts(answer.body) == facts(client.get_image(image, VERBOSE).body)
    assert facts((await legacy.get_image_async(image, VERBOSE)).body) == facts(answer.body)
    assert emulator.calls() == 1


def test_endpoint_may_be_written_in_capitals(gateway: Gateway, image: str) -> None:
    port = gateway.address.rpartition(":")[2]
    assert connect(f"LOCALHOST:{port}").get_image(image, PLAIN).body.name


def test_endpoint_may_carry_a_scheme(gateway: Gateway, image: str) -> None:
    client = connect(f"http://{gateway.address}", protocol=None)
    assert client.get_image(image, PLAIN).body.name
