"""One round of calls with the generation of the Python SDK that this interpreter has.

    python generation.py SETTINGS

SETTINGS is JSON: `config` for the SDK's Config, `image` to ask for, `name` of the image to add, `ways` (sync,
async), and optionally `ca` for generations without a setting for it, and `unix` for the gateway's socket.
Prints what came as JSON. It stands alone: the interpreter has the SDK and nothing of the tests.
"""

import asyncio
import inspect
import json
import socket
import sys

SETTINGS = json.loads(sys.argv[1])

if SETTINGS.get("ca"):
    import certifi

    certifi.where = lambda: SETTINGS["ca"]

if SETTINGS.get("unix"):
    from urllib3.connection import HTTPConnection

    def connect_to_socket(connection):
        """Connects to the gateway's socket, regardless of the SDK's host."""
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(10)
        stream.connect(SETTINGS["unix"])
        return stream

    HTTPConnection._new_conn = connect_to_socket

from alibabacloud_aiworkspace20210204 import models  # noqa: E402
from alibabacloud_aiworkspace20210204.client import Client  # noqa: E402
from alibabacloud_tea_openapi.models import Config  # noqa: E402

ODD_KEY = "key/2 ~*+%2C中&#?;:@'!()"
# The address and the proxy are loopback, so nothing takes long.
CONFIG = {"read_timeout": 10000, "connect_timeout": 5000, **SETTINGS["config"]}


class Caller:
    """Calls methods by their names, in one of the SDK's two ways."""

    def __init__(self, suffix):
        self.client = Client(Config(**CONFIG))
        self.suffix = suffix

    async def call(self, method, *arguments):
        answer = getattr(self.client, method + self.suffix)(*arguments)
        answer = await answer if inspect.isawaitable(answer) else answer
        return answer.body

    async def code_of(self, method, *arguments):
        try:
            await self.call(method, *arguments)
        except Exception as error:  # Each generation has its own types; the oldest wraps them.
            inner = getattr(error, "inner_exception", None)
            return getattr(error, "code", None) or getattr(inner, "code", None) or repr(error)
        return None


async def read(caller, image):
    plain = await caller.call("get_image", image, models.GetImageRequest())
    verbose = await caller.call("get_image", image, models.GetImageRequest(verbose=True))
    search = models.ListImagesRequest(labels="system.official=true", name="pytorch", page_size=3, order="DESC")
    page = await caller.call("list_images", search)
    labels = await caller.call("list_image_labels", models.ListImageLabelsRequest(image_id=image))
    return {
        "found": bool(plain.image_uri),
        "same": verbose.image_uri == plain.image_uri,
        "labels": len(verbose.labels) == len(labels.labels) > 0,
        "page": [page.total_count, len(page.images)],
        "missing": await caller.code_of("get_image", "image-none", models.GetImageRequest()),
        "odd": await caller.code_of("get_image", "a*b", models.GetImageRequest()),
    }


async def write(caller, name):
    new = models.AddImageRequest(name=name, image_uri="r/x:1", description="模型", workspace_id="15945")
    image = (await caller.call("add_image", new)).image_id
    label = models.AddImageLabelsRequestLabels(key=ODD_KEY, value="v")
    await caller.call("add_image_labels", image, models.AddImageLabelsRequest(labels=[label]))
    keys = await label_keys(caller, image)
    await caller.call("remove_image_labels", image, ODD_KEY, *empty("RemoveImageLabelsRequest"))
    await caller.call("publish_image", image, *empty("PublishImageRequest"))
    published = await caller.call("get_image", image, models.GetImageRequest())
    fewer = await label_keys(caller, image)
    await caller.call("remove_image", image, *empty("RemoveImageRequest"))
    return {
        "labelled": [keys, fewer] == [[ODD_KEY], []],
        "published": published.accessibility,
        "removed": await caller.code_of("get_image", image, models.GetImageRequest()),
    }


def empty(name):
    """A request without a field, which later generations require."""
    model = getattr(models, name, None)
    return [model()] if model else []


async def label_keys(caller, image):
    image = await caller.call("get_image", image, models.GetImageRequest(verbose=True))
    return [label.key for label in image.labels]


async def main():
    result = {}
    for way in SETTINGS["ways"]:
        caller = Caller("_async" if way == "async" else "")
        reads = await read(caller, SETTINGS["image"])
        result[way] = {**reads, **await write(caller, SETTINGS["name"] + "-" + way)}
    print(json.dumps(result))


asyncio.run(main())
