"""A hostile origin: quoted secrets, mislabelled, swapped and truncated responses."""

import gzip
import itertools
import threading
import time

from gateway import KEY_ID, TOKEN, Gateway, Growth, MiB
from rows import must, row
from turncoat import table
from upstream import Origin, answer, error, image


@row('errors that quote what was signed, by any code, status and operation')
def quoting():
    quote = f'GET\\n/api\\nx-acs-security-token:{TOKEN}\\n'
    texts = {'IncompleteSignature': 'server String To Sign is: ' + quote, 'SignatureDoesNotMatch': quote, 'InvalidAccessKeyId.NotFound': f'key {KEY_ID} is unknown', 'Anything': 'the CANONICAL request was ' + quote,
             'InvalidSecurityToken.Expired': TOKEN, 'InvalidParameter': f'bad header: {KEY_ID.lower()}', 'InternalError': f'trace: {TOKEN}', 'Throttling.User': f'{KEY_ID} calls too often', 'ImageNotFound': f'none for {KEY_ID}',
             'InvalidTimeStamp.Expired': 'string to sign: x', 'Forbidden.RAM': f'{KEY_ID} may not'}
    chosen = {}
    def answers(call):
        status, (code, text) = chosen['now']
        return error(status, code, text)
    gateway = Gateway(Origin(answers), 'api.writes=true', 'upstream.breaker_failures=100000')
    leaks = []
    marks = [mark.lower().encode() for mark in (KEY_ID, TOKEN, 'string to sign', 'canonical')]
    for number, (code, text) in enumerate(texts.items()):
        for status in (400, 403, 404, 429, 500):
            chosen['now'] = status, (code, text)
            asked = [gateway.image(f'q-{number}-{status}')]
            if status in (400, 403):
                asked.append(gateway.get(f'/api/v1/images?WorkspaceId={number}'))
                asked.append(gateway.call('DELETE', f'/api/v1/images/q-{number}-{status}'))
            if any(mark in (told[2] + str(told[1]).encode()).lower() for told in asked for mark in marks):
                leaks.append(f'{status} {code}')
    return must(not leaks, f'{len(texts) * 5} errors' if not leaks else f'told to clients: {leaks}')


@row("403, 401 and 404 pages without the API's code are no word about the image")
def pages():
    page = b'<html><h1>no</h1></html>'
    return table({f'{status} {kind}': lambda call, status=status, body=body: answer(status, body)
                  for status in (400, 401, 403, 404, 414, 451, 502) for kind, body in {'a page': page, 'nothing': b'', 'a bare object': b'{}'}.items()})


@row('five images that are forbidden leave the others as they are')
def forbidden():
    def answers(call):
        return error(403, 'Forbidden.RAM') if call.image.startswith('forbidden') else answer(body=image(call.image))
    gateway = Gateway(Origin(answers))
    first = gateway.image('known')[0]
    for k in range(5):
        gateway.image(f'forbidden-{k}')
    told = [gateway.image(f'other-{k}')[0] for k in range(5)]
    return must(first == 200 and told == [200] * 5, f'others: {told}')


@row('answers of 200 that are no image')
def errors_as_200():
    bodies = {'an error': b'{"Code":"InternalError","Message":"m","RequestId":"r"}', 'an error in lower case': b'{"code":"503","message":"m","success":false}', 'an empty object': b'{}',
              'RequestId alone': b'{"RequestId":"r"}', 'a list': b'[]', 'null': b'null', 'a string': b'"ImageUri"', 'nothing': b'', 'a page': b'<html></html>',
              'bytes that are no UTF-8': b'{"ImageUri":"\xff\xfe"}', 'a BOM of another width': '{"ImageUri":"x"}'.encode('utf-16')}
    cases = {name: lambda call, body=body: answer(body=body) for name, body in bodies.items()}
    half, two = (lambda call: answer(body=image(call.image)[:-20])), (lambda call: answer(body=image(call.image) * 2))
    return table({**cases, 'half an image': half, 'two images': two})


@row("another image's body, a different one each time, is neither answered nor kept")
def another_image():
    numbers = itertools.count()
    return table({'another': lambda call: answer(body=image(f'image-INJECTED-{next(numbers)}'))})


@row('an answer with a second one behind it: the next request does not get that')
def extra_answer():
    def answers(call):
        if call.image.startswith('evil'):
            return [answer(body=image(call.image)) + answer(body=image('image-INJECTED')), 0.01, answer(body=image('image-INJECTED'))]
        return answer(body=image(call.image))
    gateway = Gateway(Origin(answers), 'upstream.max_in_flight=1')
    wrong = 0
    for k in range(60):
        for name in (f'evil-{k}', f'victim-{k}'):
            status, _, body = gateway.image(name)
            wrong += status == 200 and b'INJECTED' in body
    return must(wrong == 0, f'{wrong} of 120 answers are another image')


@row('a body behind 204 and 304, a part, another place, another protocol, nothing but an interim answer')
def out_of_step():
    behind = {'204': lambda call: answer(204, b'{}'), '304': lambda call: answer(304, b'{}'), '206': lambda call: answer(206, image(call.image)),
              '302': lambda call: answer(302, b'', ['Location: http://127.0.0.1:1/']), '100 alone': lambda call: [b'HTTP/1.1 100 Continue\r\n\r\n', None], '101': lambda call: answer(101, b'')}
    return table(behind)


@row('gzip: ten layers, a name without an end, a checksum that is wrong')
def gzip_odd():
    def packed(change, coding='gzip'):
        return lambda call: answer(body=change(gzip.compress(image(call.image))), headers=['Content-Encoding: ' + coding])

    def layered(body):
        for _ in range(9):
            body = gzip.compress(body)
        return body

    return table({'ten layers': packed(layered, ', '.join(['gzip'] * 10)), 'a name without an end': packed(lambda body: body[:3] + b'\x08' + body[4:10] + b'n' * 100000),
                  'a wrong checksum': packed(lambda body: body[:-8] + b'\0\0\0\0' + body[-4:]), 'half of it': packed(lambda body: body[:len(body) // 2])})


@row('lengths that contradict themselves')
def contradicting():
    lines = {'two lengths': ['Content-Length: 5'], 'a negative length': ['Content-Length: -1'], 'a length and chunks': ['Transfer-Encoding: chunked'],
             'a length beyond 64 bits': ['Content-Length: 99999999999999999999']}
    return table({name: lambda call, more=more: [answer(body=image(call.image), headers=more), None] for name, more in lines.items()})


@row('a body that breaks off is not kept')
def broken_off():
    return table({'half': lambda call: [answer(body=image(call.image))[:-30], None], 'half a head': lambda call: [b'HTTP/1.1 200 OK\r\nconte', None], 'nothing': lambda call: [None]})


@row('waits that are asked for: of years, negative, of words')
def retry_after():
    said = []
    for line in ('x-acs-retry-after: 99999999999999999999', 'x-acs-retry-after: 31536000000', 'Retry-After: 31536000', 'Retry-After: Fri, 31 Dec 9999 23:59:59 GMT', 'x-acs-retry-after: -5', 'Retry-After: soon'):
        gateway = Gateway(Origin(lambda call, line=line: error(429, 'Throttling.User', headers=[line])), 'upstream.retry_percent=0')
        status, headers, _ = gateway.image('image-1')
        said.append((status, headers.get('x-acs-retry-after', '')))
        gateway.close()
    right = all(status == 429 and wait.isdigit() and int(wait) <= 60000 for status, wait in said)
    return must(right, ', '.join(f'{status}: {wait or "none"} ms' for status, wait in said))


@row('an answer before the body of a write was read')
def early_answer():
    origin = Early()
    gateway = Gateway(origin, 'api.writes=true')
    body = b'{"ImageUri":"x","Name":"n","WorkspaceId":"1","Description":"' + b'd' * 500000 + b'"}'
    began = time.monotonic()
    told = [gateway.call('POST', '/api/v1/images', {'content-type': 'application/json'}, body)[0] for _ in range(3)]
    after = gateway.image('image-1')[0]
    return must(time.monotonic() - began < 15 and gateway.is_alive() and len(told) == 3 and after in (200, 503), f'{told}, then an image {after}')


class Early(Origin):
    def _serve(self, connection):
        with connection:
            try:
                head = connection.recv(2000)
                connection.sendall(error(413, 'TooLarge') if head.startswith(b'POST') else answer(body=image('image-1')))
                time.sleep(0.2)
            except OSError:
                pass


@row('200 images that are asked for and never answered')
def never():
    gateway = Gateway(Origin(lambda call: [30]), 'upstream.max_in_flight=64')
    growth, told = Growth(gateway), []
    threads = [threading.Thread(target=lambda k=k: told.append(gateway.image(f'never-{k}', timeout=20)[0]), daemon=True) for k in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    alive = gateway.get('/livez', gateway.observe)[0]
    return must(len(told) == 200 and not any(status == 200 for status in told) and alive == 200 and growth.bytes() < 48 * MiB, f'{len(told)} of 200 answered, {growth}')


@row('a wrong clock: an Age, a Date and a Last-Modified that are far away')
def wrong_clock():
    lines = ['Age: 99999999999', 'Last-Modified: Fri, 31 Dec 9999 23:59:59 GMT', 'Expires: 0']
    far = answer(body=image('image-1')).replace(b'Date: ', b'Date: Fri, 31 Dec 9999 23:59:59 GMT\r\nX-Date: ')
    gateway = Gateway(Origin(lambda call: far if call.image == 'image-1' else answer(body=image(call.image), headers=lines)))
    told = [gateway.image(name) for name in ('image-1', 'image-1', 'image-2', 'image-2')]
    ages = [headers.get('age', '0') for _, headers, _ in told]
    return must([status for status, *_ in told] == [200] * 4 and all(int(age) < 5 for age in ages), f'ages {ages}')
