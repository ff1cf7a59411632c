"""A hostile origin: responses that cost memory, processor and time."""

import gzip
import zlib

from gateway import MiB
from rows import row
from turncoat import costs
from upstream import answer, image


@row('gzip: 1 GiB in 1 MiB')
def gzip_bomb():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b''.join([packer.compress(b'{"ImageUri":"')] + [packer.compress(bytes(MiB)) for _ in range(1024)] + [packer.flush()])
    return costs(lambda call: answer(body=body, headers=['Content-Encoding: gzip']))


@row('gzip: 300,000 members of nothing')
def gzip_members():
    body = gzip.compress(b'') * 300000
    return costs(lambda call: answer(body=body, headers=['Content-Encoding: gzip']))


@row('headers without an end, 4 KiB each')
def endless_headers():
    line = b'x-endless: ' + b'v' * 4096 + b'\r\n'
    return costs(lambda call: [b'HTTP/1.1 200 OK\r\n', *[line * 64] * 256])


@row('one header of 64 MiB')
def long_header():
    return costs(lambda call: [b'HTTP/1.1 200 OK\r\nx: ', *[b'v' * MiB] * 64])


@row('a body of 64 MiB, with a length, by chunks and until the close')
def long_body():
    chunk = b'%x\r\n' % MiB + b'v' * MiB + b'\r\n'
    kinds = {'a length': lambda call: [b'HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n', *[b'v' * MiB] * 64],
             'chunks': lambda call: [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', *[chunk] * 64],
             'the close': lambda call: [b'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n', *[b'v' * MiB] * 64]}
    return '; '.join(f'{name}: {costs(of, 96 * MiB)}' for name, of in kinds.items())


@row('interim answers without an end')
def interim():
    early = b'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'
    kinds = {'many': early * 200, 'behind empty lines': (b'\r\n\n' + early) * 200, 'bare': b'HTTP/1.1 100 \n\n' * 600}
    return '; '.join(f'{name}: {costs(lambda call, piece=piece: [piece] * 5000)}' for name, piece in kinds.items())


@row('a chunk extension, and trailers, without an end')
def endless_chunk():
    start = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
    extension = costs(lambda call: [start + b'5;x=', *[b'v' * MiB] * 32])
    return extension + '; ' + costs(lambda call: [start + b'0\r\n', *[b'x-t: ' + b'v' * 8000 + b'\r\n'] * 4000])


@row('a body that comes a byte in half a second')
def slow_body():
    def slow(call):
        yield b'HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n'
        for byte in image(call.image):
            yield 0.5
            yield bytes([byte])
    return costs(slow)
