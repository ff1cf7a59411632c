"""Clients of every generation against a gateway that requires authentication."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.policy.retry import RetryOptions

from processes import OFFICIAL_IMAGES, Emulator, Gateway
from test_node import FOLDER, missing

# Interpreters with older pins beside this one's: tests/sdk/run makes them.
PYTHONS = {
    "1.2.4": os.environ.get("SDK_PYTHON_OLDEST"),
    "8.0.0": os.environ.get("SDK_PYTHON_OLDER"),
    "newest": sys.executable,
}
KEY = {"access_key_id": "GWCHIEF", "access_key_secret": "chief-secret"}
STS = {"access_key_id": "GWTEMP", "access_key_secret": "temporary-secret", "security_token": "CAIS.token/+="}
BEARER = {"bearer_token": "a-bearer-token"}
# A key that was not issued: the certificate of the connection authenticates.
CERTIFICATE = {"access_key_id": "ANYKEY", "access_key_secret": "any-secret"}
V2 = {"signature_algorithm": "v2"}
SM3 = {"signature_algorithm": "ACS3-HMAC-SM3"}
NAME = "spiffe://example.com/job"
DEADLINE_SECONDS = 60

serial = itertools.count(1)


@dataclass
class Place:
    """One gateway by each way to reach it, an image of the emulator, and the files of TLS."""

    emulator: Emulator
    gateways: dict[str, Gateway]
    image: str
    folder: Path

    def config(self, way: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The SDK's Config for a gateway."""
        endpoint = "localhost" if way == "unix" else self.gateways[way].address
        return {"endpoint": endpoint, "protocol": "https" if way == "https" else "http", **settings}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("generations")
    write_certificates(folder)
    write_clients(folder)
    emulator = Emulator(folder)
    socket = folder / "gateway.sock"
    listeners = {
        "http": [],
        "https": [
            f"listen.tls.cert_file={folder / 'server.pem'}",
            f"listen.tls.key_file={folder / 'server.key'}",
            f"listen.tls.client_ca_file={folder / 'ca.pem'}",
        ],
        "unix": [f"listen.unix={socket}", "listen.address="],
    }
    gateways: dict[str, Gateway] = {}
    try:
        for way, settings in listeners.items():
            gateways[way] = start(folder, emulator, way, settings)
        yield Place(emulator, gateways, emulator.image_ids(1)[0], folder)
        assert emulator.rejected() == {}
    finally:
        for server in [*gateways.values(), emulator]:
            server.stop()


def start(folder: Path, emulator: Emulator, way: str, settings: list[str]) -> Gateway:
    home = folder / way
    home.mkdir()
    (home / "secret").write_text((folder / "secret").read_text())
    settings = [
        "auth.mode=required",
        f"auth.clients_file={folder / 'clients.toml'}",
        # With a journal writes are accepted from the start.
        f"cache.snapshot={home / 'snapshot'}",
        *settings,
    ]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    return Gateway(home, emulator, True, flags)


def write_clients(folder: Path) -> None:
    for name, text in [("chief", KEY["access_key_secret"]), ("temp", STS["access_key_secret"]), ("token", STS["security_token"])]:
        (folder / name).write_text(text)
    bearer = hashlib.sha256(BEARER["bearer_token"].encode()).hexdigest()
    proofs = {
        "chief": f'access_key_id = "{KEY["access_key_id"]}"\naccess_key_secret_file = "chief"',
        "temp": f'access_key_id = "{STS["access_key_id"]}"\naccess_key_secret_file = "temp"\nsecurity_token_file = "token"',
        "bearer": f'bearer_sha256 = "{bearer}"',
        "job": f'mtls_name = "{NAME}"',
    }
    grant = 'permissions = ["get", "list", "write"]\nworkspaces = ["*"]\nusers = ["*"]\nofficial = true'
    tables = [f'[[client]]\nname = "{name}"\n{proof}\n{grant}\n' for name, proof in proofs.items()]
    (folder / "clients.toml").write_text("\n".join(tables))


def write_certificates(folder: Path) -> None:
    """An authority, the gateway's certificate, and a client's with its key in one PEM."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = certificate("authority", authority_key, None, authority_key, [])
    (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    for name, alternative in [
        ("server", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        ("client", x509.UniformResourceIdentifier(NAME)),
    ]:
        key = ec.generate_private_key(ec.SECP256R1())
        made = certificate(name, key, authority, authority_key, [alternative])
        pem = made.public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
        (folder / f"{name}.key").write_bytes(secret)
        (folder / f"{name}-and-key.pem").write_bytes(pem + secret)


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def run_json(process: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The JSON that a client prints."""
    run = subprocess.run(
        process,
        cwd=FOLDER,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


# Calls that every client can make, regardless of its age and signature.
EXPECTED = {
    "found": True,
    "same": True,
    "labels": True,
    "page": [OFFICIAL_IMAGES, 3],
    "missing": "ImageNotFound",
    "odd": "InvalidParameter",
    "labelled": True,
    "published": "PUBLIC",
    "removed": "ImageNotFound",
}


ACS3_ROWS = [
    (version, way, name)
    for version in PYTHONS
    for way, name in [("http", "acs3"), ("http", "sts"), ("http", "sm3"), ("unix", "v2"), ("https", "v2 sts")]
]
# Features that the oldest lacks: a bearer token, and a certificate of its own.
LATER_ROWS = [
    (version, "https", name) for version in ["8.0.0", "newest"] for name in ["bearer", "v2"]
] + [("newest", "https", "certificate")]
CREDENTIALS = {
    "acs3": KEY,
    "sts": STS,
    "sm3": {**KEY, **SM3},
    "v2": {**KEY, **V2},
    "v2 sts": {**STS, **V2},
    "bearer": BEARER,
    "certificate": CERTIFICATE,
}


@pytest.mark.parametrize(("version", "way", "credential"), ACS3_ROWS + LATER_ROWS)
def test_python(place: Place, version: str, way: str, credential: str) -> None:
    if (python := PYTHONS[version]) is None:
        pytest.skip("tests/sdk/run installs it")
    settings = dict(CREDENTIALS[credential])
    if credential == "certificate":
        settings["cert"] = str(place.folder / "client-and-key.pem")
    if way == "https" and version != "1.2.4":
        settings["ca"] = str(place.folder / "ca.pem")
    # The async client of these generations trusts what certifi names.
    ca = str(place.folder / "ca.pem") if way == "https" else None
    # aiohttp is not led to a socket here; the oldest's async client has no TLS with a Python of today.
    ways = ["sync"] if way == "unix" or (version, way) == ("1.2.4", "https") else ["sync", "async"]
    request = {
        "config": place.config(way, settings),
        "image": place.image,
        "ca": ca,
        "unix": str(place.folder / "gateway.sock") if way == "unix" else None,
        "name": f"python-{next(serial)}",
        "ways": ways,
    }
    script = Path(__file__).parent / "generation.py"
    answers = run_json([python, str(script), json.dumps(request)], {})
    assert answers == {name: EXPECTED for name in ways}


@pytest.mark.parametrize(
    "client",
    [
        "openapi-client 0.2.1",
        "openapi-client 0.4.15",
        "openapi-client 0.4.15 v2",
        "openapi-client 0.4.15 sm3",
        "openapi-core 1.0.1",
        "openapi-core newest",
        "pop-core 1.8.0",
    ],
)
def test_node(place: Place, client: str) -> None:
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    request = {
        "client": client,
        "endpoint": place.gateways["https"].address,
        "key": {"accessKeyId": KEY["access_key_id"], "accessKeySecret": KEY["access_key_secret"]},
        "image": place.image,
        "name": f"node-{next(serial)}",
    }
    authority = {"NODE_EXTRA_CA_CERTS": str(place.folder / "ca.pem")}
    assert run_json(["node", "generations.mjs", json.dumps(request)], authority) == EXPECTED


def test_aliyun_python_sdk_core(place: Place) -> None:
    request = {
        "endpoint": place.gateways["http"].address,
        "key": KEY["access_key_id"],
        "secret": KEY["access_key_secret"],
        "image": place.image,
    }
    script = Path(__file__).parent / "sdk_core.py"
    assert run_json([sys.executable, str(script), json.dumps(request)], {}) == {
        "found": True,
        "labels": True,
        "page": [OFFICIAL_IMAGES, 3],
        "missing": [404, "ImageNotFound"],
        "write": [403, "Gateway.Forbidden"],
        "wrong": [400, "SignatureDoesNotMatch"],
    }


@pytest.mark.parametrize("code", ["Throttling.User", "Throttling.Api"])
def test_a_retry_policy_by_the_vendors_code_retries(place: Place, code: str) -> None:
    image = unread(place)
    # More of them than the gateway's own attempts at one request.
    throttled = {"kind": "throttle", "code": code, "retry_after_ms": 60}
    place.emulator.inject({"operation": "GetImage", "image": image, "times": 4, **throttled})
    condition = {"maxAttempts": 6, "exception": [], "errorCode": [code]}
    options = RetryOptions({"retryable": True, "retryCondition": [condition]})
    client = Client(Config(**place.config("http", {**KEY, "retry_options": options})))
    assert client.get_image(image, models.GetImageRequest()).body.image_uri


def unread(place: Place) -> str:
    """The id of an image that no client has requested yet."""
    return place.emulator.image_ids(100)[-next(serial)]
