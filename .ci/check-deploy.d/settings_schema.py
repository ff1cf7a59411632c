"""The part of the chart's values.schema.json that speaks of the gateway's settings, from config/gateway.toml.

    settings_schema.py FILE SCHEMA            prints the schema with that part made anew
"""

import json
import re
import sys
import tomllib

# What is not set by default stands behind this, and is a setting like the others.
OFFERED = re.compile(r"^#:", re.MULTILINE)


def settings(text: str) -> dict:
    """Every setting that the file shows, whether it is set by default or only offered."""
    return tomllib.loads(OFFERED.sub("", text))


def schema(value: object) -> dict:
    """What may stand for a value like this one; null takes a setting of the chart's own away."""
    match value:
        case dict():
            return {
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {key: schema(value[key]) for key in sorted(value)},
            }
        case bool():
            return {"type": ["boolean", "null"]}
        case int():
            return {"type": ["integer", "null"]}
        case float():
            return {"type": ["number", "null"]}
        case list():
            return {"type": ["array", "null"], "items": {"type": "string"}}
        case _:
            return {"type": ["string", "null"]}


def main() -> None:
    example, chart = sys.argv[1:]
    with open(example) as file:
        known = schema(settings(file.read()))
    with open(chart) as file:
        whole = json.load(file)
    whole["properties"]["config"] = known | {
        "type": "object",
        "description": "Settings of the gateway; made from config/gateway.toml by .ci/check-deploy --sync",
    }
    print(json.dumps(whole, indent=2))


main()
