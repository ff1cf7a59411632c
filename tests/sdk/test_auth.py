"""The unmodified SDKs authenticate with the keys that the operator issued."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException

from clients import PLAIN, VERBOSE, call, connect
from processes import OFFICIAL_IMAGES, Emulator, Gateway
from test_node import FOLDER, missing

CHIEF = {"access_key_id": "GWCHIEF", "access_key_secret": "chief-secret"}
TEAM = {"access_key_id": "GWTEAM", "access_key_secret": "team-secret"}
TEMPORARY = {
    "access_key_id": "GWTEMP",
    "access_key_secret": "temporary-secret",
    "security_token": "CAIS.token/+=",
}
BEARER = {"access_key_id": None, "access_key_secret": None, "bearer_token": "a-bearer-token"}
V2 = {**CHIEF, "signature_algorithm": "v2"}
V2_TEMPORARY = {**TEMPORARY, "signature_algorithm": "v2"}
WAYS = {"acs3": CHIEF, "sts": TEMPORARY, "bearer": BEARER, "v2": V2, "v2 sts": V2_TEMPORARY}

ALL = 'workspaces = ["*"]\nusers = ["*"]\nofficial = true\n'


def client_of(name: str, proof: str, permissions: str, grant: str = ALL) -> str:
    """One client's table."""
    return f'[[client]]\nname = "{name}"\n{proof}\npermissions = {permissions}\n{grant}\n'


def key(settings: dict[str, Any], secret: str) -> str:
    return f'access_key_id = "{settings["access_key_id"]}"\naccess_key_secret_file = "{secret}"'


@pytest.fixture
def gateway(tmp_path: Path, emulator: Emulator) -> Iterator[Gateway]:
    """A gateway that requires authentication."""
    for name, text in [
        ("chief", CHIEF["access_key_secret"]),
        ("team", TEAM["access_key_secret"]),
        ("temporary", TEMPORARY["access_key_secret"]),
        ("token", TEMPORARY["security_token"]),
    ]:
        (tmp_path / name).write_text(text)
    bearer = hashlib.sha256(BEARER["bearer_token"].encode()).hexdigest()
    token = key(TEMPORARY, "temporary") + '\nsecurity_token_file = "token"'
    everything = '["get", "list", "resolve", "refresh", "write"]'
    gateway = guarded(
        tmp_path,
        emulator,
        client_of("chief", key(CHIEF, "chief"), everything),
        client_of("team", key(TEAM, "team"), '["get", "list"]', 'workspaces = ["15945"]'),
        client_of("temporary", token, '["get", "list"]'),
        client_of("bearer", f'bearer_sha256 = "{bearer}"', '["get", "list"]'),
    )
    yield gateway
    gateway.stop()


def guarded(folder: Path, emulator: Emulator, *clients: str) -> Gateway:
    """A gateway that admits only these clients."""
    file = folder / "clients.toml"
    file.write_text("".join(clients))
    flags = ["--set", "auth.mode=required", "--set", f"auth.clients_file={file}"]
    return Gateway(folder, emulator, True, flags)


def refused(call: Any, *arguments: Any) -> tuple[int, str]:
    with pytest.raises(AlibabaCloudException) as caught:
        call(*arguments)
    return caught.value.status_code, caught.value.code


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["get_image", "get_image_async"])
async def test_each_way_to_sign_in_gets_an_image(
    gateway: Gateway, image: str, way: str, method: str
) -> None:
    client = connect(gateway.address, **WAYS[way])
    for request in (PLAIN, VERBOSE, PLAIN):
        answer = await call(client, method, image, request)
        assert answer.body.image_uri


@pytest.mark.parametrize(
    ("settings", "status", "code"),
    [
        ({**CHIEF, "access_key_secret": "wrong"}, 400, "SignatureDoesNotMatch"),
        ({**V2, "access_key_secret": "wrong"}, 400, "SignatureDoesNotMatch"),
        ({**CHIEF, "access_key_id": "GWNOBODY"}, 404, "InvalidAccessKeyId.NotFound"),
        ({**TEMPORARY, "security_token": None}, 400, "MissingSecurityToken"),
        ({**TEMPORARY, "security_token": "x"}, 400, "InvalidSecurityToken.Malformed"),
        ({**BEARER, "bearer_token": "x"}, 404, "InvalidAccessKeyId.NotFound"),
    ],
)
def test_who_is_not_let_in_hears_the_vendors_code(
    gateway: Gateway, image: str, settings: dict[str, Any], status: int, code: str
) -> None:
    client = connect(gateway.address, **settings)
    assert refused(client.get_image, image, PLAIN) == (status, code)


def test_what_may_not_be_seen_does_not_exist(gateway: Gateway, emulator: Emulator) -> None:
    chief, team = connect(gateway.address, **CHIEF), connect(gateway.address, **TEAM)
    judged = set()
    for image in emulator.image_ids(40):
        body = chief.get_image(image, PLAIN).body
        kind = (body.workspace_id, body.accessibility)
        judged.add(kind)
        if kind == ("15945", "PUBLIC"):
            assert team.get_image(image, PLAIN).body.to_map() == body.to_map()
        else:
            assert refused(team.get_image, image, PLAIN) == (404, "ImageNotFound"), kind
    assert judged == {
        (None, "PUBLIC"),
        ("15945", "PUBLIC"),
        ("15945", "PRIVATE"),
        ("20817", "PUBLIC"),
    }
    assert refused(team.get_image, "image-none", PLAIN) == (404, "ImageNotFound")


@pytest.mark.parametrize("settings", [CHIEF, V2], ids=["acs3", "v2"])
@pytest.mark.parametrize("method", ["get_image", "get_image_async"])
async def test_a_signature_over_an_odd_id_is_never_called_wrong(
    gateway: Gateway, settings: dict[str, Any], method: str
) -> None:
    client = connect(gateway.address, **settings)
    for odd in ["a b", "a*b", "a**b", "a/b", "a%2Fb", "it's(!)", "a;b:c@d", "镜像"]:
        with pytest.raises(AlibabaCloudException) as caught:
            await call(client, method, odd, VERBOSE)
        assert (caught.value.status_code, caught.value.code) == (400, "InvalidParameter"), odd


def test_writes_need_a_signature_over_their_body(gateway: Gateway, image: str) -> None:
    labels = [models.AddImageLabelsRequestLabels(key="team", value="nlp 镜像")]
    request = models.AddImageLabelsRequest(labels=labels)
    connect(gateway.address, **CHIEF).add_image_labels(image, request)
    older = connect(gateway.address, **V2)
    assert refused(older.add_image_labels, image, request) == (403, "Gateway.Forbidden")
    team = connect(gateway.address, **TEAM)
    assert refused(team.add_image_labels, image, request) == (403, "Gateway.Forbidden")


@pytest.mark.parametrize("settings", [CHIEF, V2], ids=["acs3", "v2"])
def test_searches_stay_within_what_is_held(
    gateway: Gateway, settings: dict[str, Any]
) -> None:
    chief, team = connect(gateway.address, **settings), connect(gateway.address, **TEAM)
    labels = "system.official=true,system.supported.dlc=true"
    search = {"labels": labels, "page_number": 1, "page_size": 50, "verbose": True}
    page = chief.list_images(models.ListImagesRequest(**search)).body
    assert (page.total_count, len(page.images)) == (OFFICIAL_IMAGES, 50)
    assert refused(team.list_images, models.ListImagesRequest()) == (403, "Gateway.Forbidden")
    mine = models.ListImagesRequest(workspace_id="15945", accessibility="PUBLIC", page_size=10)
    assert {image.workspace_id for image in team.list_images(mine).body.images} == {"15945"}


def test_node_signs_in(gateway: Gateway, image: str) -> None:
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    port = gateway.address.rpartition(":")[2]
    run = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "auth.test.mjs"],
        cwd=FOLDER,
        env={**os.environ, "GATEWAY_PORT": port, "IMAGE": image},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0 and "# pass 3\n" in run.stdout, run.stdout
