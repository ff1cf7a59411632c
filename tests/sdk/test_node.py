"""Runs the tests with the vendor's Node.js core against one gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from processes import Emulator, Gateway

FOLDER = Path(__file__).parent / "node"
DEADLINE_SECONDS = 120


def missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules" / "@alicloud" / "openapi-core").is_dir():
        return "the SDK is not installed: run npm ci in tests/sdk/node"
    return None


def test_node_sdk_works_through_the_gateway(gateway: Gateway, emulator: Emulator) -> None:
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    environment = {
        **os.environ,
        "GATEWAY_PORT": gateway.address.rpartition(":")[2],
        "EMULATOR_PORT": emulator.address.rpartition(":")[2],
    }
    run = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "gateway.test.mjs"],
        cwd=FOLDER,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert run.returncode == 0, run.stdout
    assert "# fail 0" in run.stdout and "# pass 0" not in run.stdout, run.stdout
