"""HTTP/2 frames by hand (RFC 9113), so that they can be wrong. Headers are literals that are never indexed (RFC 7541, 6.2.3)."""

import socket
import ssl
import struct
import time

from rows import opened

DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
HEADER_TABLE_SIZE, MAX_STREAMS, INITIAL_WINDOW = 1, 3, 4


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def integer(value, prefix, first=0):
    """An integer with a prefix of so many bits."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytearray([first | limit]), value - limit
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return integer(len(value), 7) + value


def literal(name, value):
    return b'\x10' + text(name) + text(value)


def head(method, path, headers=(), authority='gw'):
    pseudo = [(':method', method), (':scheme', 'https'), (':authority', authority), (':path', path)]
    return b''.join(literal(name, value) for name, value in [*pseudo, *headers])


class Connection:
    def __init__(self, gateway, settings=()):
        context = ssl.create_default_context(cafile=gateway.certificate)
        context.set_alpn_protocols(['h2'])
        plain = socket.create_connection(gateway.data, 20)
        self.socket = opened(context.wrap_socket(plain, server_hostname='gw'))
        self.is_closed, self.kept = False, b''
        pairs = b''.join(struct.pack('>HI', *pair) for pair in settings)
        self.send(PREFACE + frame(SETTINGS, 0, 0, pairs))

    def send(self, data, timeout=10):
        """Whether it was taken."""
        self.socket.settimeout(timeout)
        try:
            self.socket.sendall(data)
            return True
        except (TimeoutError, OSError):
            self.is_closed = True
            return False

    def request(self, stream, method, path, headers=(), end=True):
        return self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, head(method, path, headers)))

    def frames(self, seconds, until=lambda kind, flags, stream, payload: False):
        """Frames that come within so many seconds, or up to the one that is waited for."""
        end, found = time.monotonic() + seconds, []
        while not self.is_closed and (left := end - time.monotonic()) > 0:
            while len(self.kept) >= 9 and len(self.kept) >= 9 + (length := int.from_bytes(self.kept[:3], 'big')):
                one = self.kept[3], self.kept[4], int.from_bytes(self.kept[5:9], 'big') & 0x7FFFFFFF, self.kept[9:9 + length]
                self.kept = self.kept[9 + length:]
                found.append(one)
                if until(*one):
                    return found
            self.socket.settimeout(max(left, 0.001))
            try:
                more = self.socket.recv(1 << 16)
            except TimeoutError:
                break
            except OSError:
                more = b''
            self.is_closed = not more
            self.kept += more
        return found

    def ended(self, seconds):
        """Whether the gateway ends the connection, by GOAWAY or by closing it, within so many seconds."""
        found = self.frames(seconds, lambda kind, *_: kind == GOAWAY)
        return self.is_closed or any(kind == GOAWAY for kind, *_ in found)

    def close(self):
        self.socket.close()
