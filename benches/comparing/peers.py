"""Other caching proxies, each with a minimal fair configuration."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from comparing.run import CRATES, HOST, PINGORA, Run
from measuring.server import Server

CONFIGURATIONS = Path(__file__).parent / "configurations"
ENVOY = Path.home() / ".cache/pai-image-gateway/envoy/bin/envoy"


class Missing(Exception):
    """The peer cannot be measured here; the text says why."""


@dataclass
class Peer:
    """A running peer and its ports: with its cache, with its cache over TLS, passing everything on."""

    server: Server
    ports: dict[str, int]

    def address(self, port: str = "CACHED") -> str:
        return f"127.0.0.1:{self.ports[port]}"


def start(name: str, run: Run, origin: str) -> Peer:
    """Starts nginx, HAProxy, Varnish, Envoy or Pingora in front of the origin."""
    program = find(name, run)
    folder = Path(tempfile.mkdtemp(dir=run.folder, prefix=f"{name}-".lower()))
    for file in ("tls.crt", "tls.key", "tls.pem"):
        shutil.copy(run.folder / file, folder)
    ports = free_ports("CACHED", "TLS", "PASS")
    host, _, port = origin.rpartition(":")
    places = {"FOLDER": folder, "ORIGIN_HOST": host, "ORIGIN_PORT": port, "ORIGIN": origin}
    places["STORE"] = store(folder) if name == "nginx" else folder
    command = COMMANDS[name](program, folder, {**places, **ports})
    server = Server(command, run.server_cpus, log=folder / "log")
    try:
        wait(server, ports["CACHED"])
    except BaseException as error:
        server.stop()
        if not isinstance(error, RuntimeError):
            raise
        text = (folder / "log").read_text(errors="replace").strip().splitlines()
        raise Missing(f"{error}: {text[-1] if text else 'no output'}") from None
    return Peer(server, ports)


def find(name: str, run: Run) -> str:
    if name == "Envoy":
        places = [run.envoy and run.envoy / "bin/envoy", run.envoy, shutil.which("envoy"), ENVOY]
        program = next((str(p) for p in places if p and Path(p).is_file()), None)
    elif name == "Pingora":
        program = str(PINGORA) if PINGORA.exists() else None
    else:
        # Debian puts servers where not everybody's PATH leads.
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        program = shutil.which(PROGRAMS[name], path=path)
    if not program:
        raise Missing("not built (--pingora)" if name == "Pingora" else "not installed")
    return program


def store(folder: Path) -> Path:
    """nginx keeps files; on tmpfs they are memory, as everybody else's."""
    if not Path("/dev/shm").is_dir():
        return folder / "store"
    inside = Path("/dev/shm") / f"compare-{os.getpid()}"
    inside.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=inside))


def sweep() -> None:
    """Removes what nginx kept."""
    shutil.rmtree(f"/dev/shm/compare-{os.getpid()}", ignore_errors=True)


def written(template: str, folder: Path, places: dict[str, object]) -> str:
    text = (CONFIGURATIONS / template).read_text()
    for place, value in places.items():
        text = text.replace(f"@{place}@", str(value))
    path = folder / template
    path.write_text(text)
    return str(path)


def nginx(program: str, folder: Path, places: dict[str, object]) -> list[str]:
    configuration = written("nginx.conf", folder, places)
    return [program, "-e", "stderr", "-p", str(folder), "-c", configuration]


def haproxy(program: str, folder: Path, places: dict[str, object]) -> list[str]:
    return [program, "-db", "-f", written("haproxy.cfg", folder, places)]


def varnish(program: str, folder: Path, places: dict[str, object]) -> list[str]:
    configuration = written("varnish.vcl", folder, places)
    listen = ["-a", f"127.0.0.1:{places['CACHED']}", "-f", configuration, "-s", "malloc,256m"]
    # Its work folder is memory-mapped; a thread serves one connection at a time, as is its design.
    threads = ["-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=1000"]
    return [program, "-F", "-j", "none", "-n", str(folder / "work"), *listen, *threads]


def envoy(program: str, folder: Path, places: dict[str, object]) -> list[str]:
    configuration = written("envoy.yaml", folder, places)
    return [program, "-c", configuration, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]


def pingora(program: str, _: Path, places: dict[str, object]) -> list[str]:
    return [program, f"127.0.0.1:{places['CACHED']}", str(places["ORIGIN"])]


def versions(run: Run) -> str:
    """Of those that are here."""
    there = []
    for name, flag in {"HAProxy": "-v", "nginx": "-v", "Varnish": "-V", "Envoy": "--version"}.items():
        try:
            told = subprocess.run([find(name, run), flag], capture_output=True, text=True)
        except Missing:
            continue
        found = re.search(r"\d+\.\d+\.\d+", told.stdout + told.stderr)
        there.append(f"{name} {found[0]}" if found else name)
    if PINGORA.exists():
        locked = (CRATES / "pingora/Cargo.lock").read_text()
        there.append("Pingora " + re.search(r'"pingora-proxy"\nversion = "(.*)"', locked)[1])
    return ", ".join(there) or "none"


PROGRAMS = {"nginx": "nginx", "HAProxy": "haproxy", "Varnish": "varnishd"}
COMMANDS = {"nginx": nginx, "HAProxy": haproxy, "Varnish": varnish, "Envoy": envoy, "Pingora": pingora}


def free_ports(*names: str) -> dict[str, int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: listener.getsockname()[1] for name, listener in zip(names, listeners)}
    for listener in listeners:
        listener.close()
    return ports


def wait(server: Server, port: int, patience: float = 30) -> None:
    """Until it answers an image."""
    until = time.monotonic() + patience
    request = f"GET /api/v1/images/image-0 HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode()
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise RuntimeError("did not start")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as stream:
                stream.sendall(request)
                if stream.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError("does not answer")
