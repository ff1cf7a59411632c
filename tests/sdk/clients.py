"""The vendor's client, set up as its users set it up."""

from __future__ import annotations

from typing import Any

from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.utils_models import Config

PLAIN = models.GetImageRequest()
VERBOSE = models.GetImageRequest(verbose=True)


def connect(address: str, **settings: Any) -> Client:
    """A client of `address` over plain HTTP, with a key that means nothing to the origin."""
    settings = {
        "access_key_id": "CLIENTKEY",
        "access_key_secret": "client-secret",
        "protocol": "http",
        **settings,
    }
    return Client(Config(endpoint=address, **settings))


def facts(body: Any) -> dict[str, Any]:
    """An answer without what differs between two calls that mean the same."""
    return {name: value for name, value in body.to_map().items() if name != "RequestId"}
