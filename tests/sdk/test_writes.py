"""Writes through the gateway are visible to the next read."""

from __future__ import annotations

import pytest
from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException

from clients import ODD_KEY, PLAIN, VERBOSE, call
from processes import Emulator


def new_image() -> models.AddImageRequest:
    return models.AddImageRequest(
        accessibility="PRIVATE",
        description='NLP 模型 "x"',
        image_uri="registry.example/pai/nlp:gpu",
        labels=[models.AddImageRequestLabels(key="system.chipType", value="GPU")],
        name="nlp-compression",
        size=2,
        workspace_id="15945",
    )


def new_labels(*keys: str) -> models.AddImageLabelsRequest:
    labels = [models.AddImageLabelsRequestLabels(key=key, value="值 + 1") for key in keys]
    return models.AddImageLabelsRequest(labels=labels)


def labels(client: Client, image: str) -> dict[str, str]:
    body = client.get_image(image, VERBOSE).body
    return {label.key: label.value for label in body.labels}


def absent(client: Client, image: str) -> bool:
    with pytest.raises(ClientException) as caught:
        client.get_image(image, PLAIN)
    return (caught.value.status_code, caught.value.code) == (404, "ImageNotFound")


def test_added_image_can_be_read(client: Client) -> None:
    answer = client.add_image(new_image())
    assert answer.headers["cache-status"] == "pai-image-gateway; fwd=bypass"
    body = client.get_image(answer.body.image_id, VERBOSE).body
    assert body.name == "nlp-compression"
    assert body.description == 'NLP 模型 "x"'
    assert [(label.key, label.value) for label in body.labels] == [("system.chipType", "GPU")]


def test_image_that_was_missing_can_be_read_once_added(client: Client) -> None:
    assert absent(client, "image-chosen")
    request = new_image()
    request.image_id = "image-chosen"
    assert client.add_image(request).body.image_id == "image-chosen"
    assert client.get_image("image-chosen", PLAIN).body.name == "nlp-compression"


@pytest.mark.parametrize("key", ["team", ODD_KEY])
def test_labels_are_seen_as_soon_as_they_change(client: Client, image: str, key: str) -> None:
    before = labels(client, image)
    client.add_image_labels(image, new_labels(key))
    assert labels(client, image) == {**before, key: "值 + 1"}
    client.remove_image_labels(image, key, models.RemoveImageLabelsRequest())
    assert labels(client, image) == before


@pytest.mark.parametrize("method", ["remove_image_labels", "remove_image_labels_async"])
async def test_labels_named_in_one_call_are_removed_in_one_call(
    client: Client, emulator: Emulator, image: str, method: str
) -> None:
    before = labels(client, image)
    client.add_image_labels(image, new_labels("100%", "kept", ODD_KEY))
    assert set(labels(client, image)) == {*before, "100%", "kept", ODD_KEY}
    keys = f"100%,{ODD_KEY}"
    await call(client, method, image, keys, models.RemoveImageLabelsRequest())
    assert labels(client, image) == {**before, "kept": "值 + 1"}
    assert emulator.calls("RemoveImageLabels") == 1


def test_published_image_is_seen_as_public(client: Client) -> None:
    image = client.add_image(new_image()).body.image_id
    assert client.get_image(image, PLAIN).body.accessibility == "PRIVATE"
    published = client.publish_image(image, models.PublishImageRequest()).body
    assert published.image_id == image
    assert client.get_image(image, PLAIN).body.accessibility == "PUBLIC"


def test_removed_image_is_gone_in_both_variants(client: Client, image: str) -> None:
    client.get_image(image, PLAIN)
    client.get_image(image, VERBOSE)
    client.remove_image(image, models.RemoveImageRequest())
    assert absent(client, image)
    with pytest.raises(ClientException):
        client.get_image(image, VERBOSE)


async def test_async_writes_are_seen_at_once(client: Client) -> None:
    image = (await client.add_image_async(new_image())).body.image_id
    assert set(labels(client, image)) == {"system.chipType"}
    await client.add_image_labels_async(image, new_labels(ODD_KEY))
    assert set(labels(client, image)) == {"system.chipType", ODD_KEY}
    await client.remove_image_labels_async(image, ODD_KEY, models.RemoveImageLabelsRequest())
    assert set(labels(client, image)) == {"system.chipType"}
    await client.publish_image_async(image, models.PublishImageRequest())
    assert (await client.get_image_async(image, PLAIN)).body.accessibility == "PUBLIC"
    await client.remove_image_async(image, models.RemoveImageRequest())
    assert absent(client, image)


def test_origin_refusing_a_write_is_passed_on(client: Client) -> None:
    with pytest.raises(ClientException) as caught:
        client.add_image_labels("image-nowhere", new_labels("team"))
    assert (caught.value.status_code, caught.value.code) == (404, "ImageNotFound")


@pytest.mark.parametrize("writes", [False])
def test_writes_that_are_off_never_reach_the_origin(
    client: Client, emulator: Emulator, image: str, writes: bool
) -> None:
    for call in (
        lambda: client.add_image(new_image()),
        lambda: client.add_image_labels(image, new_labels("team")),
        lambda: client.remove_image_labels(image, "team", models.RemoveImageLabelsRequest()),
        lambda: client.publish_image(image, models.PublishImageRequest()),
        lambda: client.remove_image(image, models.RemoveImageRequest()),
    ):
        with pytest.raises(ClientException) as caught:
            call()
        assert caught.value.code == "Gateway.Forbidden"
    assert emulator.all_calls() == 0
