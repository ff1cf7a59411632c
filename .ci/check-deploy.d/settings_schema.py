"""Writes the settings part of the chart's values.schema.json, from the gateway's own schema.

    pai-image-gateway docs schema | settings_schema.py CHART     prints CHART's schema with that part made anew
"""

import json
import sys

# Keywords with the same meaning for the chart and the gateway.
KEPT = ("type", "description", "enum", "items", "minimum", "maximum", "pattern")


def settings(schema: dict) -> dict:
    """A setting, or a table of them; null removes a setting of the chart."""
    if "oneOf" in schema:
        values = [variant["const"] for variant in schema["oneOf"]]
        return described(schema) | {"enum": [*values, None]}
    kept = {key: schema[key] for key in KEPT if key in schema}
    kinds = kept.pop("type", "string")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    kept = {"type": [*(kind for kind in kinds if kind != "null"), "null"]} | kept
    if "enum" in kept:
        kept["enum"] = [*(value for value in kept["enum"] if value is not None), None]
    if "properties" in schema:
        tables = {key: settings(value) for key, value in sorted(schema["properties"].items())}
        kept |= {"additionalProperties": False, "properties": tables}
    return kept


def described(schema: dict) -> dict:
    return {"description": schema["description"]} if "description" in schema else {}


def main() -> None:
    (chart,) = sys.argv[1:]
    known = settings(json.load(sys.stdin))
    with open(chart) as file:
        whole = json.load(file)
    whole["properties"]["config"] = known | {
        "type": "object",
        "description": "Settings of the gateway; made from their types by .ci/check-deploy --sync",
    }
    print(json.dumps(whole, indent=2))


main()
