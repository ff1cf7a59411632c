"""The unmodified SDKs send a service account's token as their `bearer_token`, and so does a child gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException

from clients import PLAIN, call, connect
from processes import Emulator, Gateway

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/service_account_tokens.json").read_text())
TOKENS = {token["name"]: token["token"] for token in VECTORS["tokens"]}
CLIENTS = """
[[client]]
name = "scheduler"
service_account = "training/scheduler"
permissions = ["get", "list"]
workspaces = ["*"]
users = ["*"]
official = true
"""


def bearer(name: str) -> dict[str, Any]:
    """The settings of an SDK that has no key, and this token."""
    return {"access_key_id": None, "access_key_secret": None, "bearer_token": TOKENS[name]}


@pytest.fixture
def gateway(tmp_path: Path, emulator: Emulator) -> Iterator[Gateway]:
    """A gateway whose clients have service accounts."""
    clients, keys = tmp_path / "clients.toml", tmp_path / "keys.json"
    clients.write_text(CLIENTS)
    keys.write_text(json.dumps(VECTORS["key_sets"]["all"]))
    flags = {
        "auth.mode": "required",
        "auth.clients_file": clients,
        "auth.kubernetes.issuer": VECTORS["issuer"],
        "auth.kubernetes.jwks_file": keys,
    }
    arguments = [part for name, value in flags.items() for part in ("--set", f"{name}={value}")]
    gateway = Gateway(tmp_path, emulator, False, arguments)
    yield gateway
    gateway.stop()


@pytest.mark.parametrize("name", ["good", "second key", "P-256"])
@pytest.mark.parametrize("method", ["get_image", "get_image_async"])
async def test_a_projected_token_gets_an_image(
    gateway: Gateway, image: str, name: str, method: str
) -> None:
    client = connect(gateway.address, **bearer(name))
    for _ in range(2):
        answer = await call(client, method, image, PLAIN)
        assert answer.body.to_map()["RequestId"]


@pytest.mark.parametrize(
    "name", ["expired", "another audience", "a stranger's key", "algorithm none", "another account"]
)
def test_a_refused_token_raises_the_vendors_exception(
    gateway: Gateway, image: str, name: str
) -> None:
    client = connect(gateway.address, **bearer(name))
    with pytest.raises(AlibabaCloudException) as caught:
        client.get_image(image, PLAIN)
    assert (caught.value.status_code, caught.value.code) == (404, "InvalidAccessKeyId.NotFound")


def test_a_child_gateway_without_a_key_gets_what_its_account_may_see(
    tmp_path: Path, gateway: Gateway, emulator: Emulator, image: str
) -> None:
    folder = tmp_path / "child"
    folder.mkdir()
    token = folder / "token"
    token.write_text(TOKENS["good"])
    (folder / "secret").write_text("of no use here")
    flags = {
        "upstream.kind": "gateway",
        "upstream.endpoint": f"http://{gateway.address}",
        "credentials.source": "token_file",
        "credentials.token_file": token,
    }
    arguments = [part for name, value in flags.items() for part in ("--set", f"{name}={value}")]
    child = Gateway(folder, emulator, False, arguments)
    try:
        parents = connect(gateway.address, **bearer("good")).get_image(image, PLAIN).body
        assert connect(child.address).get_image(image, PLAIN).body.to_map() == parents.to_map()
    finally:
        child.stop()
