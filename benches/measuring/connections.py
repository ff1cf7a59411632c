"""Opens connections and keeps them open: HTTP/1.1, plain and over TLS, and HTTP/2 by hand (RFC 9113)."""

from __future__ import annotations

import socket
import ssl
import struct

HEADERS, SETTINGS, CONTINUATION = 1, 4, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# SETTINGS_INITIAL_WINDOW_SIZE of 0: no byte of a response's body is taken.
NO_WINDOW = struct.pack(">HI", 4, 0)


def plain(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), 30)


def encrypted(address: str, protocol: str = "http/1.1") -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(plain(address))


def http2(address: str, after: bytes = b"") -> ssl.SSLSocket:
    """A connection whose client takes no body; `after` is sent behind its settings."""
    connection = encrypted(address, "h2")
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, NO_WINDOW) + after)
    return connection


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def requests(count: int, path: str = "/api/v1/images/image-1") -> bytes:
    """So many requests at once, each on a stream of its own."""
    each = head(path)
    return b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * k, each) for k in range(count))


def half_a_head(size: int) -> bytes:
    """A request whose header block is left open after so many bytes."""
    value = b"".join(literal(f"x-{k}", "v" * 100) for k in range(size // 112))
    return frame(HEADERS, END_STREAM, 1, head("/")) + frame(CONTINUATION, 0, 1, value)


def head(path: str) -> bytes:
    pseudo = {":method": "GET", ":scheme": "https", ":authority": "gateway", ":path": path}
    return b"".join(literal(name, value) for name, value in pseudo.items())


def literal(name: str, value: str) -> bytes:
    """A header that is never indexed (RFC 7541, 6.2.3), name and value shorter than 127 bytes."""
    return b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
