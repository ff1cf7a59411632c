// The calls that the vendor's generated AIWorkSpace client makes, on the vendor's own core.

import core, { $OpenApiUtil, OpenApiUtil } from '@alicloud/openapi-core';
import dara from '@darabonba/typescript';

const Core = core.default;
const Url = dara.URL;

/** A client of `endpoint` over plain HTTP, by default with a key that the origin does not know. */
export function connect(endpoint, settings = {}) {
  return new Client(
    new $OpenApiUtil.Config({
      accessKeyId: 'CLIENTKEY',
      accessKeySecret: 'client-secret',
      endpoint,
      protocol: 'http',
      ...settings,
    }),
  );
}

class Client extends Core {
  getImage(image, query = {}) {
    return this.call('GetImage', 'GET', `/api/v1/images/${Url.percentEncode(image)}`, { query });
  }

  listImages(query) {
    return this.call('ListImages', 'GET', '/api/v1/images', { query });
  }

  addImage(body) {
    return this.call('AddImage', 'POST', '/api/v1/images', { body });
  }

  addImageLabels(image, labels) {
    const pathname = `/api/v1/images/${Url.percentEncode(image)}/labels`;
    return this.call('AddImageLabels', 'POST', pathname, { body: { Labels: labels } });
  }

  removeImageLabels(image, key) {
    const pathname = `/api/v1/images/${Url.percentEncode(image)}/labels/${Url.percentEncode(key)}`;
    return this.call('RemoveImageLabels', 'DELETE', pathname);
  }

  publishImage(image) {
    const pathname = `/api/v1/images/${Url.percentEncode(image)}/publish`;
    return this.call('PublishImage', 'PUT', pathname);
  }

  removeImage(image) {
    return this.call('RemoveImage', 'DELETE', `/api/v1/images/${Url.percentEncode(image)}`);
  }

  call(action, method, pathname, { query = {}, body } = {}) {
    const params = new $OpenApiUtil.Params({
      action,
      version: '2021-02-04',
      protocol: 'HTTPS',
      pathname,
      method,
      authType: 'AK',
      style: 'ROA',
      reqBodyType: 'json',
      bodyType: 'json',
    });
    const request = new $OpenApiUtil.OpenApiRequest({
      headers: {},
      query: OpenApiUtil.query(query),
      body: body && OpenApiUtil.parseToMap(body),
    });
    return this.callApi(params, request, new dara.RuntimeOptions({}));
  }
}
