"""Hits: plain, signed, over TLS and over a Unix socket."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from comparing import load, rounds
from comparing.entrants import by_wrk, started, warm
from comparing.judging import against_best, judge, line
from comparing.peers import Peer
from comparing.rounds import Contestant
from comparing.run import HOST, Run
from comparing.table import Row
from measuring import sdk
from measuring.server import Server

EVERY_PEER = ["HAProxy", "Pingora", "nginx", "Varnish", "Envoy"]
# Signed anew for each round, each sent once: more than wrk sends in a second.
SIGNED_A_SECOND = 60_000


def plain(run: Run) -> Row:
    """No sign-in, everything else at its default, against every peer."""

    def cached(name: str, peer: Peer) -> Contestant:
        return by_wrk(run, name, peer.server, address=peer.address("CACHED"))

    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        hyper = by_wrk(run, "bare hyper", stack.enter_context(run.own("hyper")))
        floor = by_wrk(run, "epoll floor", stack.enter_context(run.own("floor")))
        gateway = by_wrk(run, "gateway", stack.enter_context(run.gateway(origin)))
        others, absent = started(run, stack, origin, EVERY_PEER, cached)
        everybody = [hyper, floor, gateway, *others]
        warm(run, everybody, origin)
        rounds.measure(everybody, run.rounds)
    lines = [line(one, hyper) for one in everybody]
    judge(lines[2], gateway, hyper, 1.20)
    lines += absent + [against_best(gateway, others)]
    how = (
        f"{run.images:,} images in memory, {run.connections} connections; `auth.mode = \"none\"`. HAProxy and "
        "Envoy take Authorization away first, for they would not cache otherwise."
    )
    return Row("Hit", how, lines)


def verified(run: Run) -> Row:
    """Each request signed anew, its signature verified and the policy applied."""
    settings = {"auth.mode": "required", "auth.clients_file": sdk.clients(str(run.folder))}
    ids = [f"image-{number:018}" for number in range(run.images)]
    file = run.folder / "signed"

    def sign(count: int) -> Path:
        return load.write_signed(file, sdk.get_images(ids, HOST, count), count)

    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        hyper = stack.enter_context(run.own("hyper"))
        gateway = stack.enter_context(run.gateway(origin, settings))
        sign(3 * run.images)
        for server in (hyper, gateway):
            load.signed(run, f"http://{server.ports['listen']}", file).check()

        def send(server: Server, anew: bool, _: int) -> load.Sent:
            if anew:
                sign(SIGNED_A_SECOND * run.seconds)
            return load.signed(run, f"http://{server.ports['listen']}", file)

        # hyper looks at no signature, so that it may be sent what the gateway was.
        everybody = [
            Contestant("gateway", gateway, lambda number: send(gateway, True, number)),
            Contestant("bare hyper", hyper, lambda number: send(hyper, False, number)),
        ]
        rounds.measure(everybody, run.rounds)
    lines = [line(one, everybody[1]) for one in reversed(everybody)]
    judge(lines[1], everybody[0], everybody[1], 1.50)
    how = "Every request has its own nonce and ACS3 signature, which is verified; the policy is applied. No peer does that."
    return Row("Hit, every request verified", how, lines)


def tls(run: Run) -> Row:
    """HTTP/1.1 over TLS 1.3, connections kept: the cost of records, not of handshakes."""
    files = {"listen.tls.cert_file": "tls.crt", "listen.tls.key_file": "tls.key"}
    settings = {key: str(run.folder / file) for key, file in files.items()}

    def over_tls(name: str, peer: Peer) -> Contestant:
        return by_wrk(run, name, peer.server, "https", peer.address("TLS"))

    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        hyper = by_wrk(run, "bare hyper, no TLS", stack.enter_context(run.own("hyper")))
        gateway = by_wrk(run, "gateway", stack.enter_context(run.gateway(origin, settings)), "https")
        others, absent = started(run, stack, origin, ["nginx", "HAProxy", "Envoy"], over_tls)
        everybody = [hyper, gateway, *others]
        warm(run, everybody, origin)
        rounds.measure(everybody, run.rounds)
    lines = [line(one, hyper) for one in everybody] + absent + [against_best(gateway, others, None)]
    return Row("Hit over TLS", "HTTP/1.1, P-256 certificate, connections kept; rounds of twice the time.", lines)


def unix(run: Run) -> Row:
    """Over a Unix socket, which wrk cannot speak: load of the peers' crate, for hyper too."""
    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        hyper_at, gateway_at = (f"unix:{run.folder}/{name}.sock" for name in ("hyper", "gateway"))
        hyper = stack.enter_context(run.own("hyper", listen=hyper_at))
        settings = {"listen.unix": gateway_at.removeprefix("unix:")}
        gateway = stack.enter_context(run.gateway(origin, settings))

        def contestant(name: str, server: Server, at: str) -> Contestant:
            load.own(run, at, many=run.images, count=2 * run.images).check()
            return Contestant(name, server, lambda _: load.own(run, at, many=run.images, seconds=run.seconds))

        everybody = [contestant("bare hyper", hyper, hyper_at), contestant("gateway", gateway, gateway_at)]
        rounds.measure(everybody, run.rounds)
    how = "Load of the peers' own crate, for wrk has no Unix sockets; bare hyper on a Unix socket as well."
    return Row("Hit over a Unix socket", how, [line(one, everybody[0]) for one in everybody])
