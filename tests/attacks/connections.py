"""Connections that occupy places and time, on all three listeners."""

import socket
import ssl
import threading
import time

from gateway import Gateway, Growth, MiB, client
from rows import must, opened, row
from signatures import acs3
from upstream import Origin, answer, image


def connect(address, timeout=5):
    return opened(socket.create_connection(address, timeout))


def silent(address, count):
    """Opens silent connections; fewer if some are refused."""
    made = []
    for _ in range(count):
        try:
            made.append(connect(address, 2))
        except OSError:
            pass
    return made


def until_200(ask, longest):
    """Seconds until it is answered 200, or None."""
    began = time.monotonic()
    while (took := time.monotonic() - began) < longest:
        try:
            if ask()[0] == 200:
                return took
        except OSError:
            pass
        time.sleep(0.2)
    return None


def shown(took):
    return 'never' if took is None else f'after {took:.1f} s'


def closed_within(connection, seconds):
    """Seconds until the gateway closes, or None. What it answers before is read."""
    began = time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(65536):
                return time.monotonic() - began
        except TimeoutError:
            return None
        except OSError:
            return time.monotonic() - began
    return None


def probe_besides(name):
    gateway = Gateway(Origin())
    address = getattr(gateway, name)
    held = silent(address, 400)
    time.sleep(0.3)
    took = until_200(lambda: gateway.get('/livez', address, timeout=3), 20)
    return must(took is not None and took < 10, f'/livez is answered {shown(took)} with {len(held)} silent connections')


@row('400 silent connections on observe')
def silent_observe():
    return probe_besides('observe')


@row('400 silent connections on admin')
def silent_admin():
    return probe_besides('admin')


@row('half a request on 400 connections of observe')
def half_observe():
    gateway = Gateway(Origin())
    for connection in silent(gateway.observe, 400):
        connection.sendall(b'GET /livez HTTP/1.1\r\nhos')
    took = until_200(lambda: gateway.get('/livez', gateway.observe, timeout=3), 20)
    return must(took is not None and took < 10, f'/livez is answered {shown(took)}')


@row('every place of the data port taken by silence')
def silent_data():
    gateway = Gateway(Origin(), 'listen.max_connections=300')
    held = silent(gateway.data, 300)
    took = until_200(lambda: gateway.image('image-1', timeout=3), 25)
    return must(took is not None and took < 20, f'served {shown(took)}, {len(held)} silent connections')


@row('more silent connections than files may be open')
def files_used_up():
    gateway = Gateway(Origin(), under=('prlimit', '--nofile=1024:1024'))
    held = silent(gateway.data, 1100)
    time.sleep(0.5)
    probes = [until_200(lambda address=address: gateway.get('/livez', address, timeout=3), 6) for address in (gateway.observe, gateway.admin)]
    image = until_200(lambda: gateway.image('image-1', timeout=3), 20)
    measured = f'{len(held)} connections, observe {shown(probes[0])}, admin {shown(probes[1])}, an image {shown(image)}'
    return must(None not in [*probes, image], measured)


@row('a head that comes a byte a second, on each listener')
def slow_heads():
    gateway = Gateway(Origin())
    held = [(name, connect(getattr(gateway, name))) for name in ('data', 'admin', 'observe')]
    text, began, closed = b'GET /livez HTTP/1.1\r\nhost: gw\r\nx-long: ' + b'a' * 60, time.monotonic(), {}
    for at in range(12):
        for name, connection in held:
            try:
                connection.sendall(text[at:at + 1])
            except OSError:
                closed.setdefault(name, time.monotonic() - began)
        time.sleep(0.8)
    for name, connection in held:
        if name not in closed and closed_within(connection, 0.5) is not None:
            closed[name] = time.monotonic() - began
    return must(len(closed) == 3, 'closed: ' + ', '.join(f'{name} by {took:.1f} s' for name, took in closed.items()))


@row('a body of a client that has signed in, a byte a second')
def slow_body():
    gateway = Gateway(Origin(), clients=[client('a', ['resolve'])])
    body = b'{"ImageIds":["i"]}' + b' ' * 100
    lines = ''.join(f'{name}: {value}\r\n' for name, value in acs3('POST', '/gateway/v1/resolve', 'a', body).items())
    connection = connect(gateway.data)
    connection.sendall(f'POST /gateway/v1/resolve HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n'.encode())
    began, ended = time.monotonic(), None
    connection.settimeout(0.8)
    for at in range(20):
        try:
            connection.sendall(body[at:at + 1])
            if connection.recv(4096) is not None:
                ended = time.monotonic() - began
                break
        except TimeoutError:
            continue
        except OSError:
            ended = time.monotonic() - began
            break
    return must(ended is not None, f'ended {shown(ended)}')


@row("a stranger's body is not waited for")
def strangers_body():
    gateway = Gateway(Origin(), clients=[client('a', ['resolve'])])
    connection = connect(gateway.data)
    connection.sendall(b'POST /gateway/v1/resolve HTTP/1.1\r\nhost: gw\r\ncontent-length: 1000000\r\n\r\n')
    connection.settimeout(4)
    told = connection.recv(4096)
    return must(b' 401 ' in told, repr(told[:40]))


@row('30 connections that take no byte of their Resolves')
def unread():
    gateway = Gateway(Origin(lambda call: answer(body=image(call.image, Description='x' * 400))))
    body = b'{"ImageIds":[' + b','.join(b'"i-%d"' % k for k in range(1000)) + b']}'
    gateway.call('POST', '/gateway/v1/resolve', {'content-type': 'application/json'}, body, timeout=40)
    growth, asked = Growth(gateway), b'POST /gateway/v1/resolve HTTP/1.1\r\nhost: gw\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n' % len(body) + body
    for _ in range(30):
        connection = opened(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(gateway.data)
        try:
            connection.sendall(asked * 3)
        except OSError:
            pass
        growth.look()
    growth.look(3)
    return must(growth.bytes() < 64 * MiB, f'{growth} for 90 answers of {620} KiB')


@row('TLS handshakes that never begin, or stop half-way')
def silent_handshakes():
    gateway = Gateway(Origin(), tls=True, clients=[client('a')])
    silent_one, half = connect(gateway.data), connect(gateway.data)
    half.sendall(b'\x16\x03\x01\x02\x00\x01\x00')
    took = [closed_within(connection, 12) for connection in (silent_one, half)]
    return must(None not in took, f'closed {shown(took[0])} and {shown(took[1])}')


@row('1,000 TLS hellos on the plain port')
def hellos():
    gateway = Gateway(Origin())
    for _ in range(1000):
        with socket.create_connection(gateway.data, 5) as connection:
            connection.sendall(b'\x16\x03\x01\x02\x00')
    time.sleep(0.5)
    lines = sum('TLS' in line for line in gateway.log().splitlines())
    return must(lines < 20, f'{lines} lines in the log')


@row('1,000 refused sign-ins')
def refused_sign_ins():
    gateway = Gateway(Origin(), clients=[client('a')])
    before = len(gateway.log().splitlines())
    with socket.create_connection(gateway.data, 5) as connection:
        connection.settimeout(20)
        asked = b'GET /api/v1/images/i HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer wrong\r\n\r\n'
        thread = threading.Thread(target=lambda: connection.sendall(asked * 1000), daemon=True)
        thread.start()
        received = b''
        while received.count(b'HTTP/1.1 ') < 1000 and (more := connection.recv(1 << 16)):
            received = received[-20:] + more if len(received) > 1 << 22 else received + more
    lines = len(gateway.log().splitlines()) - before
    return must(lines < 50, f'{lines} lines in the log')


@row('connections that come and go 3,000 times leave nothing')
def churn():
    gateway = Gateway(Origin())
    for _ in range(100):
        socket.create_connection(gateway.data, 5).close()
    growth = Growth(gateway)
    for _ in range(3000):
        socket.create_connection(gateway.data, 5).close()
    took = until_200(lambda: gateway.image('image-1', timeout=3), 5)
    return must(took is not None and growth.bytes() < 16 * MiB, f'{growth}, served {shown(took)}')


@row('TLS renegotiation and old versions are refused')
def old_tls():
    gateway = Gateway(Origin(), tls=True, clients=[client('a')])
    context = ssl.create_default_context(cafile=gateway.certificate)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        with socket.create_connection(gateway.data, 5) as plain:
            version = context.wrap_socket(plain, server_hostname='gw').version()
    except (ssl.SSLError, OSError):
        version = None
    return must(version is None, f'TLS 1.1: {"refused" if version is None else version}')
