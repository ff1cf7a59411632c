"""An origin with scripted responses."""

import json
import re
import socket
import struct
import threading
import time
import uuid
from email.utils import formatdate

from rows import opened


def image(name, workspace='1', accessibility='PUBLIC', **more):
    """A GetImage answer's body."""
    fields = {'RequestId': str(uuid.uuid4()).upper(), 'ImageId': name, 'Name': 'n', 'ImageUri': 'registry.example/' + name, 'Accessibility': accessibility,
              'WorkspaceId': workspace, 'UserId': '7', 'GmtCreateTime': '2021-01-21T17:12:35.232Z', 'GmtModifiedTime': '2021-01-21T17:12:35.232Z', **more}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def answer(status=200, body=b'', headers=(), length=True):
    """An answer's bytes; `headers` are whole lines."""
    lines = [f'HTTP/1.1 {status} X', 'Date: ' + formatdate(usegmt=True), 'Content-Type: application/json;charset=utf-8']
    if length:
        lines.append(f'Content-Length: {len(body)}')
    return '\r\n'.join([*lines, *headers, '', '']).encode() + body


def error(status, code, message='m', headers=()):
    return answer(status, json.dumps({'RequestId': str(uuid.uuid4()).upper(), 'HostId': 'h', 'Code': code, 'Message': message}).encode(), headers)


class Call:
    def __init__(self, head, body):
        lines = head.decode('latin-1').split('\r\n')
        self.head, self.body = head, body
        self.method, self.target = lines[0].split(' ')[:2]
        self.image = self.target.split('?')[0].rsplit('/', 1)[-1]
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(':') for line in lines[1:])}


class Origin:
    """`answers(call)` gives bytes, or steps of them: bytes are sent, numbers are pauses in seconds, None closes."""

    def __init__(self, answers=None):
        self.answers = answers or (lambda call: answer(body=image(call.image)))
        self.calls = []
        self.socket = opened(socket.create_server(('127.0.0.1', 0), backlog=512))
        self.url = 'http://127.0.0.1:%d' % self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def asked(self, part):
        """Calls whose target contains this."""
        return sum(part in call.target for call in self.calls)

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                received = b''
                while (call := self._read(connection, received)) is not None:
                    call, received = call
                    self.calls.append(call)
                    steps = self.answers(call)
                    for step in [steps] if isinstance(steps, bytes) else steps:
                        if step is None:
                            return
                        if isinstance(step, bytes):
                            connection.sendall(step)
                        else:
                            time.sleep(step)
            except OSError:
                pass

    def _read(self, connection, received):
        while b'\r\n\r\n' not in received:
            more = connection.recv(65536)
            if not more:
                return None
            received += more
        head, received = received.split(b'\r\n\r\n', 1)
        length = re.search(rb'(?im)^content-length:\s*(\d+)', head)
        length = int(length[1]) if length else 0
        while len(received) < length:
            more = connection.recv(65536)
            if not more:
                return None
            received += more
        return Call(head, received[:length]), received[length:]


def reset(connection):
    """Ends a connection by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()
