"""PAI's own SDK, which always signs with v2 and has no setting for the endpoint, authenticates."""

from __future__ import annotations

import os
from typing import Any

import pytest
from alibabacloud_credentials.models import Config as Credential
from Tea.exceptions import TeaException

from processes import OFFICIAL_IMAGES, Emulator, Gateway
from test_auth import CHIEF, TEAM, TEMPORARY, gateway  # noqa: F401

# Otherwise it tries to reach the cloud, to detect its network.
os.environ["PAI_NETWORK_TYPE"] = "PUBLIC"

import pai.api.client_factory  # noqa: E402
import pai.image  # noqa: E402
from pai.session import Session  # noqa: E402


def session(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, key: dict[str, Any]) -> Session:  # noqa: F811
    """A session that calls the gateway instead of the cloud."""
    monkeypatch.setattr(
        pai.api.client_factory, "DEFAULT_SERVICE_ENDPOINT_PATTERN", gateway.address
    )
    kind = "sts" if key.get("security_token") else "access_key"
    session = Session("cn-hangzhou", "15945", credential_config=Credential(type=kind, **key))
    session._acs_workspace_client._protocol = "http"
    return session


@pytest.mark.parametrize("key", [CHIEF, TEMPORARY], ids=["key", "sts"])
def test_every_page_of_images_comes(
    gateway: Gateway,  # noqa: F811
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    key: dict[str, Any],
) -> None:
    images = pai.image.list_images(None, session=session(gateway, monkeypatch, key))
    assert emulator.calls("ListImages") == 2
    assert len({image.image_uri for image in images}) == len(images) == OFFICIAL_IMAGES > 50


def test_an_image_is_found_by_its_framework(
    gateway: Gateway,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signed_in = session(gateway, monkeypatch, CHIEF)
    known = pai.image.list_images(None, session=signed_in)[0]
    found = pai.image.retrieve(
        known.framework_name, "latest", known.accelerator_type, session=signed_in
    )
    assert found.framework_name == known.framework_name


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ({**CHIEF, "access_key_secret": "wrong"}, "SignatureDoesNotMatch"),
        ({**CHIEF, "access_key_id": "GWNOBODY"}, "InvalidAccessKeyId.NotFound"),
        (TEAM, "Gateway.Forbidden"),
    ],
)
def test_who_may_not_search_hears_why(
    gateway: Gateway,  # noqa: F811
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    key: dict[str, Any],
    code: str,
) -> None:
    with pytest.raises(TeaException) as caught:
        pai.image.list_images(None, session=session(gateway, monkeypatch, key))
    assert caught.value.code == code
    assert emulator.all_calls() == 0
