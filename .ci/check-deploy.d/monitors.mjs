// Checks objects of the Prometheus operator and of cert-manager, one of JSON a line on standard input, with models
// that are made from their own definitions.
//
//   monitors.mjs FOLDER-WITH-NODE_MODULES <objects
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

// By its path: a bare name is resolved beside this file, where it is not.
const load = (path) => import(pathToFileURL(resolve(process.argv[2], 'node_modules/@kubernetes-models', path, 'index.js')));
const models = {
  'monitoring.coreos.com/v1': await load('prometheus-operator/monitoring.coreos.com/v1'),
  'cert-manager.io/v1': await load('cert-manager/cert-manager.io/v1'),
};

function verdict(object) {
  const Model = models[object.apiVersion]?.[object.kind];
  if (!Model) return `no model of ${object.apiVersion} ${object.kind}`;
  try {
    new Model(object).validate();
  } catch (error) {
    return error.message;
  }
}

// Objects that a model must reject; otherwise the absence of errors means nothing.
const wrong = [
  { apiVersion: 'monitoring.coreos.com/v1', kind: 'ServiceMonitor', spec: { selector: {}, endpoints: [{ port: 9902 }] } },
  { apiVersion: 'cert-manager.io/v1', kind: 'Certificate', spec: { secretName: 'a', issuerRef: { name: 7 } } },
];
for (const object of wrong) {
  if (!verdict({ ...object, metadata: { name: 'wrong' } })) throw new Error(`a wrong ${object.kind} was let through`);
}

let count = 0;
let failed = false;
for await (const line of createInterface({ input: process.stdin })) {
  const object = JSON.parse(line);
  const problem = verdict(object);
  count += 1;
  if (problem) {
    failed = true;
    console.error(`${object.kind}/${object.metadata.name}: ${problem}`);
  }
}
console.log(`${count} objects of the Prometheus operator and cert-manager fit their models`);
process.exit(failed ? 1 : 0);
