// Tests the vendor's Node.js core through the gateway. Needs GATEWAY_PORT and EMULATOR_PORT.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { ClientError, ServerError, ThrottlingError } from '@alicloud/openapi-core';

import { connect } from './client.mjs';

const GATEWAY = `127.0.0.1:${process.env.GATEWAY_PORT}`;
const EMULATOR = `http://127.0.0.1:${process.env.EMULATOR_PORT}/emulator`;
const BURST = 200;

// Characters that clients escape differently; a label's key has neither `=` nor a comma.
const ODD = "tensor flow~*+%2B/中&c=d#?;:@$'!()\"\\";
const ODD_KEY = "key/2 ~*+%2C中&#?;:@'!()";

const client = connect(GATEWAY);
let images;

before(async () => {
  const answer = await control('/images?limit=20');
  images = answer.ImageIds ?? answer;
});

/** An image that no other test requests. */
const fresh = () => images.pop();

async function control(path, method = 'GET', body = undefined) {
  const headers = { 'Content-Type': 'application/json' };
  const answer = await fetch(EMULATOR + path, { method, headers, body });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  const text = await answer.text();
  return text && JSON.parse(text);
}

const calls = async () => (await control('/counts')).operations.GetImage ?? 0;

async function inject(image, fault) {
  const faults = [{ operation: 'GetImage', image, times: 1000, ...fault }];
  await control('/faults', 'POST', JSON.stringify(faults));
}

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail('the call was answered');
}

test('plain and verbose answers are read, and the second call is a hit', async () => {
  const image = fresh();
  const plain = await client.getImage(image);
  assert.equal(plain.statusCode, 200);
  assert.ok(plain.body.Name);
  assert.ok(!plain.body.Labels?.length);
  const verbose = await client.getImage(image, { Verbose: true });
  assert.ok(verbose.body.Labels.length);
  const again = await client.getImage(image, { Verbose: false });
  assert.deepEqual(again.body, plain.body);
  assert.match(again.headers['cache-status'], /^pai-image-gateway; hit; ttl=\d+$/);
});

test('an unknown image raises the typed not-found', async () => {
  const error = await rejection(client.getImage('image-nowhere'));
  assert.ok(error instanceof ClientError);
  assert.equal(error.code, 'ImageNotFound');
  assert.equal(error.statusCode, 404);
  assert.match(error.requestId, /\S/);
});

test('malformed ids raise a typed error and cost no upstream call', async () => {
  const before = await calls();
  for (const image of ['a*b', 'a**b', 'a b', 'a/b', "it's(!)", '镜像']) {
    const error = await rejection(client.getImage(image));
    assert.ok(error instanceof ClientError, image);
    assert.equal(error.code, 'InvalidParameter', image);
    assert.equal(error.statusCode, 400, image);
  }
  assert.equal(await calls(), before);
});

test('a silent origin is a typed error before the SDK gives up', async () => {
  const image = fresh();
  await inject(image, { kind: 'stall', ms: 4000, times: 1 });
  const error = await rejection(client.getImage(image));
  assert.ok(error instanceof ServerError, String(error));
  assert.equal(error.code, 'Gateway.UpstreamTimeout');
  assert.equal(error.statusCode, 504);
});

test('a compressed origin is not seen', async () => {
  const image = fresh();
  await inject(image, { kind: 'gzip' });
  assert.ok((await client.getImage(image)).body.Name);
});

test('odd characters of a search reach the origin exactly', async () => {
  const add = async (number, text) => {
    const labels = { 'system.source': 'test', [ODD_KEY]: text };
    const { body } = await client.addImage({
      Name: `odd-${number}`,
      Description: text,
      ImageUri: text,
      WorkspaceId: '15945',
      Labels: Object.entries(labels).map(([Key, Value]) => ({ Key, Value })),
    });
    return body.ImageId;
  };
  const list = async (condition) => {
    const { body } = await client.listImages({ ...condition, Options: '', PageSize: 50 });
    assert.equal(body.TotalCount, body.Images.length);
    return body.Images;
  };
  const image = await add(0, ODD);
  const misread = [ODD.replaceAll('+', ' '), ODD.replace('%2B', '+'), encodeURIComponent(ODD)];
  for (const [index, text] of misread.entries()) await add(index + 1, text);

  for (const condition of [
    { ImageUri: ODD },
    { Labels: `system.source=test,${ODD_KEY}=${ODD}` },
    { Query: ODD },
  ]) {
    const found = await list(condition);
    assert.deepEqual(found.map(({ ImageId }) => ImageId), [image], JSON.stringify(condition));
    assert.equal(found[0].Description, ODD);
  }
  assert.equal((await list({ Labels: 'system.source=test' })).length, 1 + misread.length);
});

test('writes are seen by the next read', async () => {
  const added = await client.addImage({
    Name: 'nlp-compression',
    Description: 'NLP 模型 "x"',
    ImageUri: 'registry.example/pai/nlp:gpu',
    Accessibility: 'PRIVATE',
    Size: 2,
    WorkspaceId: '15945',
    Labels: [{ Key: 'system.chipType', Value: 'GPU' }],
  });
  const image = added.body.ImageId;
  const keys = async () =>
    (await client.getImage(image, { Verbose: true })).body.Labels.map((label) => label.Key).sort();
  const addLabels = (...added) =>
    client.addImageLabels(image, added.map((Key) => ({ Key, Value: '值' })));
  assert.deepEqual(await keys(), ['system.chipType']);

  await addLabels(ODD_KEY);
  assert.deepEqual(await keys(), [ODD_KEY, 'system.chipType']);
  await client.removeImageLabels(image, ODD_KEY);
  assert.deepEqual(await keys(), ['system.chipType']);

  await addLabels('team', ODD_KEY);
  assert.deepEqual(await keys(), [ODD_KEY, 'system.chipType', 'team']);
  await client.removeImageLabels(image, `team,${ODD_KEY}`);
  assert.deepEqual(await keys(), ['system.chipType']);

  await client.publishImage(image);
  assert.equal((await client.getImage(image)).body.Accessibility, 'PUBLIC');
  await client.removeImage(image);
  assert.equal((await rejection(client.getImage(image))).code, 'ImageNotFound');
});

test('a burst for one image makes one upstream call', async () => {
  const image = fresh();
  await inject(image, { kind: 'latency', ms: 500 });
  const before = await calls();
  const answers = await Promise.all(Array.from({ length: BURST }, () => client.getImage(image)));
  assert.equal(await calls(), before + 1);
  assert.equal(new Set(answers.map((answer) => answer.body.RequestId)).size, 1);
});

// The last test: the gateway sends nothing for as long as the origin asks.
test('a throttle tells when to come back', async () => {
  const image = fresh();
  await inject(image, { kind: 'throttle', status: 429, code: 'Throttling', retry_after_ms: 100 });
  const error = await rejection(client.getImage(image));
  assert.ok(error instanceof ThrottlingError);
  assert.equal(error.statusCode, 429);
  assert.ok(error.retryAfter > 0);
});
