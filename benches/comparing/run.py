"""One run: its settings, builds, processors and files."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from measuring import sdk, server

CRATES = server.ROOT / "benches/peers"
TARGET = server.target() / "peers"
PEERS = TARGET / "release/peers"
PINGORA = TARGET / "release/peer-pingora"
# What the requests name as their host; it is signed, so that all servers are asked alike.
HOST = "127.0.0.1:8080"


@dataclass
class Run:
    folder: Path
    rounds: int = 12
    seconds: int = 1
    connections: int = 64
    images: int = 1_000
    many_images: int = 1_000_000
    envoy: Path | None = None

    def __post_init__(self) -> None:
        every = sorted(os.sched_getaffinity(0))
        self.server_cpus = {every[0]}
        self.load_cpus = set(every[1:]) or {every[0]}
        self.two_cpus = set(every[:2])
        # Two workers leave the load a processor of its own only where there is a third.
        self.load_beside_two = set(every[2:]) or self.load_cpus
        self.template = self.folder / "request.txt"
        self.template.write_bytes(sdk.get_image("@ID@", HOST))
        certificate(self.folder)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def own(
        self, kind: str, *more: str, listen: str = "127.0.0.1:0", cpus: set[int] | None = None
    ) -> server.Server:
        """One of the servers of the peers' crate; the origin is on the load's side."""
        ports = self.folder / f"{kind}-{os.urandom(4).hex()}.json"
        cpus = cpus or (self.load_cpus if kind == "origin" else self.server_cpus)
        command = [str(PEERS), kind, listen, str(ports), *more]
        return server.Server(command, cpus, ports_file=str(ports))

    def origin(self, body_bytes: int = 626) -> server.Server:
        return self.own("origin", str(body_bytes))

    def gateway(
        self,
        origin: server.Server,
        settings: dict[str, str] | None = None,
        *,
        cpus: set[int] | None = None,
        workers: int | None = None,
    ) -> server.Server:
        environment = {"TOKIO_WORKER_THREADS": str(workers)} if workers else None
        cpus = cpus or self.server_cpus
        return server.gateway(origin.ports["listen"], settings, cpus=cpus, environment=environment)


def stop_when_told() -> None:
    """SIGTERM ends a run as Ctrl-C does: what was started is stopped, what was written is removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def build(*, pingora: bool) -> None:
    """The release build of the gateway, and the peers' crates, which have a workspace of their own."""
    server.build("--release")
    build_peers()
    if pingora:
        build_crate(CRATES / "pingora")


def build_peers() -> None:
    """Bare hyper, the floor, the origin and the load."""
    build_crate(CRATES)


def build_crate(crate: Path) -> None:
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=crate, env=environment, check=True)


def certificate(folder: Path) -> None:
    """A self-signed one for 127.0.0.1, of the kind that is common: P-256."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")],
        check=True,
        capture_output=True,
    )
    both = (folder / "tls.crt").read_text() + (folder / "tls.key").read_text()
    (folder / "tls.pem").write_text(both)
