"""Runs the alerts in a real Prometheus, before a gateway whose origin dies and one whose origin does not.

    live.py GATEWAY

The rules' `for` is two seconds here, and scrapes and evaluations come each second; the windows of the rules are
their own. The first gateway has images in memory when its origin ends; then clients ask both for those images and
for others. Exactly the alerts of FAILING must fire for it and none for the other, until that one is killed.
"""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

RULES = Path("deploy/alerts.yaml")
# A dead origin pages (critical): cached images are served stale, others fail.
FAILING = {"PaiGatewayBreakerOpen", "PaiGatewayErrorShareHigh", "PaiGatewayServingStale"}
KILLED = {"PaiGatewayDown", "PaiGatewayAllDown"}
DEADLINE = 30.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> None:
    (program,) = sys.argv[1:]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        jobs = {name: Gateway(stack, program, folder / name) for name in ("failing", "healthy")}
        for gateway in jobs.values():
            gateway.ask(gateway.images)
        end(jobs["failing"].origin)
        prometheus = start_prometheus(stack, folder, {name: gateway.observe for name, gateway in jobs.items()})

        def asked() -> dict[str, set[str]]:
            for number, gateway in enumerate(jobs.values()):
                gateway.ask(gateway.images + [f"image-{time.monotonic_ns()}{number}"])
            return firing(prometheus)

        await_alerts(asked, {"failing": FAILING})
        # A second look, in which a late one would show.
        settled = time.monotonic() + 5
        while time.monotonic() < settled:
            expect(asked(), {"failing": FAILING})
            time.sleep(0.2)
        end(jobs["healthy"].process, signal.SIGKILL)
        await_alerts(lambda: firing(prometheus), {"failing": FAILING, "healthy": KILLED})
    seconds = time.monotonic() - began
    print(f"in Prometheus, {len(FAILING)} alerts fire for a dead origin, {len(KILLED)} for a killed gateway, none before: {seconds:.0f} s")


class Gateway:
    """A gateway with an emulated origin of its own, whose images are stale after a second."""

    def __init__(self, stack: contextlib.ExitStack, program: str, folder: Path) -> None:
        folder.mkdir()
        (folder / "secret").write_text("emulator-secret")
        ports = folder / "emulator.json"
        self.origin = start(stack, folder, [program, "emulate", "--listen", "127.0.0.1:0", "--images", "10", "--ports-file", ports])
        origin = port_of(ports, "listen")
        (folder / "gateway.toml").write_text(f"""
[listen]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[observe]
address = "127.0.0.1:0"
[upstream]
endpoint = "http://{origin}"
allow_http = true
[credentials]
source = "static"
access_key_id = "emulator-key"
access_key_secret_file = "{folder}/secret"
[freshness]
min = "1s"
max = "1s"
max_verbose = "1s"
fallback = "1s"
""")
        ports = folder / "gateway.json"
        self.process = start(stack, folder, [program, "serve", "--config", folder / "gateway.toml", "--ports-file", ports])
        self.data, self.observe = port_of(ports, "listen"), port_of(ports, "observe")
        self.images = re.findall(r'"(image-[\w-]+)"', fetch(f"http://{origin}/emulator/images?limit=10"))

    def ask(self, images: list[str]) -> None:
        for image in images:
            with contextlib.suppress(urllib.error.HTTPError):
                fetch(f"http://{self.data}/api/v1/images/{image}")


def start_prometheus(stack: contextlib.ExitStack, folder: Path, targets: dict[str, str]) -> str:
    (folder / "alerts.yaml").write_text(re.sub(r"(?m)^( +for:) .*$", r"\1 2s", RULES.read_text()))
    scrapes = [
        {"job_name": job, "static_configs": [{"targets": [address], "labels": {"namespace": "live"}}]}
        for job, address in targets.items()
    ]
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps({"global": every, "rule_files": ["alerts.yaml"], "scrape_configs": scrapes}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start(
        stack,
        folder,
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"],
    )
    return f"http://{address}"


def firing(prometheus: str) -> dict[str, set[str]]:
    """The alerts that fire, by job; those of no job are the healthy gateway's, for which none is expected."""
    found: dict[str, set[str]] = {}
    try:
        alerts = json.loads(fetch(f"{prometheus}/api/v1/alerts"))["data"]["alerts"]
    except (urllib.error.URLError, ConnectionError):
        return found  # not listening yet
    for alert in alerts:
        if alert["state"] == "firing":
            found.setdefault(alert["labels"].get("job", "healthy"), set()).add(alert["labels"]["alertname"])
    return found


def await_alerts(look: Callable[[], dict[str, set[str]]], wanted: dict[str, set[str]]) -> None:
    until = time.monotonic() + DEADLINE
    while (found := look()) != wanted:
        if time.monotonic() > until:
            expect(found, wanted)
        time.sleep(0.2)


def expect(found: dict[str, set[str]], wanted: dict[str, set[str]]) -> None:
    if found != wanted:
        sys.exit(f"alerts: {found} fire, not {wanted}")


def start(stack: contextlib.ExitStack, folder: Path, command: list) -> subprocess.Popen:
    log = stack.enter_context((folder / f"{Path(command[0]).name}.log").open("ab"))
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(end, process)
    return process


def end(process: subprocess.Popen, number: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def port_of(path: Path, key: str) -> str:
    """An address from a ports file, once it is written."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, KeyError):
            return json.loads(path.read_text())[key]
        time.sleep(0.05)
    logs = "".join(log.read_text() for log in path.parent.glob("*.log"))
    sys.exit(f"alerts: no {key} in {path.name} after {DEADLINE:.0f} s\n{logs}")


def fetch(url: str) -> str:
    with DIRECT.open(url, timeout=5) as answer:
        return answer.read().decode()


main()
