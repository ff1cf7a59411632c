"""Runs each test with the vendor's Node.js core against a gateway of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from processes import Emulator, Gateway

FOLDER = Path(__file__).parent / "node"
SCRIPT = FOLDER / "gateway.test.mjs"
DEADLINE_SECONDS = 60


def missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules" / "@alicloud" / "openapi-core").is_dir():
        return "the SDK is not installed: run npm ci in tests/sdk/node"
    return None


def names() -> list[str]:
    return re.findall(r"^test\('(.+)', async \(\) => \{$", SCRIPT.read_text(), re.MULTILINE)


def test_every_test_is_found() -> None:
    assert len(names()) == SCRIPT.read_text().count("\ntest(") > 0


@pytest.mark.parametrize("name", names())
def test_node(gateway: Gateway, emulator: Emulator, name: str) -> None:
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    environment = {
        **os.environ,
        "GATEWAY_PORT": gateway.address.rpartition(":")[2],
        "EMULATOR_PORT": emulator.address.rpartition(":")[2],
    }
    only = f"--test-name-pattern=^{re.escape(name)}$"
    run = subprocess.run(
        ["node", "--test", "--test-reporter=tap", only, SCRIPT.name],
        cwd=FOLDER,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert run.returncode == 0, run.stdout
    assert "# fail 0" in run.stdout and "# pass 1\n" in run.stdout, run.stdout
