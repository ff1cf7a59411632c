"""Requests as the vendor's Python SDK 8.3.5 writes them, byte for byte but for ids and times."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from datetime import datetime, timezone

EMPTY = hashlib.sha256(b"").hexdigest()
KEY_ID = "GWBENCH"
KEY_SECRET = "a-secret-of-the-benchmark"
AGENT = "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2"


def get_image(image: str, host: str) -> bytes:
    """A GetImage without labels, signed anew at each call: date and nonce are in the signature."""
    date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = {
        "accept": "application/json",
        "host": host,
        "user-agent": AGENT,
        "x-acs-action": "GetImage",
        "x-acs-content-sha256": EMPTY,
        "x-acs-credentials-provider": "static_ak",
        "x-acs-date": date,
        "x-acs-signature-nonce": secrets.token_hex(16),
        "x-acs-version": "2021-02-04",
    }
    path, names = f"/api/v1/images/{image}", ";".join(signed)
    canonical = "".join(f"{name}:{value}\n" for name, value in signed.items())
    request = f"GET\n{path}\n\n{canonical}\n{names}\n{EMPTY}"
    to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(KEY_SECRET.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    sent = [
        ("Accept-Encoding", "identity"),
        ("host", host),
        ("x-acs-version", signed["x-acs-version"]),
        ("x-acs-action", signed["x-acs-action"]),
        ("user-agent", AGENT),
        ("x-acs-date", date),
        ("x-acs-signature-nonce", signed["x-acs-signature-nonce"]),
        ("accept", signed["accept"]),
        ("x-acs-content-sha256", EMPTY),
        ("x-acs-credentials-provider", "static_ak"),
        (
            "Authorization",
            f"ACS3-HMAC-SHA256 Credential={KEY_ID},SignedHeaders={names},Signature={signature}",
        ),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in sent)
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def get_images(images: list[str], host: str, count: int) -> Iterator[bytes]:
    """So many of them, through the images in turn."""
    return (get_image(images[number % len(images)], host) for number in range(count))


def clients(folder: str) -> str:
    """A clients file that admits this key, for images of every workspace."""
    with open(f"{folder}/bench.secret", "w", encoding="ascii") as file:
        file.write(KEY_SECRET)
    path = f"{folder}/clients.toml"
    with open(path, "w", encoding="ascii") as file:
        file.write(
            f'[[client]]\nname = "bench"\naccess_key_id = "{KEY_ID}"\n'
            'access_key_secret_file = "bench.secret"\npermissions = ["get"]\nmisses_per_second = 1000000\n'
            'workspaces = ["*"]\nusers = ["*"]\nofficial = true\n'
        )
    return path
