"""One round of calls by aliyun-python-sdk-core: ROA v2, `RegionId` in every query, and no nonce.

    python sdk_core.py SETTINGS

SETTINGS is JSON: `endpoint`, `key` and `secret`, `image` to ask for. Prints what came as JSON.
"""

import json
import sys

from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest

SETTINGS = json.loads(sys.argv[1])
client = AcsClient(SETTINGS["key"], SETTINGS["secret"], "cn-hangzhou")


def call(method, path, query=(), body=None):
    request = CommonRequest()
    request.set_domain(SETTINGS["endpoint"])
    request.set_protocol_type("http")
    request.set_method(method)
    request.set_uri_pattern(path)
    request.set_version("2021-02-04")
    for name, value in query:
        request.add_query_param(name, value)
    if body is not None:
        request.set_content(json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
    return json.loads(client.do_action_with_exception(request))


def code_of(*arguments):
    try:
        call(*arguments)
    except ServerException as error:
        return [error.get_http_status(), error.get_error_code()]
    return None


image = "/api/v1/images/" + SETTINGS["image"]
plain = call("GET", image)
verbose = call("GET", image, [("Verbose", "true")])
page = call("GET", "/api/v1/images", [("Labels", "system.official=true"), ("PageSize", "3")])
result = {
    "found": bool(plain["ImageUri"]),
    "labels": len(verbose["Labels"]) > 0,
    "page": [page["TotalCount"], len(page["Images"])],
    "missing": code_of("GET", "/api/v1/images/image-none"),
    # Its signature covers no body, and it sends no nonce.
    "write": code_of("PUT", image + "/publish"),
}
client = AcsClient(SETTINGS["key"], "wrong", "cn-hangzhou")
result["wrong"] = code_of("GET", image)
print(json.dumps(result))
