// Checks objects of the Prometheus operator, one of JSON a line on standard input, with its own models.
//
//   monitors.mjs FOLDER-WITH-NODE_MODULES <objects
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

// By its path: a bare name is resolved beside this file, where it is not.
const models = await import(
  pathToFileURL(resolve(process.argv[2], 'node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js'))
);

function verdict(object) {
  const Model = models[object.kind];
  if (object.apiVersion !== 'monitoring.coreos.com/v1' || !Model) return `no model of ${object.apiVersion} ${object.kind}`;
  try {
    new Model(object).validate();
  } catch (error) {
    return error.message;
  }
}

// Objects that a model must reject; otherwise the absence of errors means nothing.
const wrong = {
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'ServiceMonitor',
  metadata: { name: 'wrong' },
  spec: { selector: {}, endpoints: [{ port: 9902 }] },
};
if (!verdict(wrong)) throw new Error('a ServiceMonitor with a number for a port was let through');

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
console.log(`${count} objects of the Prometheus operator fit its models`);
process.exit(failed ? 1 : 0);
