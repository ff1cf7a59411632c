// Node's core authenticates with the keys that the operator issued.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect } from './client.mjs';

const endpoint = `127.0.0.1:${process.env.GATEWAY_PORT}`;
const chief = { accessKeyId: 'GWCHIEF', accessKeySecret: 'chief-secret' };
const temporary = {
  accessKeyId: 'GWTEMP',
  accessKeySecret: 'temporary-secret',
  securityToken: 'CAIS.token/+=',
};

test('issued keys and temporary ones get an image', async () => {
  for (const settings of [chief, temporary]) {
    const { body } = await connect(endpoint, settings).getImage(process.env.IMAGE, { Verbose: true });
    assert.ok(body.ImageUri);
  }
});

test('a wrong secret is refused', async () => {
  const wrong = connect(endpoint, { ...chief, accessKeySecret: 'wrong' });
  await assert.rejects(wrong.getImage(process.env.IMAGE), { code: 'SignatureDoesNotMatch' });
});

test('a signature over an odd id is never called wrong', async () => {
  for (const odd of ['a b', 'a*b', 'a**b', "it's(!)", 'a;b:c@d', '镜像']) {
    const asked = connect(endpoint, chief).getImage(odd);
    await assert.rejects(asked, { code: 'InvalidParameter' }, odd);
  }
});
