"""Starts the program under attack, in a folder of its own and on free ports."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from rows import Failed, opened

PROGRAM = os.environ['PAI_GATEWAY_BIN']
KEY_ID, KEY_SECRET, TOKEN = 'LTAI5tAttackCentral01', 'CentralSecretOfTheAttacks00001', 'CAISattackcentraltoken0001'
ADMIN_TOKEN = 'admin-token-of-the-attacks'
MiB = 1 << 20

CLIENT = '''
[[client]]
name = "{name}"
access_key_id = "{key}"
access_key_secret_file = "{folder}/{name}.secret"
permissions = {permissions}
workspaces = {workspaces}
users = {users}
{more}
'''


def client(name, permissions=('get',), workspaces=('1',), users=(), more=''):
    """An entry of the clients' file; its key is GWNAME and its secret secret-of-NAME."""
    return {'name': name, 'permissions': list(permissions), 'workspaces': list(workspaces), 'users': list(users), 'more': more}


class Gateway:
    def __init__(self, origin, *settings, clients=None, tls=False, under=()):
        self.folder = Path(tempfile.mkdtemp(prefix='attacks-'))
        opened(self)
        names = ['listen', 'admin', 'observe']
        sets = [f'{name}.address=127.0.0.1:0' for name in names]
        sets += ['shutdown.lame_duck=0s', 'shutdown.drain=1s', 'upstream.allow_http=true', f'upstream.endpoint={origin.url}']
        # No pace: an attack of thousands of calls must not wait for its turn.
        operations = 'get_image list_images list_image_labels add_image add_image_labels remove_image_labels publish_image remove_image'
        sets += [f'upstream.calls_per_second.{name}=0' for name in operations.split()]
        sets += self._files(clients, tls) + list(settings)
        arguments = [*under, PROGRAM, 'serve', '--ports-file', str(self.folder / 'ports')]
        for setting in sets:
            arguments += ['--set', setting]
        environment = {'PATH': os.environ['PATH'], 'HOME': str(self.folder), 'ALIBABA_CLOUD_ECS_METADATA_DISABLED': 'true',
                       'ALIBABA_CLOUD_ACCESS_KEY_ID': KEY_ID, 'ALIBABA_CLOUD_ACCESS_KEY_SECRET': KEY_SECRET, 'ALIBABA_CLOUD_SECURITY_TOKEN': TOKEN}
        with open(self.folder / 'log', 'wb') as log:
            self.process = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._await_ready()

    def _files(self, clients, tls):
        sets = []
        if tls:
            self.certificate = self.folder / 'tls.crt'
            make = ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=gw',
                    '-addext', 'subjectAltName=DNS:gw,IP:127.0.0.1', '-out', self.certificate, '-keyout', self.folder / 'tls.key']
            subprocess.run(make, check=True, capture_output=True)
            sets += [f'listen.tls.cert_file={self.certificate}', f'listen.tls.key_file={self.folder}/tls.key']
        if clients is not None:
            text = ''
            for of in clients:
                self._write(of['name'] + '.secret', 'secret-of-' + of['name'])
                lists = {name: json.dumps(of[name]) for name in ('permissions', 'workspaces', 'users')}
                text += CLIENT.format(**{**of, **lists}, key='GW' + of['name'].upper(), folder=self.folder)
            self._write('clients.toml', text)
            self._write('admin.token', ADMIN_TOKEN)
            sets += ['auth.mode=required', f'auth.clients_file={self.folder}/clients.toml', f'admin.token_file={self.folder}/admin.token']
        return sets

    def _write(self, name, text):
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o600)

    def _await_ready(self):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                ports = json.loads((self.folder / 'ports').read_text())
                self.data, self.admin, self.observe = (_address(ports[name]) for name in ('listen', 'admin', 'observe'))
                if self.get('/readyz', self.observe)[0] == 200:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise Failed('the gateway did not become ready: ' + self.log()[-800:])

    def call(self, method, target, headers=None, body=None, address=None, timeout=15):
        """Status, headers in lower case, body."""
        connection = http.client.HTTPConnection(*(address or self.data), timeout=timeout)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            headers = {'host': 'gw', **(headers or {})}
            if body is not None:
                headers.setdefault('content-length', str(len(body)))
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, target, address=None, headers=None, timeout=15):
        return self.call('GET', target, headers, None, address, timeout)

    def image(self, image, timeout=15):
        return self.get('/api/v1/images/' + image, timeout=timeout)

    def purge(self, what):
        body = json.dumps(what).encode()
        headers = {'content-type': 'application/json', 'authorization': 'Bearer ' + ADMIN_TOKEN, 'host': '%s:%d' % self.admin}
        return self.call('POST', '/purge', headers, body, self.admin)

    def metric(self, name, **labels):
        text = self.get('/metrics', self.observe)[2].decode()
        lines = [line for line in text.splitlines() if re.match(name + r'[ {]', line)]
        return sum(float(line.rsplit(' ', 1)[1]) for line in lines if all(f'{key}="{value}"' in line for key, value in labels.items()))

    def log(self):
        return (self.folder / 'log').read_text(errors='replace')

    def memory(self):
        """Bytes that are resident."""
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+)', status)[1]) * 1024

    def processor(self):
        """Seconds of processor so far."""
        fields = Path(f'/proc/{self.process.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def is_alive(self):
        return self.process.poll() is None

    def close(self):
        if self.is_alive():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Growth:
    """Memory and processor time that a gateway uses from here on; the peak of the samples."""

    def __init__(self, gateway):
        self.gateway, self.base, self.began = gateway, gateway.memory(), gateway.processor()
        self.peak = 0

    def look(self, seconds=0.0):
        end = time.monotonic() + seconds
        while True:
            self.peak = max(self.peak, self.gateway.memory() - self.base)
            if time.monotonic() >= end:
                return self
            time.sleep(0.05)

    def bytes(self):
        return self.look().peak

    def seconds(self):
        return self.gateway.processor() - self.began

    def __str__(self):
        return f'{self.bytes() / MiB:.1f} MiB, {self.seconds():.1f} s of processor'


def _address(text):
    host, port = text.rsplit(':', 1)
    return host.strip('[]'), int(port)
