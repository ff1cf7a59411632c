"""A fresh emulator and gateway for every test, so that no fault or breaker outlives its test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# The SDKs obey a proxy and settings from the environment even for loopback, and so does the gateway.
for _name in list(os.environ):
    if _name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        del os.environ[_name]
    elif _name.startswith(("ALIBABA_CLOUD_", "PAI_GATEWAY__")):
        del os.environ[_name]

from alibabacloud_aiworkspace20210204.client import Client  # noqa: E402

from clients import connect  # noqa: E402
from processes import ACCESS_KEY_ID, ACCESS_KEY_SECRET, Emulator, Gateway  # noqa: E402


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """The origin. After each test, it must have rejected none of the gateway's requests."""
    emulator = Emulator(tmp_path)
    try:
        yield emulator
        assert emulator.rejected() == {}
    finally:
        emulator.stop()


@pytest.fixture
def writes() -> bool:
    """Whether the gateway passes writes on."""
    return True


@pytest.fixture
def gateway(tmp_path: Path, emulator: Emulator, writes: bool) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, emulator, writes)
    yield gateway
    gateway.stop()


@pytest.fixture
def client(gateway: Gateway) -> Client:
    return connect(gateway.address)


@pytest.fixture
def origin(emulator: Emulator) -> Client:
    """A client with the central key that calls the origin directly."""
    return connect(
        emulator.address, access_key_id=ACCESS_KEY_ID, access_key_secret=ACCESS_KEY_SECRET
    )


@pytest.fixture
def image(emulator: Emulator) -> str:
    """The id of an image that no client has requested yet."""
    return emulator.image_ids(1)[0]
