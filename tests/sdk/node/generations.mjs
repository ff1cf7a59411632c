// One round of calls by an older or another of the vendor's clients for Node.js.
//
//   node generations.mjs SETTINGS
//
// SETTINGS is JSON: `client` names one of the ways below, `endpoint` (host and port, over TLS), `key`, `image`
// to request, and `name` of the image to add. Prints the results as JSON.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const settings = JSON.parse(process.argv[2]);
const VERSION = '2021-02-04';
const ODD_KEY = "key/2 ~*+%2C中&#?;:@'!()";

/** Escapes by RFC 3986. */
const escape = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Each way returns a call: (action, method, pathname, query, body) → the answer's body. */
const ways = {
  'openapi-client 0.2.1'() {
    const sdk = require('openapi-client-0.2.1');
    const { RuntimeOptions } = require('@alicloud/tea-util');
    const client = new sdk.default(new sdk.Config({ ...settings.key, endpoint: settings.endpoint, protocol: 'https' }));
    return async (action, method, pathname, query, body) => {
      const request = new sdk.OpenApiRequest({ headers: {}, query, body });
      const runtime = new RuntimeOptions({});
      const answer = await client.doROARequest(action, VERSION, 'HTTPS', method, 'AK', pathname, 'json', request, runtime);
      return answer.body;
    };
  },
  'openapi-client 0.4.15': () => byParams(require('openapi-client-0.4.15'), {}),
  'openapi-client 0.4.15 v2': () => byParams(require('openapi-client-0.4.15'), { signatureAlgorithm: 'v2' }),
  'openapi-client 0.4.15 sm3': () => byParams(require('openapi-client-0.4.15'), { signatureAlgorithm: 'ACS3-HMAC-SM3' }),
  'openapi-core 1.0.1'() {
    const sdk = require('openapi-core-1.0.1');
    return byParams({ ...sdk.$OpenApiUtil, default: sdk.default }, {});
  },
  'openapi-core newest'() {
    const sdk = require('@alicloud/openapi-core');
    return byParams({ ...sdk.$OpenApiUtil, default: sdk.default }, {});
  },
  'pop-core 1.8.0'() {
    const { ROAClient } = require('@alicloud/pop-core');
    const client = new ROAClient({ ...settings.key, endpoint: `https://${settings.endpoint}`, apiVersion: VERSION });
    return (action, method, pathname, query, body) => {
      const headers = body ? { 'content-type': 'application/json' } : {};
      return client.request(method, pathname, query, body ? JSON.stringify(body) : '', headers);
    };
  },
};

/** The later clients, which take an operation's parameters. */
function byParams(sdk, more) {
  const client = new sdk.default(
    new sdk.Config({ ...settings.key, endpoint: settings.endpoint, protocol: 'https', ...more }),
  );
  const { RuntimeOptions } = require('@alicloud/tea-util');
  return async (action, method, pathname, query, body) => {
    const params = new sdk.Params({
      action,
      version: VERSION,
      protocol: 'HTTPS',
      pathname,
      method,
      authType: 'AK',
      style: 'ROA',
      reqBodyType: 'json',
      bodyType: 'json',
    });
    const request = new sdk.OpenApiRequest({ headers: {}, query, body });
    return (await client.callApi(params, request, new RuntimeOptions({}))).body;
  };
}

const call = ways[settings.client]();
const path = (image, rest = '') => `/api/v1/images/${escape(image)}${rest}`;
const get = (image, query = {}) => call('GetImage', 'GET', path(image), query);
const codeOf = (called) => called.then(() => null, (error) => error.code ?? String(error));
const keys = async (image) => (await get(image, { Verbose: 'true' })).Labels.map((label) => label.Key);

const plain = await get(settings.image);
const verbose = await get(settings.image, { Verbose: 'true' });
const search = { Labels: 'system.official=true', Name: 'pytorch', Order: 'DESC', PageSize: '3' };
const page = await call('ListImages', 'GET', '/api/v1/images', search);
const labels = await call('ListImageLabels', 'GET', '/api/v1/image/labels', { ImageId: settings.image });
const missing = await codeOf(get('image-none'));
const odd = await codeOf(get('a*b'));

const created = { Name: settings.name, ImageUri: 'r/x:1', Description: '模型', WorkspaceId: '15945' };
const { ImageId: image } = await call('AddImage', 'POST', '/api/v1/images', {}, created);
await call('AddImageLabels', 'POST', path(image, '/labels'), {}, { Labels: [{ Key: ODD_KEY, Value: 'v' }] });
const before = await keys(image);
await call('RemoveImageLabels', 'DELETE', path(image, `/labels/${escape(ODD_KEY)}`), {});
const after = await keys(image);
await call('PublishImage', 'PUT', path(image, '/publish'), {});
const published = (await get(image)).Accessibility;
await call('RemoveImage', 'DELETE', path(image), {});

console.log(
  JSON.stringify({
    found: Boolean(plain.ImageUri),
    same: verbose.ImageUri === plain.ImageUri,
    labels: verbose.Labels.length === labels.Labels.length && labels.Labels.length > 0,
    page: [page.TotalCount, page.Images.length],
    missing,
    odd,
    labelled: before.join() === ODD_KEY && after.length === 0,
    published,
    removed: await codeOf(get(image)),
  }),
);
