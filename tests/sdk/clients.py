"""The vendor's client, set up as its users set it up."""

from __future__ import annotations

import inspect
from typing import Any

from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.utils_models import Config

PLAIN = models.GetImageRequest()
VERBOSE = models.GetImageRequest(verbose=True)

# What clients escape in ways of their own, and with `%2B` something that looks like an escape.
ODD = "tensor flow~*+%2B/中&c=d#?;:@$'!()\"\\"
# The same for a label's key, which holds neither `=` nor a comma, since both separate; `%2C` is none.
ODD_KEY = "key/2 ~*+%2C中&#?;:@'!()"


def connect(address: str, **settings: Any) -> Client:
    """A client of `address` over plain HTTP, with a key that means nothing to the origin."""
    settings = {
        "access_key_id": "CLIENTKEY",
        "access_key_secret": "client-secret",
        "protocol": "http",
        **settings,
    }
    return Client(Config(endpoint=address, **settings))


async def call(client: Client, method: str, *arguments: Any) -> Any:
    """Calls a method of the client by its name, be it a sync or an async one."""
    answer = getattr(client, method)(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


def facts(body: Any) -> dict[str, Any]:
    """An answer without what differs between two calls that mean the same."""
    return {name: value for name, value in body.to_map().items() if name != "RequestId"}
