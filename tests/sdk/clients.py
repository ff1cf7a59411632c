"""The vendor's client, set up as its users set it up."""

from __future__ import annotations

import inspect
from typing import Any

from alibabacloud_aiworkspace20210204 import models
from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_tea_openapi.utils_models import Config

PLAIN = models.GetImageRequest()
VERBOSE = models.GetImageRequest(verbose=True)

# Characters that clients escape differently, and with `%2B` a text that looks like an escape.
ODD = "tensor flow~*+%2B/中&c=d#?;:@$'!()\"\\"
# The same for a label's key, which has neither `=` nor a comma, because both separate; `%2C` is not a comma.
ODD_KEY = "key/2 ~*+%2C中&#?;:@'!()"


def connect(address: str, **settings: Any) -> Client:
    """A client of `address` over plain HTTP, with a key that the origin does not know."""
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
    """A response without the parts that differ between two equal calls."""
    return {name: value for name, value in body.to_map().items() if name != "RequestId"}
