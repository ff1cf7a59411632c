"""HTTP/2: floods, and unread responses."""

import json
import struct
import time

from gateway import Gateway, Growth, MiB, client
from http2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, PING, PRIORITY, RST, SETTINGS, WINDOW_UPDATE, Connection,
                   frame, head, integer, literal)
from rows import must, row
from signatures import acs3
from upstream import Origin, answer, image

IMAGE = '/api/v1/images/image-1'


def start(*settings):
    origin = Origin(lambda call: answer(body=image(call.image, Description='x' * 400)))
    return Gateway(origin, *settings, tls=True, clients=[client('a', ['get', 'resolve'])]), origin


def signed(method, path, body=b''):
    headers = acs3(method, path, 'a', body, unsigned=('host',))
    del headers['host']
    return headers.items()


def serves(gateway):
    """Returns whether another client is answered; the row judges the time."""
    began = time.monotonic()
    other = Connection(gateway)
    other.request(1, 'GET', IMAGE, signed('GET', IMAGE))
    found = other.frames(10, lambda kind, flags, stream, payload: stream == 1)
    other.close()
    return any(kind == HEADERS and stream == 1 for kind, _, stream, _ in found), time.monotonic() - began


def flood(frames, times, limit=48 * MiB, processor=6):
    """Sends bursts to one connection and reads nothing; another client is answered, and memory stays small."""
    gateway, _ = start()
    connection, growth = Connection(gateway), Growth(gateway)
    sent = 0
    while sent < times and connection.send(frames, timeout=3):
        sent += 1
        growth.look()
    answered, took = serves(gateway)
    measured = f'{sent} of {times} bursts taken, {growth}, another client answered after {took:.2f} s'
    return must(answered and took < 5 and growth.bytes() < limit and growth.seconds() < processor, measured)


@row('100 strangers ask 256 times each and take no answer')
def strangers_unread():
    gateway, _ = start()
    growth, each = Growth(gateway), b''.join(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * k, head('GET', IMAGE)) for k in range(256))
    held = [Connection(gateway, [(INITIAL_WINDOW, 0)]) for _ in range(100)]
    for connection in held:
        connection.send(each)
    growth.look(2)
    return must(growth.bytes() < 10 * MiB + 100 * 100 * 1024, f'{growth}, {growth.bytes() / 1024 / 100:.0f} KiB each')


@row('four connections ask for 1,000 images 40 times each and take nothing')
def resolves_unread():
    gateway, _ = start()
    body = json.dumps({'ImageIds': [f'i-{k}' for k in range(1000)]}).encode()
    path = '/gateway/v1/resolve'
    warm = Connection(gateway, [(INITIAL_WINDOW, 1 << 24)])
    warm.request(1, 'POST', path, signed('POST', path, body), end=False)
    warm.send(frame(DATA, END_STREAM, 1, body))
    warm.frames(25, lambda kind, flags, stream, payload: kind == DATA and flags & END_STREAM)
    growth = Growth(gateway)
    held = [Connection(gateway, [(INITIAL_WINDOW, 0)]) for _ in range(4)]
    for connection in held:
        window = 65535
        for k in range(40):
            while window < len(body) and not connection.is_closed:
                got = connection.frames(0.3, lambda kind, *_: kind == WINDOW_UPDATE)
                updates = [struct.unpack('>I', payload)[0] for kind, _, stream, payload in got if kind == WINDOW_UPDATE and stream == 0]
                if not updates:
                    break
                window += sum(updates)
            if window < len(body) or connection.is_closed:
                break
            window -= len(body)
            connection.request(1 + 2 * k, 'POST', path, signed('POST', path, body), end=False)
            connection.send(frame(DATA, END_STREAM, 1 + 2 * k, body))
            growth.look()
    growth.look(2)
    return must(growth.bytes() < 64 * MiB, str(growth))


@row('an answer that is not taken ends its stream or connection within 20 s')
def unread_ends():
    gateway, _ = start()
    connection = Connection(gateway, [(INITIAL_WINDOW, 0)])
    connection.request(1, 'GET', IMAGE, signed('GET', IMAGE))
    began = time.monotonic()
    found = connection.frames(20, lambda kind, flags, stream, payload: kind in (RST, 7))
    ended = connection.is_closed or any(kind in (RST, 7) for kind, *_ in found)
    return must(ended, f'{"ended" if ended else "still open"} after {time.monotonic() - began:.0f} s')


@row('rapid reset: 20,000 requests of a stranger, each reset at once')
def rapid_reset():
    return flood_of_streams(lambda stream: frame(HEADERS, END_STREAM | END_HEADERS, stream, head('GET', IMAGE)) + frame(RST, 0, stream, struct.pack('>I', 8)))


@row('rapid reset by WINDOW_UPDATE of 0: the gateway has to reset each itself')
def made_reset():
    return flood_of_streams(lambda stream: frame(HEADERS, END_HEADERS, stream, head('POST', IMAGE)) + frame(WINDOW_UPDATE, 0, stream, bytes(4)))


def flood_of_streams(of):
    gateway, origin = start()
    connection, growth, sent = Connection(gateway), Growth(gateway), 0
    for first in range(0, 20000, 200):
        if not connection.send(b''.join(of(1 + 2 * k) for k in range(first, first + 200)), timeout=3):
            break
        sent = first + 200
        growth.look()
    ended = connection.ended(3)
    asked = len(origin.calls)
    answered, took = serves(gateway)
    measured = f'{"ended" if ended else "open"} after {sent} streams, {growth}, {asked} calls to the origin, another client answered after {took:.2f} s'
    return must(ended and answered and took < 5 and asked == 0 and growth.bytes() < 48 * MiB, measured)


@row('rapid reset by a client that has signed in: calls to the origin are bounded')
def signed_reset():
    gateway, origin = start()
    connection = Connection(gateway)
    for k in range(600):
        path = f'/api/v1/images/reset-{k}'
        if not connection.send(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * k, head('GET', path, signed('GET', path))) + frame(RST, 0, 1 + 2 * k, struct.pack('>I', 8))):
            break
    time.sleep(1)
    answered, took = serves(gateway)
    return must(answered and took < 5, f'{origin.asked("reset-")} calls to the origin for 600 resets, another client answered after {took:.2f} s')


@row('CONTINUATION without an end: 64 MiB of one header block')
def continuation_flood():
    gateway, _ = start()
    connection, growth = Connection(gateway), Growth(gateway)
    part = literal('x-' + 'a' * 50, 'b' * 8000) * 2
    sent = len(part) if connection.send(frame(HEADERS, END_STREAM, 1, head('GET', IMAGE))) else 0
    while sent < 64 * MiB and connection.send(frame(CONTINUATION, 0, 1, part), timeout=3):
        sent += len(part)
        growth.look()
    ended = connection.ended(3)
    return must(ended and sent < 8 * MiB and growth.bytes() < 24 * MiB, f'{"ended" if ended else "open"} after {sent / MiB:.1f} MiB, {growth}')


@row('CONTINUATION of nothing, 100,000 times')
def empty_continuations():
    gateway, _ = start()
    connection, growth, sent = Connection(gateway), Growth(gateway), 0
    connection.send(frame(HEADERS, END_STREAM, 1, head('GET', IMAGE)))
    while sent < 100000 and connection.send(frame(CONTINUATION, 0, 1) * 1000, timeout=3):
        sent += 1000
    ended = connection.ended(3)
    return must(ended and growth.bytes() < 16 * MiB and growth.seconds() < 4, f'{"ended" if ended else "open"} after {sent}, {growth}')


@row('SETTINGS, 200,000 times, acknowledgements unread')
def settings_flood():
    return flood(frame(SETTINGS, 0, 0, struct.pack('>HI', INITIAL_WINDOW, 1000)) * 2000, 100)


@row('PING, 200,000 times, acknowledgements unread')
def ping_flood():
    return flood(frame(PING, 0, 0, b'attacked') * 2000, 100)


@row('PRIORITY of streams that were never opened, 200,000 times')
def priority_flood():
    return flood(b''.join(frame(PRIORITY, 0, 1 + 2 * k, struct.pack('>IB', 0, 15)) for k in range(2000)), 100)


@row('frames of unknown types, 100 MiB')
def unknown_frames():
    return flood(frame(0xBE, 0, 0, bytes(16000)) * 64, 100)


@row('DATA of nothing, 200,000 times on one stream')
def empty_data():
    gateway, _ = start()
    connection, growth, sent = Connection(gateway), Growth(gateway), 0
    connection.request(1, 'POST', '/gateway/v1/resolve', signed('POST', '/gateway/v1/resolve', b'x'), end=False)
    while sent < 200000 and connection.send(frame(DATA, 0, 1) * 2000, timeout=3):
        sent += 2000
        growth.look()
    answered, took = serves(gateway)
    return must(answered and growth.bytes() < 32 * MiB and growth.seconds() < 6, f'{sent} taken, {growth}, another client answered after {took:.2f} s')


@row('a header of 4 KiB, referred to 16,000 times in one block')
def header_bomb():
    gateway, _ = start()
    connection, growth = Connection(gateway), Growth(gateway)
    stored = b'\x40' + integer(1, 7) + b'x' + integer(3900, 7) + b'y' * 3900
    block = head('GET', IMAGE) + stored + integer(62, 7, 0x80) * 11000
    connection.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block[:16384]))
    for k in range(1, 20):
        connection.send(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * k, head('GET', IMAGE) + integer(62, 7, 0x80) * 16000))
    growth.look(2)
    answered, took = serves(gateway)
    return must(answered and growth.bytes() < 24 * MiB, f'20 blocks of 62 MiB each, unpacked: {growth}, another client answered after {took:.2f} s')


@row('a list of headers of 1 MiB')
def long_list():
    gateway, origin = start()
    connection, growth = Connection(gateway), Growth(gateway)
    block = head('GET', IMAGE) + b''.join(literal(f'x-{k}', 'v' * 100) for k in range(9000))
    parts = [block[at:at + 16384] for at in range(0, len(block), 16384)]
    data = frame(HEADERS, END_STREAM, 1, parts[0]) + b''.join(frame(CONTINUATION, 0, 1, part) for part in parts[1:-1]) + frame(CONTINUATION, END_HEADERS, 1, parts[-1])
    connection.send(data)
    found = connection.frames(3, lambda kind, flags, stream, payload: stream == 1 or kind == 7)
    refused = connection.is_closed or any(kind in (HEADERS, RST, 7) for kind, *_ in found)
    return must(refused and not origin.calls and growth.bytes() < 16 * MiB, f'{"refused" if refused else "not answered"}, {growth}')


@row('more streams at once than were agreed')
def too_many_streams():
    gateway, _ = start()
    connection, growth = Connection(gateway), Growth(gateway)
    first = connection.frames(2, lambda kind, flags, stream, payload: kind == SETTINGS and not flags)
    agreed = [struct.unpack('>HI', payload[at:at + 6]) for kind, flags, _, payload in first if kind == SETTINGS and not flags for at in range(0, len(payload), 6)]
    limit = dict(agreed).get(3)
    for k in range(2000):
        if not connection.request(1 + 2 * k, 'POST', '/gateway/v1/resolve', end=False):
            break
    growth.look(1)
    answered, _ = serves(gateway)
    return must(limit is not None and limit <= 256 and answered and growth.bytes() < 16 * MiB, f'{limit} agreed, 2,000 asked for, {growth}')


@row('frames that break the protocol end the connection and nothing else')
def broken_frames():
    gateway, _ = start()
    broken = {'DATA on stream 0': frame(DATA, 0, 0, b'x'), 'HEADERS on an even stream': frame(HEADERS, 5, 2, head('GET', IMAGE)),
              'a frame of 16 MiB': b'\xff\xff\xff\x00\x00\x00\x00\x00\x01', 'SETTINGS of 5 bytes': frame(SETTINGS, 0, 0, b'12345'),
              'a window beyond 2^31': frame(WINDOW_UPDATE, 0, 0, b'\x7f\xff\xff\xff') * 2, 'PUSH_PROMISE of a client': frame(5, 4, 1, bytes(4)),
              'an index of nothing': frame(HEADERS, 5, 1, b'\xff\xff\xff\xff\x7f'), 'CONTINUATION first': frame(CONTINUATION, 4, 1, b'x')}
    left = []
    for name, data in broken.items():
        connection = Connection(gateway)
        connection.send(data)
        if not connection.ended(5):
            left.append(name)
    answered, _ = serves(gateway)
    return must(not left and answered, f'{len(broken)} kinds' + (f', still open: {left}' if left else ''))


@row('heads that HTTP/1.1 could not carry are refused')
def smuggled_heads():
    gateway, origin = start()
    plain = dict(signed('GET', IMAGE))
    wrong = {'a line break in a value': {'x-a': 'b\r\nhost: c'}, 'an upper-case name': {'X-A': 'b'}, 'transfer-encoding': {'transfer-encoding': 'chunked'},
             'connection': {'connection': 'close'}, 'a second :path': {':path': '/api/v1/images/other'}, 'an unknown pseudo-header': {':proto': 'x'},
             'a length that is not kept': {'content-length': '5'}, 'an empty name': {'': 'x'}, 'a colon in a name': {'x:y': 'z'}}
    taken = []
    for name, more in wrong.items():
        connection = Connection(gateway)
        connection.request(1, 'GET', IMAGE, [*plain.items(), *more.items()])
        found = connection.frames(3, lambda kind, flags, stream, payload: stream == 1 or kind == 7)
        # 200 is the static table's entry 8 (RFC 7541, appendix A).
        if any(kind == HEADERS and stream == 1 and payload[:1] == b'\x88' for kind, _, stream, payload in found):
            taken.append(name)
    return must(not taken and not origin.calls, f'{len(wrong)} kinds' + (f', answered 200: {taken}' if taken else ''))
