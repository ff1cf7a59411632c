"""Authentication: requests that are almost signed, in every spelling."""

import base64
import hashlib
import http.client
import json
import time
import uuid

from gateway import Gateway, client
from rows import must, row
from signatures import acs3, now, roa
from upstream import Origin, answer, error, image

IMAGE = '/api/v1/images/image-1'
WRITE = '/api/v1/images/image-1'


def world():
    """A gateway, its origin, and a client that may read and write."""
    def answers(call):
        if call.image.startswith('missing'):
            return error(404, 'ImageNotFound')
        if call.image.startswith('hidden'):
            return answer(body=image(call.image, accessibility='PRIVATE', UserId='somebody-else'))
        return answer(body=image(call.image))
    origin = Origin(answers)
    return Gateway(origin, 'api.writes=true', clients=[client('a', ['get', 'list', 'resolve', 'write'])]), origin


def send(gateway, method, target, headers, body=b''):
    """Headers as pairs, so that a name may come twice. Status and body."""
    connection = http.client.HTTPConnection(*gateway.data, timeout=15)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if body:
            pairs.append(('content-length', str(len(body))))
        for name, value in pairs:
            connection.putheader(name, value)
        connection.endheaders(body or None)
        told = connection.getresponse()
        return told.status, told.read()
    finally:
        connection.close()


def code(body):
    try:
        return json.loads(body).get('Code')
    except ValueError:
        return None


def refused(attempts, gateway, allowed=()):
    """None of the requests, by name, may be answered 2xx or ask the origin."""
    taken, kinds = [], {}
    for name, (method, target, headers, body) in attempts.items():
        try:
            status, told = send(gateway, method, target, headers, body)
        except (OSError, http.client.HTTPException, ValueError):
            status, told = 0, b''
        kinds[status] = kinds.get(status, 0) + 1
        if 200 <= status < 300 and name not in allowed:
            taken.append(name)
    counts = ', '.join(f'{count} × {status or "closed"}' for status, count in sorted(kinds.items()))
    return must(not taken, f'{len(attempts)} refused: {counts}' if not taken else f'taken: {taken}')


def get(headers):
    return 'GET', IMAGE, headers, b''


@row('honest requests are answered: any order and case of headers, blanks, a resend of the same GET')
def controls():
    gateway, _ = world()
    headers = acs3('GET', IMAGE, 'a')
    upper = [(name.upper(), value) for name, value in acs3('GET', IMAGE, 'a').items()]
    told = [send(gateway, 'GET', IMAGE, headers)[0], send(gateway, 'GET', IMAGE, headers)[0], send(gateway, 'GET', IMAGE, upper)[0],
            send(gateway, 'GET', IMAGE, list(reversed(acs3('GET', IMAGE, 'a').items())))[0], send(gateway, 'GET', IMAGE, roa('GET', IMAGE, 'a'))[0]]
    return must(told == [200] * 5, str(told))


@row('each header of a signed request a second time, the same and another')
def duplicates():
    gateway, _ = world()
    attempts = {}
    other = {'host': 'evil', 'x-acs-date': now(-60), 'x-acs-action': 'RemoveImage', 'x-acs-version': '2020-01-01', 'x-acs-signature-nonce': 'n', 'x-acs-content-sha256': '0' * 64,
             'authorization': 'Bearer x'}
    for name in acs3('GET', IMAGE, 'a'):
        for place in ('before', 'behind'):
            headers = list(acs3('GET', IMAGE, 'a').items())
            twin = (name, other[name])
            attempts[f'another {name} {place}'] = get([twin, *headers] if place == 'before' else [*headers, twin])
        headers = list(acs3('GET', IMAGE, 'a').items())
        attempts[f'{name} twice'] = get([*headers, (name, dict(headers)[name])])
    return refused(attempts, gateway)


@row('each header that must be signed left out of the signature, or left out')
def unsigned():
    gateway, _ = world()
    attempts = {}
    for name in ('x-acs-date', 'x-acs-signature-nonce', 'x-acs-action', 'x-acs-version', 'x-acs-content-sha256'):
        attempts[f'{name} unsigned'] = get(acs3('GET', IMAGE, 'a', unsigned=(name,)))
        headers = acs3('GET', IMAGE, 'a', unsigned=(name,))
        del headers[name]
        attempts[f'{name} missing'] = get(headers)
        headers = acs3('GET', IMAGE, 'a')
        headers[name] = ''
        attempts[f'{name} emptied'] = get(headers)
    attempts['nothing signed'] = get(acs3('GET', IMAGE, 'a', unsigned=tuple(acs3('GET', IMAGE, 'a'))))
    return refused(attempts, gateway)


@row('lists of signed headers that are doubled, in upper case, empty or padded')
def lists():
    gateway, _ = world()
    right = 'host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version'
    lists = {'doubled': right + ';host', 'upper': right.upper(), 'empty': '', 'a semicolon': right + ';', 'blanks': right.replace(';', '; '),
             'commas': right.replace(';', ','), 'a name that is not there': right + ';x-acs-zzz', 'first only': 'host', '5,000 names': ';'.join(['host'] * 5000)}
    return refused({name: get(acs3('GET', IMAGE, 'a', names=names)) for name, names in lists.items()}, gateway)


@row('algorithms: none, another, a weaker, one in lower case, one signature under the name of another')
def algorithms():
    gateway, _ = world()
    attempts = {}
    for name in ('ACS3-HMAC-SM3', 'ACS3-RSA-SHA256', 'ACS3-HMAC-SHA1', 'ACS3-HMAC-MD5', 'ACS3-HMAC-NONE', 'none', '', 'acs3-hmac-sha256', 'ACS4-HMAC-SHA256', 'ACS3-HMAC-SHA256,ACS3-HMAC-SM3'):
        attempts[f'named {name}'] = get(acs3('GET', IMAGE, 'a', algorithm=name))
        headers = acs3('GET', IMAGE, 'a')
        headers['authorization'] = headers['authorization'].replace('ACS3-HMAC-SHA256', name)
        attempts[f'renamed {name}'] = get(headers)
    return refused(attempts, gateway)


@row('signatures that are empty, short, long, of zeros, doubled, of another request or with a wrong secret')
def signatures():
    gateway, _ = world()
    headers, attempts = acs3('GET', IMAGE, 'a'), {}
    stem, signature = headers['authorization'].rsplit('=', 1)
    for name, value in {'empty': '', 'short': signature[:32], 'long': signature + '00', 'zeros': '0' * 64, 'not hexadecimal': 'z' * 64, 'one bit': signature[:-1] + ('0' if signature[-1] != '0' else '1'),
                        'doubled': signature + ',Signature=' + signature, 'base64': base64.b64encode(bytes.fromhex(signature)).decode(), 'a NUL': signature + '\\0'}.items():
        attempts[name] = get({**acs3('GET', IMAGE, 'a'), 'authorization': stem + '=' + value, **{name: headers[name] for name in ('x-acs-date', 'x-acs-signature-nonce')}})
    for name, secret in {'no secret': ' ', 'the key for a secret': 'GWA', 'a longer secret': 'secret-of-a ', 'a secret with a line': 'secret-of-a\n'}.items():
        attempts[name] = get(acs3('GET', IMAGE, 'a', secret=secret))
    for name, key in {'no key': ' ', 'a made-up key': 'GWZ', 'a key in lower case': 'gwa', 'a cloud key': 'LTAI5tSomebodyElses01', 'a path': '../GWA', 'a wildcard': '*'}.items():
        attempts[name] = get(acs3('GET', IMAGE, 'a', key=key))
    other = acs3('GET', '/api/v1/images/image-2', 'a')
    attempts['of another image'] = get(other)
    attempts['of a list'] = get(acs3('GET', '/api/v1/images', 'a', action='ListImages'))
    return refused(attempts, gateway)


@row('a signed request with another method, path, query, action or body')
def changed():
    gateway, origin = world()
    attempts = {}
    for name, target in {'a query': IMAGE + '?Verbose=true', 'an empty query': IMAGE + '?Verbose=', 'another image': '/api/v1/images/image-2', 'a slash': IMAGE + '/', 'dots': '/api/v1/images/x/../image-1',
                         'an escaped slash': '/api/v1/images%2Fimage-1', 'escaped twice': '/api/v1/images/%2569mage-1', 'two slashes': '/api/v1//images/image-1',
                         'labels': IMAGE + '/labels'}.items():
        attempts[name] = 'GET', target, acs3('GET', IMAGE, 'a'), b''
    attempts['a DELETE'] = 'DELETE', WRITE, acs3('GET', WRITE, 'a'), b''
    attempts['a DELETE named GetImage'] = 'DELETE', WRITE, acs3('DELETE', WRITE, 'a', action='GetImage'), b''
    attempts['a GET named RemoveImage'] = get(acs3('GET', IMAGE, 'a', action='RemoveImage'))
    body = b'{"ImageIds":["image-1"]}'
    for name, other in {'another body': b'{"ImageIds":["image-2"]}', 'no body': b'', 'a longer body': body + b' '}.items():
        attempts[name] = 'POST', '/gateway/v1/resolve', acs3('POST', '/gateway/v1/resolve', 'a', body), other
    for name, payload in {'an unsigned payload': 'UNSIGNED-PAYLOAD', 'a payload of nothing': hashlib.sha256(b'').hexdigest(), 'a short digest': '0'}.items():
        attempts[name] = 'POST', '/gateway/v1/resolve', acs3('POST', '/gateway/v1/resolve', 'a', body, payload=payload), body
    told = refused(attempts, gateway)
    writes = sum(call.method != 'GET' for call in origin.calls)
    return must(writes == 0, f'{told}; {writes} writes')


@row('dates: sixteen minutes off, without a zone, of another calendar, far away, of nothing')
def dates():
    gateway, _ = world()
    year = now()[4:]
    named = {'16 minutes ago': now(-960), '16 minutes ahead': now(960), 'a year ago': now(-365 * 86400), 'epoch': '1970-01-01T00:00:00Z', '9999': '9999' + year, '-0001': '-0001' + year,
             'no zone': now()[:-1], 'another zone': now()[:-1] + '+08:00', 'the 32nd': '2026-01-32T00:00:00Z', 'second 61': now()[:17] + '61Z', 'HTTP': time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime()),
             'seconds': str(int(time.time())), 'a word': 'now', 'long': now() + ' ' * 10 + 'x', 'digits of another script': now().translate({ord(d): ord(d) for d in '0'}) + '\xb2'}
    return refused({name: get(acs3('GET', IMAGE, 'a', date=date)) for name, date in named.items()}, gateway)


@row('a write sent again: the same bytes, and with another header, host case or connection')
def replayed():
    gateway, origin = world()
    time.sleep(6)  # Without a journal, writes dated before the start are rejected.
    headers = acs3('DELETE', WRITE, 'a')
    first = send(gateway, 'DELETE', WRITE, headers)
    again = [send(gateway, 'DELETE', WRITE, list(headers.items()) + more)[0] for more in ([], [('x-more', '1')], [('user-agent', 'b')], [('content-length', '0')])]
    writes = sum(call.method == 'DELETE' for call in origin.calls)
    return must(first[0] == 200 and writes == 1 and not any(status == 200 for status in again), f'first {first[0]}, then {again}; {writes} at the origin')


@row('a read sent again: once is honest, more often, or changed, is not')
def replayed_read():
    gateway, _ = world()
    headers = acs3('GET', IMAGE, 'a')
    told = [send(gateway, 'GET', IMAGE, headers)[0] for _ in range(4)]
    nonce = uuid.uuid4().hex
    twice = [send(gateway, 'GET', target, acs3('GET', target, 'a', nonce=nonce))[0] for target in (IMAGE, '/api/v1/images/image-2')]
    return must(told == [200, 200, 400, 400] and twice[1] != 200, f'the same: {told}, the nonce for another image: {twice}')


@row('writes by the older signature over a plain port, and without a nonce')
def older_writes():
    gateway, origin = world()
    time.sleep(6)
    attempts = {'a DELETE': ('DELETE', WRITE, roa('DELETE', WRITE, 'a'), b''), 'a PUT': ('PUT', WRITE + '/publish', roa('PUT', WRITE + '/publish', 'a'), b''),
                'a DELETE without a nonce': ('DELETE', WRITE, roa('DELETE', WRITE, 'a', nonce=''), b'')}
    told = refused(attempts, gateway)
    writes = sum(call.method != 'GET' for call in origin.calls)
    return must(writes == 0, f'{told}; {writes} at the origin')


@row('security tokens: missing, wrong, unsigned, where none was issued')
def tokens():
    gateway, _ = world()
    token = 'token-of-a'
    attempts = {'a token that was not issued': get(acs3('GET', IMAGE, 'a', more={'x-acs-security-token': token})), 'unsigned': get({**acs3('GET', IMAGE, 'a'), 'x-acs-security-token': token})}
    attempts['two bearer headers'] = get({'host': 'gw', 'authorization': 'Bearer x', 'x-acs-bearer-token': 'x'})
    for value in ('Bearer', 'Bearer ', 'Bearer ' + 'x' * 20000, 'Basic YTpi', 'Digest x', 'bearer \x00', 'acs', 'acs :', 'acs GWA:', 'acs GWA', 'ACS3-HMAC-SHA256', 'ACS3-HMAC-SHA256 Credential=GWA',
                  'ACS3-HMAC-SHA256 Credential=GWA,SignedHeaders=,Signature='):
        attempts[f'{value[:40]!r}'] = get({'host': 'gw', 'authorization': value})
    return refused(attempts, gateway)


@row('a refusal tells nothing that would help to sign')
def telling():
    gateway, _ = world()
    headers = acs3('GET', IMAGE, 'a')
    right = headers['authorization'].rsplit('=', 1)[1]
    stem = headers['authorization'].rsplit('=', 1)[0]
    status, told = send(gateway, 'GET', IMAGE, {**headers, 'authorization': stem + '=' + '0' * 64})
    text = told.decode().lower() + gateway.log().lower()
    leaks = [name for name, secret in {'signature': right, 'secret': 'secret-of-a'}.items() if secret in text]
    return must(status == 400 and code(told) == 'SignatureDoesNotMatch' and not leaks, f'{status} {code(told)}, told: {leaks}')


@row('a hidden image and a missing one are told alike')
def hidden():
    gateway, _ = world()
    def told(name):
        status, headers, body = gateway.get('/api/v1/images/' + name, headers=acs3('GET', '/api/v1/images/' + name, 'a'))
        fields = json.loads(body)
        fields['RequestId'] = '-'
        for each in ('date', 'x-acs-request-id', 'x-pai-gateway-request-id'):
            headers.pop(each, None)
        return status, headers, json.dumps(fields).replace(name, 'X')
    pairs = [(told(f'hidden-{k}'), told(f'missing-{k}')) for k in (1, 1, 2)]
    differ = [pair for pair in pairs if pair[0] != pair[1]]
    return must(not differ and pairs[0][0][0] == 404, f'{pairs[0][0][0]} for both, thrice' if not differ else str(differ[0]))


@row('parameters that are unknown, doubled or spelt otherwise, on every operation')
def parameters():
    gateway, origin = world()
    attempts = {}
    for target in ('/api/v1/images?WorkspaceId=1&WorkspaceId=2', '/api/v1/images?WorkspaceId=1&Name=a&Name=b', '/api/v1/images?WorkspaceId=1&workspaceid=2', '/api/v1/images?WorkspaceId=1&X=1',
                   '/api/v1/images?WorkspaceId=2', '/api/v1/images', '/api/v1/images?WorkspaceId=1;WorkspaceId=2', '/api/v1/images?WorkspaceId=', '/api/v1/images?WorkspaceId.1=1'):
        attempts[target] = 'GET', target, acs3('GET', target, 'a', action='ListImages'), b''
    for target in (IMAGE + '?Verbose=true&Verbose=false', IMAGE + '?verbose=true', IMAGE + '?Verbose=1', IMAGE + '?X=1'):
        attempts[target] = 'GET', target, acs3('GET', target, 'a'), b''
    return refused(attempts, gateway)
