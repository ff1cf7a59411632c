"""HTTP/1.1 framing: no second request hides in the first one's body."""

import socket

from gateway import Gateway
from rows import must, row
from upstream import Origin, answer, image

HIDDEN = b'GET /api/v1/images/hidden HTTP/1.1\r\nhost: gw\r\n\r\n'
RESOLVE = b'POST /gateway/v1/resolve HTTP/1.1\r\nhost: gw\r\ncontent-type: application/json\r\n'
GET = b'GET /api/v1/images/shown HTTP/1.1\r\nhost: gw\r\n'
CHUNKED = b'transfer-encoding: chunked\r\n'


def length(of=HIDDEN):
    return b'content-length: %d\r\n' % len(of)


# Each is one request with an ambiguous length.
AMBIGUOUS = {
    'a length and chunks': RESOLVE + length() + CHUNKED + b'\r\n0\r\n\r\n' + HIDDEN,
    'chunks and a length': RESOLVE + CHUNKED + length() + b'\r\n0\r\n\r\n' + HIDDEN,
    'two lengths, the first longer': RESOLVE + length() + length(b'') + b'\r\n' + HIDDEN,
    'two lengths, the second longer': RESOLVE + length(b'') + length() + b'\r\n' + HIDDEN,
    'a list of two lengths': RESOLVE + b'content-length: 0, %d\r\n\r\n' % len(HIDDEN) + HIDDEN,
    'a length with a sign': RESOLVE + b'content-length: +%d\r\n\r\n' % len(HIDDEN) + HIDDEN,
    'a length in hexadecimal': RESOLVE + b'content-length: 0x%x\r\n\r\n' % len(HIDDEN) + HIDDEN,
    'a negative length': RESOLVE + b'content-length: -1\r\n\r\n' + HIDDEN,
    'a length with a blank in it': RESOLVE + b'content-length: 1 2\r\n\r\n' + HIDDEN,
    'a length beyond 64 bits': RESOLVE + b'content-length: 18446744073709551616\r\n\r\n' + HIDDEN,
    'an empty length': RESOLVE + b'content-length:\r\n\r\n' + HIDDEN,
    'a folded length': RESOLVE + b'content-length:\r\n %d\r\n\r\n' % len(HIDDEN) + HIDDEN,
    'a folded header that hides a length': RESOLVE + b'x-a: b\r\n content-length: %d\r\n\r\n' % len(HIDDEN) + HIDDEN,
    'a length with a blank before its colon': RESOLVE + b'content-length : %d\r\n\r\n' % len(HIDDEN) + HIDDEN,
    'an encoding with a blank before its colon': RESOLVE + b'transfer-encoding : chunked\r\n' + length() + b'\r\n0\r\n\r\n' + HIDDEN,
    'nearly chunked': RESOLVE + b'transfer-encoding: xchunked\r\n\r\n0\r\n\r\n' + HIDDEN,
    'chunked, then identity': RESOLVE + b'transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n' + HIDDEN,
    'chunked in two lines': RESOLVE + CHUNKED * 2 + b'\r\n0\r\n\r\n' + HIDDEN,
    'a list of two chunked': RESOLVE + b'transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n' + HIDDEN,
    'gzip, then chunked': RESOLVE + b'transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n' + HIDDEN,
    'identity, then chunked, in two lines': RESOLVE + b'transfer-encoding: identity\r\n' + CHUNKED + b'\r\n0\r\n\r\n' + HIDDEN,
    'chunked and a comma': RESOLVE + b'transfer-encoding: chunked,\r\n\r\n0\r\n\r\n' + HIDDEN,
    'an empty encoding, then chunked': RESOLVE + b'transfer-encoding:\r\n' + CHUNKED + b'\r\n0\r\n\r\n' + HIDDEN,
    'chunked twice on a GET': GET + CHUNKED * 2 + b'\r\n0\r\n\r\n' + HIDDEN,
    'identity and a length': RESOLVE + b'transfer-encoding: identity\r\n' + length() + b'\r\n' + HIDDEN,
    'chunked with a vertical tab': RESOLVE + b'transfer-encoding: \x0bchunked\r\n' + length() + b'\r\n' + HIDDEN,
    'chunked in quotes': RESOLVE + b'transfer-encoding: "chunked"\r\n' + length() + b'\r\n' + HIDDEN,
    'a folded encoding': RESOLVE + b'transfer-encoding:\r\n chunked\r\n' + length() + b'\r\n' + HIDDEN,
    'an underscore for a dash': RESOLVE + b'transfer_encoding: chunked\r\n' + length() + b'\r\n' + HIDDEN,
    'chunks in HTTP/1.0': RESOLVE.replace(b'1.1', b'1.0') + CHUNKED + b'\r\n0\r\n\r\n' + HIDDEN,
    'a chunk size beyond 64 bits': RESOLVE + CHUNKED + b'\r\n10000000000000000\r\n' + HIDDEN,
    'a chunk size with a sign': RESOLVE + CHUNKED + b'\r\n+0\r\n\r\n' + HIDDEN,
    'a chunk size of 0x0': RESOLVE + CHUNKED + b'\r\n0x0\r\n\r\n' + HIDDEN,
    'a chunk that ends with a bare LF': RESOLVE + CHUNKED + b'\r\n1\n{\n0\n\n' + HIDDEN,
    'a chunk longer than it says': RESOLVE + CHUNKED + b'\r\n1\r\n{}\r\n0\r\n\r\n' + HIDDEN,
    'a line break in an extension of a chunk': RESOLVE + CHUNKED + b'\r\n0;a="\n\n"\r\n\r\n' + HIDDEN,
    'endless trailers': RESOLVE + CHUNKED + b'\r\n0\r\n' + b'x-t: v\r\n' * 5000 + b'\r\n' + HIDDEN,
    'a GET with a body': GET + length() + b'\r\n' + HIDDEN,
    'a GET with chunks': GET + CHUNKED + b'\r\n%x\r\n' % len(HIDDEN) + HIDDEN + b'\r\n0\r\n\r\n',
    'a head that ends with bare CRs': b'GET /api/v1/images/shown HTTP/1.1\rhost: gw\r\r' + HIDDEN,
    'NUL in a name': GET + b'content-length\x00: 0\r\n\r\n' + HIDDEN,
    'NUL in a value': GET + b'x-a: \x00\r\n\r\n' + HIDDEN,
    'a header without a colon': GET + b'content-length 0\r\n\r\n' + HIDDEN,
    'a name of nothing': GET + b': x\r\n\r\n' + HIDDEN,
    'a first header that is indented': b'GET /api/v1/images/shown HTTP/1.1\r\n x: y\r\nhost: gw\r\n\r\n' + HIDDEN,
    'two Hosts': GET + b'host: other\r\n' + length() + b'\r\n' + HIDDEN,
    'no Host': b'GET /api/v1/images/shown HTTP/1.1\r\n' + length() + b'\r\n' + HIDDEN,
    'an expectation of something else': RESOLVE + b'expect: 200-maybe\r\n' + length() + b'\r\n' + HIDDEN,
    'an upgrade to h2c': GET + b'connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n' + length() + b'\r\n' + HIDDEN,
    'an upgrade to a web socket': GET + b'connection: upgrade\r\nupgrade: websocket\r\n' + length() + b'\r\n' + HIDDEN,
    'CONNECT': b'CONNECT origin.example:443 HTTP/1.1\r\nhost: gw\r\n' + length() + b'\r\n' + HIDDEN,
    'a blank in the target': b'GET /api/v1/images/shown HTTP/1.1\r\nx: y HTTP/1.1\r\n' + length() + b'\r\n' + HIDDEN,
    'HTTP/0.9': b'GET /api/v1/images/shown\r\n' + HIDDEN,
    'HTTP/1.2': b'GET /api/v1/images/shown HTTP/1.2\r\nhost: gw\r\n' + length() + b'\r\n' + HIDDEN,
}


def exchange(address, data, seconds=2.0):
    """All that comes until the gateway closes or is silent."""
    with socket.create_connection(address, 5) as connection:
        connection.settimeout(seconds)
        received = b''
        try:
            connection.sendall(data)
            while more := connection.recv(65536):
                received += more
        except OSError:
            pass
        return received


def statuses(received):
    return [int(part[:3]) for part in received.split(b'HTTP/1.1 ')[1:] if part[:3].isdigit()]


@row(f'{len(AMBIGUOUS)} requests of unclear length, each with another one hidden in it')
def ambiguous():
    origin = Origin()
    gateway = Gateway(origin, 'listen.head_timeout=1s', 'api.body_timeout=1s')
    found = []
    for name, data in AMBIGUOUS.items():
        exchange(gateway.data, data, 0.4)
        if origin.asked('hidden'):
            found.append(name)
            origin.calls.clear()
            gateway.purge({'all': True})
    return must(not found and gateway.is_alive(), 'none is asked for' if not found else f'asked for: {found}')


@row('the same on admin, with a purge hidden in it')
def ambiguous_admin():
    origin = Origin()
    gateway = Gateway(origin)
    gateway.image('kept')
    purge = b'POST /purge HTTP/1.1\r\nhost: %s:%d\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"all":true}' % (gateway.admin[0].encode(), gateway.admin[1])
    host = b'host: %s:%d\r\n' % (gateway.admin[0].encode(), gateway.admin[1])
    purged = []
    for name, data in AMBIGUOUS.items():
        data = data.replace(HIDDEN, purge).replace(b'host: gw\r\n', host).replace(b'content-length: %d' % len(HIDDEN), b'content-length: %d' % len(purge))
        exchange(gateway.admin, data, 0.2)
        if gateway.image('kept')[1].get('cache-status', '').startswith('pai-image-gateway; fwd'):
            purged.append(name)
    return must(not purged, 'nothing is purged' if not purged else f'purged by: {purged}')


@row('an honest second request behind a body is answered, in its order')
def pipelined():
    gateway = Gateway(Origin())
    body = b'{"ImageIds":["first"]}'
    data = RESOLVE + length(body) + b'\r\n' + body + HIDDEN
    received = exchange(gateway.data, data)
    right = statuses(received) == [200, 200] and received.index(b'"first"') < received.index(b'hidden')
    return must(right, f'answers {statuses(received)}')


@row('200 requests at once on one connection are answered in their order')
def long_pipeline():
    gateway = Gateway(Origin())
    data = b''.join(b'GET /api/v1/images/p-%03d HTTP/1.1\r\nhost: gw\r\n\r\n' % k for k in range(200))
    received = exchange(gateway.data, data, 4)

    names = [part[:5].decode() for part in received.split(b'"ImageId": "')[1:]]
    return must(names == [f'p-{k:03d}' for k in range(200)], f'{len(names)} answers, in order: {names == sorted(names)}')


@row('absolute form: neither target nor Host picks the origin')
def absolute_form():
    other, origin = Origin(), Origin()
    gateway = Gateway(origin)
    place = other.url.encode()
    for head in (b'GET %s/api/v1/images/abs-1 HTTP/1.1\r\nhost: gw\r\n\r\n' % place, b'GET /api/v1/images/abs-2 HTTP/1.1\r\nhost: %s\r\n\r\n' % place[7:],
                 b'GET http://user@%s/api/v1/images/abs-3 HTTP/1.1\r\nhost: gw\r\nx-forwarded-host: %s\r\n\r\n' % (place[7:], place[7:]),
                 b'GET //%s/api/v1/images/abs-4 HTTP/1.1\r\nhost: gw\r\n\r\n' % place[7:]):
        exchange(gateway.data, head, 1)
    return must(not other.calls and origin.asked('abs-1') == 1, f'{len(other.calls)} calls elsewhere')


@row('heads of 10 MiB, of 100,000 headers and of one endless line')
def long_heads():
    origin = Origin()
    gateway = Gateway(origin)
    wrong = []
    for name, data in {'10 MiB': GET + b'x: ' + b'a' * (10 << 20), '100,000 headers': GET + b'x: y\r\n' * 100000 + b'\r\n', 'a line': b'GET /' + b'a' * (1 << 20)}.items():
        first = statuses(exchange(gateway.data, data, 3))[:1]
        if first not in ([431], [414], [400], []):
            wrong.append((name, first))
    return must(not wrong and not origin.calls, 'refused' if not wrong else str(wrong))


@row("nothing of a client's headers reaches the origin")
def hop_headers():
    origin = Origin()
    gateway = Gateway(origin, clients=None)
    more = {'x-forwarded-for': 'mark-1', 'connection': 'authorization, x-acs-date', 'cookie': 'mark-2', 'x-acs-security-token': 'mark-3', 'te': 'trailers',
            'x-acs-marked': 'mark-4', 'referer': 'mark-5', 'accept-encoding': 'mark-6', 'traceparent': '00-' + 'a' * 32 + '-' + 'b' * 16 + '-01', 'range': 'bytes=mark-7'}
    gateway.get('/api/v1/images/image-1', headers=more)
    head = origin.calls[0].head if origin.calls else b'mark'
    return must(b'mark' not in head and b'a' * 32 not in head and b'authorization' in head.lower(), 'none of ten')


@row("a gateway's answer has no header that the origin made up")
def made_up_headers():
    lines = ['Set-Cookie: a=b', 'Connection: x-pai-gateway-request-id', 'Location: http://evil.example/', 'X-Evil: 1', 'Server: evil']
    origin = Origin(lambda call: answer(body=image(call.image), headers=lines))
    gateway = Gateway(origin)
    status, headers, _ = gateway.image('image-1')
    left = [name for name in ('set-cookie', 'location', 'x-evil', 'server') if name in headers]
    return must(status == 200 and not left, f'status {status}, left: {left}')
