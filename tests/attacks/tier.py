"""A hostile Redis: wrong replies, and missing ones. No request may fail, wait or get a wrong image because of it."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from gateway import Gateway, Growth, MiB
from rows import Skipped, must, opened, row
from upstream import Origin, answer, image


class Liar:
    """Speaks RESP: correct in the greeting, then answers each command with `reply(words)`: bytes, or None for silence."""

    def __init__(self, reply, greets=True):
        self.reply, self.greets, self.commands = reply, greets, 0
        self.socket = opened(socket.create_server(('127.0.0.1', 0)))
        self.url = 'redis://127.0.0.1:%d' % self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile('rb') as lines:
            try:
                while words := self._read(lines):
                    self.commands += 1
                    greeting = b'%1\r\n$5\r\nproto\r\n:3\r\n' if words[0].upper() == b'HELLO' and self.greets else None
                    told = greeting or self.reply(words)
                    for part in [told] if isinstance(told, bytes) else told or []:
                        connection.sendall(part)
            except (OSError, ValueError):
                pass

    @staticmethod
    def _read(lines):
        first = lines.readline()
        if not first:
            return None
        words = []
        for _ in range(int(first[1:])):
            words.append(lines.read(int(lines.readline()[1:]) + 2)[:-2])
        return words


class Redis:
    """A real one, on a port of its own."""

    def __init__(self, *options):
        cache = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'pai-image-gateway/bin/redis-server'
        found = os.environ.get('REDIS_SERVER') or shutil.which('redis-server') or (cache.is_file() and str(cache))
        if not found:
            assert os.environ.get('CI') != 'true', 'redis-server is needed where CI=true'
            raise Skipped('there is no redis-server')
        self.folder = opened(tempfile.TemporaryDirectory(prefix='attacks-redis-'))
        self.folder.close = self.folder.cleanup
        self.found, self.options = found, options
        with socket.create_server(('127.0.0.1', 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f'redis://127.0.0.1:{self.port}'
        opened(self)
        self.start()

    def start(self):
        command = [self.found, '--port', str(self.port), '--bind', '127.0.0.1', '--save', '', '--dir', self.folder.name, *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                return self('PING')
            except OSError:
                time.sleep(0.02)
        raise AssertionError('redis-server does not answer')

    def __call__(self, *words):
        with socket.create_connection(('127.0.0.1', self.port), 20) as connection, connection.makefile('rb') as lines:
            words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            connection.sendall(b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(word), word) for word in words))
            return self._reply(lines)

    def _reply(self, lines):
        line = lines.readline()
        kind, value = line[:1], line[1:-2]
        if kind == b'$':
            return None if value == b'-1' else lines.read(int(value) + 2)[:-2]
        if kind == b'*':
            return [self._reply(lines) for _ in range(int(value))]
        return value

    def keys(self, pattern):
        return sorted(self('KEYS', pattern))

    def close(self):
        self.process.kill()
        self.process.wait()


def versions():
    """An origin that counts the calls for each image."""
    counts = {}
    def answers(call):
        counts[call.image] = counts.get(call.image, 0) + 1
        return answer(body=image(call.image, Description=f'version-{counts[call.image]}'))
    return Origin(answers)


def up(gateway, wanted=1.0, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if gateway.metric('pai_gateway_shared_cache_up') == wanted:
            return True
        time.sleep(0.05)
    return False


def asks(gateway, names):
    """Returns the number of requests answered 200 with their own body, and the longest wait."""
    good, longest = 0, 0.0
    for name in names:
        began = time.monotonic()
        status, _, body = gateway.image(name)
        longest = max(longest, time.monotonic() - began)
        good += status == 200 and f'"ImageId": "{name}"'.encode() in body
    return good, longest


def lie(reply, greets=True, limit=48 * MiB):
    """Requests images while the server lies."""
    liar = Liar(reply, greets)
    gateway = Gateway(Origin(), f'shared_cache.url={liar.url}')
    growth = Growth(gateway)
    good, longest = asks(gateway, [f'first-{k}' for k in range(20)])
    growth.look(1.5)
    more, later = asks(gateway, [f'second-{k}' for k in range(20)])
    measured = f'{good + more} of 40 answered, the slowest in {max(longest, later):.2f} s, {growth}, {liar.commands} commands'
    return must(good + more == 40 and max(longest, later) < 3 and growth.bytes() < limit, measured)


@row('silence to every command')
def silence():
    return lie(lambda words: None, greets=False)


@row('silence behind the greeting')
def silence_later():
    return lie(lambda words: None)


@row('READONLY to every command, plain and inside an error of a script')
def read_only():
    plain = lie(lambda words: b"-READONLY You can't write against a read only replica.\r\n")
    return plain + '; ' + lie(lambda words: b"-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write\r\n")


@row('a reply of another type than was asked for, to every command')
def wrong_types():
    told = []
    for reply in (b'+OK\r\n', b':1\r\n', b'_\r\n', b'#t\r\n', b',1.5\r\n', b'*0\r\n', b'%0\r\n', b'$3\r\nabc\r\n', b'~1\r\n+x\r\n', b'(99999999999999999999\r\n', b'=7\r\ntxt:abc\r\n'):
        told.append(lie(lambda words, reply=reply: reply).split(',')[1])
    return f'{len(told)} types: {max(told)}'


@row('what is no RESP: pages, noise, a line without an end')
def noise():
    page = lie(lambda words: b'HTTP/1.1 400 Bad Request\r\n\r\n')
    noise = lie(lambda words: bytes(range(256)) * 16)
    return '; '.join((page, noise, lie(lambda words: [b'+', *[b'x' * MiB] * 64])))


@row('a bulk of 9 GB that does not come, and one of 256 MiB that does')
def huge_bulk():
    announced = lie(lambda words: b'$9999999999\r\nabc')
    return announced + '; ' + lie(lambda words: [b'$268435456\r\n', *[b'x' * MiB] * 256])


@row('lists of lists, 100,000 deep, and a list of 2^31')
def nested():
    return lie(lambda words: b'*1\r\n' * 100000) + '; ' + lie(lambda words: b'*2147483647\r\n')


@row('news that nobody subscribed to, 200,000 times')
def pushes():
    push = b'>3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$4\r\nnews\r\n' * 2000
    return lie(lambda words: [push] * 100)


@row('values of others, of other types, damaged, empty, of the future')
def foreign_values():
    redis, origin = Redis(), Origin()
    gateway = Gateway(origin, f'shared_cache.url={redis.url}')
    must(up(gateway), 'the tier is up')
    gateway.image('image-1')
    time.sleep(0.3)
    key = redis.keys('*}:image')[0]
    sound, wrong = redis('GET', key), []
    damaged = {'nothing': b'', 'a word': b'x', 'noise': bytes(range(256)) * 8, 'half': sound[:len(sound) // 2], 'a bit': sound[:100] + bytes([sound[100] ^ 1]) + sound[101:], 'a bit in the body': sound[:-40] + b'!' + sound[-39:],
               'the future': b'%016d%016d' % (9999999999999, 9999999999999) + sound[32:], 'the future, zeros': b'9' * 32 + b'\0' * 200, '8 MiB': sound + b'x' * (8 * MiB)}
    for name, value in damaged.items():
        redis('SET', key, value)
        wrong += wrong_at_a_newcomer(redis, name)
    for name, words in {'a list': ('RPUSH', key, 'x'), 'a hash': ('HSET', key, 'a', 'b'), 'a set': ('SADD', key, 'x'), 'a stream': ('XADD', key, '*', 'a', 'b')}.items():
        redis('DEL', key)
        redis(*words)
        wrong += wrong_at_a_newcomer(redis, name)
    return must(not wrong, f'{len(damaged) + 4} kinds: each image comes from the origin' if not wrong else str(wrong))


def wrong_at_a_newcomer(redis, name):
    gateway = Gateway(Origin(), f'shared_cache.url={redis.url}')
    up(gateway)
    good, longest = asks(gateway, ['image-1'])
    gateway.close()
    return [] if good == 1 and longest < 3 else [f'{name}: {good} in {longest:.1f} s']


@row("one image's value under another's key")
def swapped():
    redis, origin = Redis(), Origin()
    gateway = Gateway(origin, f'shared_cache.url={redis.url}')
    must(up(gateway), 'the tier is up')
    for name in ('image-a', 'image-b'):
        gateway.image(name)
    time.sleep(0.3)
    of = {name: redis.keys(f'*{{{name}}}:image')[0] for name in ('image-a', 'image-b')}
    redis('SET', of['image-b'], redis('GET', of['image-a']))
    newcomer = Gateway(origin, f'shared_cache.url={redis.url}')
    up(newcomer)
    good, _ = asks(newcomer, ['image-b', 'image-a'])
    return must(good == 2, f'{good} of 2 are the image that was asked for')


@row('leases of somebody else, without an end and of another type, on every image')
def foreign_leases():
    redis = Redis()
    gateway = Gateway(Origin(), f'shared_cache.url={redis.url}')
    must(up(gateway), 'the tier is up')
    gateway.image('image-1')
    time.sleep(0.3)
    key = redis.keys('*}:image')[0]
    for k, words in enumerate([('SET', 'x'), ('RPUSH', 'x'), ('SET', '!throttled 99999999999'), ('SET', '!'), ('HSET', 'a', 'b')]):
        redis(words[0], key.replace(b'image-1', b'held-%d' % k).replace(b'}:image', b'}:lease'), *words[1:])
    good, longest = asks(gateway, [f'held-{k}' for k in range(5)])
    return must(good >= 4 and longest < 4, f'{good} of 5 answered, the slowest in {longest:.2f} s')


@row('a log of another type, of noise, and one that runs ahead')
def foreign_log():
    told = []
    for name, words in {'a string': [('DEL',), ('SET', 'x')], 'noise': [('XADD', '*', 'a', 'b')] * 50, 'ahead': [('XADD', '9999999999999-0', 'by', 'x', 'forget', 'all')]}.items():
        redis = Redis()
        gateway = Gateway(Origin(), f'shared_cache.url={redis.url}')
        must(up(gateway), 'the tier is up')
        log = [key for key in redis.keys('*:orders') if b'}' not in key][0]
        for command, *rest in words:
            redis(command, log, *rest)
        good, longest = asks(gateway, [f'log-{k}' for k in range(20)])
        told.append((name, good, longest))
        gateway.close()
        redis.close()
    wrong = [each for each in told if each[1] != 20 or each[2] > 3]
    return must(not wrong, f'{len(told)} kinds: 20 of 20 answered' if not wrong else str(wrong))


@row('an old snapshot: what was purged does not come back')
def old_snapshot():
    redis, origin = Redis(), versions()
    gateway = Gateway(origin, f'shared_cache.url={redis.url}')
    must(up(gateway), 'the tier is up')
    gateway.image('image-1')
    time.sleep(0.3)
    redis('SAVE')
    gateway.purge({'image': 'image-1'})
    second = b'version-2' in gateway.image('image-1')[2]
    time.sleep(0.5)
    redis.close()
    lost = up(gateway, 0.0)
    redis.start()
    back = up(gateway)
    newcomer = Gateway(origin, f'shared_cache.url={redis.url}')
    up(newcomer)
    told = [b'version-1' in each.image('image-1')[2] for each in (gateway, newcomer)]
    return must(second and lost and back and not any(told), f'the first version is answered by {sum(told)} of 2')


@row('a demoted primary that is cut off and answers reads: nothing held counts as fresh')
def demoted():
    redis, origin = Redis(), versions()
    gateway = Gateway(origin, f'shared_cache.url={redis.url}')
    must(up(gateway), 'the tier is up')
    gateway.image('image-1')
    before = gateway.image('image-1')[1].get('cache-status', '')
    redis('REPLICAOF', '127.0.0.1', '1')
    began = time.monotonic()
    lost = up(gateway, 0.0)
    took = time.monotonic() - began
    after = gateway.image('image-1')[1].get('cache-status', '')
    redis('REPLICAOF', 'NO', 'ONE')
    return must(lost and took < 5 and 'detail' not in before and 'detail' in after and up(gateway), f'known after {took:.2f} s, then {after.split("; ", 1)[-1]}')


@row('a server that stops in the middle, and one that is slow')
def stopped():
    redis = Redis()
    gateway = Gateway(Origin(), f'shared_cache.url={redis.url}')
    must(up(gateway), 'the tier is up')
    redis.process.send_signal(19)
    try:
        good, longest = asks(gateway, [f'stopped-{k}' for k in range(30)])
        purge_began = time.monotonic()
        purged = gateway.purge({'all': True})[0]
        purge_took = time.monotonic() - purge_began
    finally:
        redis.process.send_signal(18)
    return must(good == 30 and longest < 2 and purged == 200 and purge_took < 2, f'{good} of 30 answered, the slowest in {longest:.2f} s, a purge in {purge_took:.2f} s')
