"""The worst case of a deployment: costs times the bounds in its settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

from measuring.server import ROOT

KIB, MIB = 1 << 10, 1 << 20
UNITS = {"KiB": KIB, "MiB": MIB, "GiB": 1 << 30}
# Bounds that are no settings: src/observability/logging.rs and src/observability/audit.rs; clients.toml as it may reasonably be.
LOG, AUDIT, CLIENTS = MIB, 4 * MIB, 1_000
# Bytes that the table of nonces counts for each: src/auth/nonces.rs.
NONCE = 104
KUBERNETES = ROOT / "deploy/kubernetes"


def shipped(path: Path) -> dict:
    """A deployment's settings over the defaults."""
    merged = tomllib.loads((ROOT / "config/gateway.toml").read_text())
    for table, settings in tomllib.loads(path.read_text()).items() if path else ():
        merged.setdefault(table, {}).update(settings)
    return merged


DEPLOYMENTS = {
    "shared Deployment, chart, systemd": shipped(KUBERNETES / "shared/base/gateway.toml"),
    "sidecar": shipped(KUBERNETES / "sidecar/settings/gateway.toml"),
}


def size(text: str) -> int:
    """Bytes of a setting such as "64MiB"."""
    return int(text[:-3]) * UNITS[text[-3:]]


def worst(cost: dict[str, float], settings: dict) -> dict[str, float]:
    """Bytes by part, when everything that has a bound is at it."""
    listen, cache, auth = settings["listen"], settings["cache"], settings["auth"]
    encrypted = "cert_file" in listen.get("tls", {})
    kinds = ("TLS connection", "HTTP/2 connection") if encrypted else ("HTTP/1.1 connection",)
    connection = max(each for name, each in cost.items() if name.startswith(kinds))
    # Without sign-in there are neither clients nor nonces.
    guarded = auth["mode"] == "required"
    nonces = size(auth["nonces_max_bytes"]) * max(1, cost["nonce"] / NONCE)
    return {
        "program": cost["program"],
        "`listen.max_connections`, each at its dearest": listen["max_connections"] * connection,
        "`listen.max_in_flight` requests that wait": listen["max_in_flight"] * cost["request that waits"],
        "`upstream.max_in_flight` calls": settings["upstream"]["max_in_flight"] * cost["call to the origin"],
        "`listen.max_buffered`": size(listen["max_buffered"]),
        "`cache.max_bytes`": size(cache["max_bytes"]) * cost["byte of cache.max_bytes"],
        "`cache.max_negative`": cache["max_negative"] * cost["cached image of 626 bytes"],
        "`lists.max_bytes`": size(settings["lists"]["max_bytes"]),
        "`auth.nonces_max_bytes`": guarded * nonces,
        "1,000 clients": guarded * CLIENTS * cost["client"],
        "queues of the log and the audit": LOG + AUDIT,
    }
