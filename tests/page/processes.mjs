// Starts the emulator and the gateway as processes, as an operator would, and puts load on them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const START_MS = 15_000;
const STOP_MS = 30_000;
/** Name of each gateway: a picture must not depend on the machine. */
export const POD_NAME = 'image-gateway-0';
const KEY_ID = 'GWCENTRALKEY';

/** One HTTP exchange; the body as text. */
export function ask(address, path, { method = 'GET', headers = {}, body, agent } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(`http://${address}${path}`, { method, headers, agent }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => { text += chunk; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Waits until the condition holds; fails after a deadline. */
export async function eventually(what, holds, patience = 15_000) {
  const deadline = Date.now() + patience;
  let last;
  while (Date.now() < deadline) {
    last = await holds();
    if (last) return last;
    await sleep(50);
  }
  throw new Error(`never: ${what}`);
}

/** A process that writes the addresses it listens on to a file. */
class Server {
  static async start(folder, name, command, ...options) {
    const ports = join(folder, `${name}.ports`);
    const log = openSync(join(folder, `${name}.log`), 'w');
    const server = new this();
    server.name = name;
    server.log = join(folder, `${name}.log`);
    server.process = spawn(process.env.PAI_GATEWAY_BIN, [command, ...options, '--ports-file', ports], {
      stdio: ['ignore', log, log],
      env: { ...process.env, POD_NAME },
    });
    process.on('exit', () => server.process.kill('SIGKILL'));
    try {
      await eventually(`${name} listens`, () => server.process.exitCode !== null || existsSync(ports), START_MS);
      server.ports = JSON.parse(readFileSync(ports, 'utf8'));
    } catch (error) {
      server.process.kill('SIGKILL');
      throw new Error(`${error.message}\n${readFileSync(server.log, 'utf8').slice(-2_000)}`);
    }
    return server;
  }

  get address() {
    return this.ports.listen;
  }

  async stop() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    const impatient = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS);
    const [code] = await ended;
    clearTimeout(impatient);
    if (code !== 0) throw new Error(`${this.name} ended with ${code}`);
  }
}

export class Emulator extends Server {
  static async open(folder) {
    writeFileSync(join(folder, 'secret'), 'central-secret-of-the-gateway', { mode: 0o600 });
    return this.start(
      folder, 'emulator', 'emulate', '--listen', '127.0.0.1:0', '--images', '60', '--latency', '15ms', '--quota', '1000',
      '--access-key-id', KEY_ID, '--access-key-secret-file', join(folder, 'secret'),
    );
  }

  async images(limit) {
    return JSON.parse((await ask(this.address, `/emulator/images?limit=${limit}`)).text);
  }

  /** Sets the fault from now on; none without an argument. */
  async inject(...faults) {
    const { status, text } = await ask(this.address, '/emulator/faults', { method: 'POST', body: JSON.stringify(faults) });
    if (status !== 200) throw new Error(text);
  }
}

export class Gateway extends Server {
  /** Starts a gateway in front of this emulator, with a token for its admin listener, and further settings, if they are given. */
  static async open(folder, name, emulator, { token = null, settings = '' } = {}) {
    const config = join(folder, `${name}.toml`);
    let tokenFile = '';
    if (token) {
      writeFileSync(join(folder, 'token'), token, { mode: 0o600 });
      tokenFile = `token_file = "${join(folder, 'token')}"`;
    }
    writeFileSync(config, `
      [listen]
      address = "127.0.0.1:0"
      [admin]
      address = "127.0.0.1:0"
      ${tokenFile}
      [upstream]
      endpoint = "http://${emulator.address}"
      allow_http = true
      [credentials]
      source = "static"
      access_key_id = "${KEY_ID}"
      access_key_secret_file = "${join(folder, 'secret')}"
      [shutdown]
      lame_duck = "0s"
      ${settings}
    `);
    return this.start(folder, name, 'serve', '--config', config);
  }

  get admin() {
    return this.ports.admin;
  }

  async page(path) {
    return JSON.parse((await ask(this.admin, path)).text);
  }

  image(id, headers = {}, agent = undefined) {
    return ask(this.address, `/api/v1/images/${id}`, { headers, agent });
  }

  purge(order) {
    const headers = { 'content-type': 'application/json' };
    return ask(this.admin, '/purge', { method: 'POST', headers, body: JSON.stringify(order) });
  }
}

/** Sends requests like a cluster: some images much more often than others, sometimes another operation. */
export class Load {
  constructor(gateway, images) {
    Object.assign(this, { gateway, images, running: true, failed: 0 });
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 6 });
    this.done = this.#run();
  }

  async stop() {
    this.running = false;
    await this.done;
    this.agent.destroy();
  }

  async #run() {
    for (let round = 0; this.running; round += 1) {
      // The rate follows a slow wave, so that charts have a shape.
      const size = Math.round(5 + 3 * Math.sin(round / 300));
      await Promise.all([...Array.from({ length: size }, () => this.#request(round)), sleep(25)]);
      if (round % 40 === 0) await this.gateway.purge({ image: this.#pick(), soft: true });
    }
  }

  #pick() {
    return this.images[Math.floor(this.images.length ** Math.random()) - 1];
  }

  async #request(round) {
    const draw = Math.random();
    const id = draw < 0.03 ? `image-none${round % 7}` : this.#pick();
    const target = draw > 0.9 ? `${id}?Verbose=true` : id;
    const headers = draw > 0.97 ? { 'cache-control': 'no-cache' } : {};
    await this.gateway.image(target, headers, this.agent).catch(() => { this.failed += 1; });
  }
}
