"""The vendor's signatures, as its documentation gives them, with every part open to tampering."""

import base64
import hashlib
import hmac
import time
import uuid
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote

SHA256 = 'ACS3-HMAC-SHA256'
ACTIONS = {'GET': 'GetImage', 'POST': 'Resolve', 'DELETE': 'RemoveImage', 'PUT': 'PublishImage'}


def now(offset=0):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + offset))


def acs3(method, target, name, body=b'', action=None, date=None, nonce=None, algorithm=SHA256, more=None, unsigned=(), secret=None, key=None, host='gw',
         payload=None, names=None):
    """Headers of a request that is signed for the client `name`. `more` are signed too; `unsigned` are left out of the signature;
    `names` is what SignedHeaders says where that is not what was signed."""
    path, _, query = target.partition('?')
    headers = {'host': host, 'x-acs-version': '2021-02-04', 'x-acs-action': action or ACTIONS[method], 'x-acs-date': now() if date is None else date,
               'x-acs-signature-nonce': nonce or uuid.uuid4().hex, 'x-acs-content-sha256': payload or hashlib.sha256(body).hexdigest(), **(more or {})}
    signed = sorted(set(headers) - set(unsigned))
    path = '/'.join(quote(unquote(part), safe='~') for part in path.split('/'))
    query = '&'.join(f'{quote(key, safe="~")}={quote(value, safe="~")}' for key, value in sorted(parse_qsl(query, True)))
    lines = [method, path, query, *(f'{key}:{headers[key].strip()}' for key in signed), '', ';'.join(signed), headers['x-acs-content-sha256']]
    text = algorithm + '\n' + hashlib.sha256('\n'.join(lines).encode()).hexdigest()
    signature = hmac.new((secret or 'secret-of-' + name).encode(), text.encode(), hashlib.sha256).hexdigest()
    listed = ';'.join(signed) if names is None else names
    headers['authorization'] = f'{algorithm} Credential={key or "GW" + name.upper()},SignedHeaders={listed},Signature={signature}'
    if body:
        headers['content-type'] = 'application/json'
    return headers


def roa(method, target, name, nonce=None, date=None):
    """Headers by the older signature, which covers neither host nor body."""
    headers = {'host': 'gw', 'accept': 'application/json', 'date': date or formatdate(usegmt=True), 'x-acs-signature-method': 'HMAC-SHA1',
               'x-acs-signature-version': '1.0', 'x-acs-version': '2021-02-04', 'x-acs-action': ACTIONS[method]}
    if nonce != '':
        headers['x-acs-signature-nonce'] = nonce or uuid.uuid4().hex
    path, _, query = target.partition('?')
    query = '&'.join(f'{key}={value}' for key, value in sorted(parse_qsl(query, True)))
    acs = ''.join(f'{key}:{value}\n' for key, value in sorted(headers.items()) if key.startswith('x-acs-'))
    text = '\n'.join([method, headers['accept'], '', '', headers['date']]) + '\n' + acs + unquote(path) + (f'?{query}' if query else '')
    signature = hmac.new(('secret-of-' + name).encode(), text.encode(), hashlib.sha1).digest()
    headers['authorization'] = f'acs GW{name.upper()}:' + base64.b64encode(signature).decode()
    return headers
