"""Hits: what is answered from memory, in the open, signed, over TLS and over a Unix socket."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from comparing import load, peers, rounds
from comparing.rounds import Contestant
from comparing.run import HOST, Run
from comparing.table import Line, Row, at_most
from measuring import sdk
from measuring.server import Server

EVERY_PEER = ["HAProxy", "Pingora", "nginx", "Varnish", "Envoy"]
# Bursts of load within which a cache must be full.
WARM_UPS = 10
# Signed anew for each round, each sent once: more than wrk sends in a second.
SIGNED_A_SECOND = 60_000


def plain(run: Run) -> Row:
    """No sign-in, everything else at its default, against every peer."""
    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        hyper = by_wrk(run, "bare hyper", stack.enter_context(run.own("hyper")))
        floor = by_wrk(run, "epoll floor", stack.enter_context(run.own("floor")))
        gateway = by_wrk(run, "gateway", stack.enter_context(run.gateway(origin)))
        others, absent = started(run, stack, origin, EVERY_PEER, "http", "CACHED")
        everybody = [hyper, floor, gateway, *others]
        warm(run, everybody, origin)
        rounds.measure(everybody, run.rounds)
    lines = [line(one, hyper) for one in everybody]
    judge(lines[2], gateway, hyper, 1.20)
    lines += absent + [against_best(gateway, others)]
    how = f"{run.images:,} images in memory, {run.connections} connections; `auth.mode = \"none\"`."
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
    with ExitStack() as stack:
        origin = stack.enter_context(run.origin())
        hyper = by_wrk(run, "bare hyper, no TLS", stack.enter_context(run.own("hyper")))
        gateway = by_wrk(run, "gateway", stack.enter_context(run.gateway(origin, settings)), "https")
        others, absent = started(run, stack, origin, ["nginx", "HAProxy", "Envoy"], "https", "TLS")
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


def by_wrk(run: Run, name: str, server: Server, scheme: str = "http", address: str = "") -> Contestant:
    url = f"{scheme}://{address or server.ports['listen']}"
    # Handshakes are in a round's cost; in a longer one they matter less.
    seconds = 2 * run.seconds if scheme == "https" else run.seconds
    return Contestant(name, server, lambda _: load.images(run, url, seconds=seconds))


def started(
    run: Run, stack: ExitStack, origin: Server, names: list[str], scheme: str, port: str
) -> tuple[list[Contestant], list[Line]]:
    """Those that are here, and a line for each that is not."""
    there, absent = [], []
    for name in names:
        try:
            peer = peers.start(name, run, origin.ports["listen"])
        except peers.Missing as why:
            absent.append(Line(name, str(why)))
            continue
        stack.enter_context(peer.server)
        there.append(by_wrk(run, name, peer.server, scheme, peer.address(port)))
    return there, absent


def warm(run: Run, everybody: list[Contestant], origin: Server) -> None:
    """Fills the caches; whoever goes on asking the origin is no cache, and says so."""
    for one in everybody:
        one.failure = "asks the origin again and again"
        for _ in range(WARM_UPS):
            before = load.requests_at(origin)
            answered = one.send(-1).answered
            if answered > run.images and load.requests_at(origin) == before:
                one.failure = ""
                break


def line(one: Contestant, reference: Contestant) -> Line:
    if one.failure or not one.costs:
        return Line(one.name, f"failed: {one.failure}")
    if not reference.costs:
        return Line(one.name, f"{one.cost:.1f}", note="no reference")
    each = " ".join(f"{value:.2f}" for value in rounds.ratios(one, reference))
    busy = min(1.0, one.cost * one.rate / 1e6)
    note = f"{one.rate:,.0f} a second, {busy:.0%} of a core"
    return Line(one.name, f"{one.cost:.1f}", f"{rounds.ratio(one, reference):.2f}", each, note=note)


def judge(its: Line, one: Contestant, reference: Contestant, bar: float) -> None:
    its.bar = f"≤ {bar:.2f}"
    its.met = not one.failure and at_most(rounds.ratio(one, reference), bar)[1]


def against_best(gateway: Contestant, others: list[Contestant], bar: float | None = 0.55) -> Line:
    measured = [one for one in others if one.costs and not one.failure]
    if not measured or gateway.failure:
        return Line("gateway against the best peer", "", note="nobody to compare with")
    best = min(measured, key=lambda one: one.cost)
    value = rounds.ratio(gateway, best)
    its = Line("gateway against the best peer", "", f"{value:.2f}", note=f"{best.name} is the best")
    if bar:
        its.bar, its.met = at_most(value, bar)
    return its
