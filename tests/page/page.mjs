// Tests the status page in headless Chromium.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { accessibility } from './accessibility.mjs';
import { DESKTOP, launch, open, worstContrast } from './browser.mjs';
import { cell, check, digits, tally, textOf } from './checks.mjs';
import { cards, incident } from './incident.mjs';
import { Emulator, Gateway, Load, ask, eventually } from './processes.mjs';

const PICTURE = new URL('../../docs/status-page.png', import.meta.url).pathname;
const PICTURE_SECONDS = 105;
const MAX_PICTURE = 400 << 10;
const TOKEN = 'token-of-the-page-tests';

const wantsPicture = process.argv.includes('--screenshot');
const folder = mkdtempSync(join(tmpdir(), 'status-page-'));
/** Processes to stop at the end, the latest first. */
const last = [];

const shape = (page, chart) => page.locator(`#${chart} path`).evaluateAll((paths) => paths.map((path) => path.getAttribute('d')).join());
const purges = (page) => page.asked.filter((request) => request.method() === 'POST').length;
const polls = (page) => page.asked.filter((request) => request.url().endsWith('/status')).length;

async function underLoad(browser, emulator, gateway) {
  const images = await emulator.images(60);
  const load = new Load(gateway, images);
  last.push(() => load.stop());
  const page = await open(browser, gateway);

  await check('the page opens and says that the gateway is ready', async () => {
    await page.locator('#main').waitFor();
    await eventually('it is ready', async () => (await textOf(page, '#ready')) === 'ready');
    assert.equal(await textOf(page, '#version'), (await gateway.page('/status')).version);
    assert.ok(await page.locator('#token-form').isHidden());
  });

  await check('charts and numbers move under load', async () => {
    await eventually('there is a rate', async () => parseFloat(await textOf(page, '#request-rate')) > 20);
    for (const chart of ['chart-requests', 'chart-ratio', 'chart-upstream', 'chart-flight']) {
      const before = await shape(page, chart);
      await eventually(`${chart} moves`, async () => (await shape(page, chart)) !== before);
    }
    const before = digits(await cell(page, 'outcomes', 'hit', 1));
    await eventually('hits are counted', async () => digits(await cell(page, 'outcomes', 'hit', 1)) > before);
    const label = await page.locator('#chart-requests svg').getAttribute('aria-label');
    assert.match(label, /outcome: .*hit \d/);
  });

  await check('it asks about once a second', async () => {
    const before = polls(page);
    await sleep(3_000);
    assert.ok(polls(page) - before <= 4, `${polls(page) - before} in 3 s`);
    await eventually('it asks again', () => polls(page) >= before + 3);
  });

  await check('top images lists the image that is asked for most', async () => {
    const { top_images: [first] } = await gateway.page('/status');
    assert.equal(first.ImageId, images[0]);
    assert.equal(await textOf(page, '#top li:first-child button'), images[0]);
    assert.ok(await page.locator('#top-empty').isHidden());
  });

  await check('a legend tells what is under the pointer', async () => {
    const box = await page.locator('#chart-requests svg').boundingBox();
    await page.mouse.move(box.x + box.width - 12, box.y + 60);
    await page.locator('#chart-requests .pointer').waitFor({ state: 'attached' });
    await page.mouse.move(0, 0);
    await page.locator('#chart-requests .pointer').waitFor({ state: 'detached' });
  });

  if (wantsPicture) await takePicture(page, emulator, images);
  await load.stop();

  await check('the numbers are those of /status', async () => {
    const before = polls(page);
    await eventually('it asked twice more', () => polls(page) > before + 2);
    const status = await gateway.page('/status');
    for (const [name, number] of Object.entries(status.requests)) {
      assert.equal(digits(await cell(page, 'outcomes', name, 1)), number, name);
    }
    for (const [name, number] of Object.entries(status.upstream.requests)) {
      assert.equal(digits(await cell(page, 'results', name, 1)), number, name);
    }
    const share = parseFloat(await textOf(page, '#hit-ratio'));
    assert.ok(Math.abs(share - status.hit_ratio * 100) < 0.06, `${share} is not ${status.hit_ratio}`);
    assert.equal(await textOf(page, '#breaker'), status.upstream.breaker);
    assert.equal(digits(await textOf(page, '#quota')), Math.min(...Object.values(status.upstream.operations).flatMap(({ quota }) => Object.values(quota))));
    const { pace } = status.upstream.operations.GetImage;
    assert.deepEqual([digits(await cell(page, 'paces', 'GetImage', 1)), digits(await cell(page, 'paces', 'GetImage', 2))], [pace.per_second, pace.configured]);
    assert.match(await textOf(page, '#credential-source'), new RegExp(`static · ${status.credential.access_key_id.replaceAll('*', '\\*')}`));
    assert.match(await textOf(page, '#cache-entries'), new RegExp(`^${status.cache.entries} held, \\d+ not found`));
    assert.equal(digits(await textOf(page, '#connections')), status.connections);
    assert.ok(await page.locator('#catalogue-card').isHidden());
    assert.ok(load.failed === 0, `${load.failed} requests of the load failed`);
  });
  return { page, images };
}

async function takePicture(page, emulator, images) {
  await sleep(PICTURE_SECONDS * 400);
  await emulator.inject(
    { kind: 'throttle', times: 1, retry_after_ms: 400 },
    { kind: 'status', status: 503, code: 'ServiceUnavailable', after: 1, times: 2 },
  );
  await sleep(PICTURE_SECONDS * 600);
  await page.locator('#look-id').fill(images[1]);
  await page.locator('#look button[type=submit]').click();
  await page.locator('.variant').first().waitFor();
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await page.screenshot({ path: PICTURE, fullPage: true });
  const { size } = statSync(PICTURE);
  console.log(`docs/status-page.png: ${Math.round(size / 1024)} KiB`);
  assert.ok(size < MAX_PICTURE);
  await emulator.inject();
}

async function lookingUpAndPurging(gateway, page, images) {
  const [image] = images;
  const lookUp = async (id) => {
    await page.locator('#look-id').fill(id);
    await page.keyboard.press('Enter');
  };

  await check('a search explains the ttl of one image', async () => {
    await gateway.image(image);
    await lookUp(image);
    await page.locator('.variant').nth(1).waitFor();
    const { variants } = await gateway.page(`/entries/${image}`);
    for (const [index, variant] of variants.entries()) {
      const card = page.locator('.variant').nth(index);
      assert.equal(await card.locator('.pill').textContent(), variant.state);
      assert.equal(await card.locator('.explanation').textContent(), variant.explanation);
    }
    assert.match(await page.locator('.variant').first().textContent(), /ttl.*fresh until.*jitter/);
  });

  await check('an invalid ImageId is reported without a request', async () => {
    const before = page.asked.filter((request) => request.url().includes('/entries/')).length;
    await lookUp('../status');
    await page.locator('#look-answer .bad').waitFor();
    assert.equal(page.asked.filter((request) => request.url().includes('/entries/')).length, before);
  });

  const stateOf = async () => (await gateway.page(`/entries/${image}`)).variants[0].state;

  await check('a purge asks first, and what is cancelled purges nothing', async () => {
    await lookUp(image);
    await page.locator('#look-purge').click();
    assert.equal(await page.locator('#purge-target').inputValue(), image);
    await page.locator('#purge-go').click();
    assert.match(await textOf(page, '#purge-question'), new RegExp(`Purge image ${image}\\? `));
    await page.locator('#purge-cancel').click();
    await page.locator('#purge').waitFor({ state: 'hidden' });
    await page.locator('#look-purge').click();
    await page.locator('#purge-go').click();
    await page.keyboard.press('Escape');
    await page.locator('#purge').waitFor({ state: 'hidden' });
    assert.equal(purges(page), 0);
    assert.notEqual(await stateOf(), 'absent');
  });

  await check('a purge that is confirmed purges, and the page shows it', async () => {
    await page.locator('#look-purge').click();
    await page.locator('#purge-go').click();
    assert.equal(await textOf(page, '#purge-go'), 'Purge');
    await page.locator('#purge-go').click();
    await page.locator('#done').waitFor();
    assert.match(await textOf(page, '#done'), /^Purged: [12] entr/);
    assert.equal(await stateOf(), 'absent');
    await eventually('the page shows it', async () => (await page.locator('.variant .pill').first().textContent()) === 'absent');
    assert.equal(purges(page), 1);
    assert.equal(page.asked.find((request) => request.method() === 'POST').headers()['content-type'], 'application/json');
  });

  await check('a workspace must be named; everything is purged softly on request', async () => {
    await gateway.image(image);
    await page.locator('#open-purge').click();
    await page.getByLabel('a workspace').check();
    await page.locator('#purge-go').click();
    await page.locator('#purge-problem').waitFor();
    await page.getByLabel('everything').check();
    await page.getByLabel(/softly/).check();
    await page.locator('#purge-go').click();
    assert.match(await textOf(page, '#purge-question'), /^Purge everything that is held, softly\?/);
    assert.equal(purges(page), 1);
    await page.locator('#purge-go').click();
    await page.locator('#purge').waitFor({ state: 'hidden' });
    assert.equal(await stateOf(), 'stale');
    assert.deepEqual(page.asked.findLast((request) => request.method() === 'POST').postDataJSON(), { all: true, soft: true });
  });

  await check('all of it can be done by keyboard', async () => {
    await page.locator('#open-purge').focus();
    await page.keyboard.press('Enter');
    await page.locator('#purge[open]').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#purge').waitFor({ state: 'hidden' });
    assert.equal(await page.evaluate(() => document.activeElement.id), 'open-purge');
  });
}

async function appearance(page) {
  await check('a phone of 360 px needs no sideways scrolling', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    await sleep(1_500);
    const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= inner, `${wide} px of ${inner}`);
    await page.setViewportSize(DESKTOP);
  });

  await check('light and dark are both legible', async () => {
    const grounds = [];
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await sleep(400);
      grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      const { ratio, text } = await page.evaluate(worstContrast);
      assert.ok(ratio >= 4.5, `${colorScheme}: “${text}” has a contrast of ${ratio.toFixed(2)}`);
    }
    assert.notEqual(grounds[0], grounds[1]);
  });

  await check('a page that nobody looks at asks nothing', async () => {
    const hide = (hidden) => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    };
    await page.evaluate(hide, true);
    await sleep(1_500);
    const before = polls(page);
    await sleep(2_500);
    assert.equal(polls(page), before);
    await page.evaluate(hide, false);
    await eventually('it asks again', () => polls(page) > before);
  });
}

async function trouble(emulator, gateway, page, images) {
  await check('errors of the origin and the breaker show, and pass', async () => {
    assert.ok(await page.locator('#errors-empty').isVisible() || wantsPicture);
    await emulator.inject({ kind: 'status', status: 503, code: 'ServiceUnavailable' });
    await eventually('the breaker opens', async () => {
      for (const id of images.slice(0, 6)) {
        await gateway.purge({ image: id });
        await gateway.image(id);
      }
      return (await textOf(page, '#breaker')) === 'open';
    });
    const row = page.locator('#errors tr').first();
    await eventually('the errors show', async () => /server_error/.test(await row.textContent()));
    const [, operation, result, image, code, message, id] = await row.locator('td').allTextContents();
    const { recent_errors: errors } = await gateway.page('/status');
    const { time, ...rest } = errors.find((error) => error.request_id === id);
    assert.deepEqual({ operation, result, image_id: image, code, message, request_id: id }, rest);
    assert.equal(await row.locator('time').getAttribute('datetime') <= errors[0].time, true, time);
    await emulator.inject();
    await eventually('the breaker closes', async () => {
      await gateway.image(images[0]);
      return (await textOf(page, '#breaker')) === 'closed';
    }, 40_000);
  });
}

async function quiet(page) {
  await check('the console has no message, and no request leaves the origin', () => {
    assert.deepEqual(page.said, []);
    const foreign = page.asked.map((request) => request.url()).filter((url) => !url.startsWith(`${page.origin}/`) && !url.startsWith('data:'));
    assert.deepEqual(foreign, []);
  });
}

async function lists(browser, emulator) {
  // One round of walks: the numbers stand still afterwards.
  const settings = '[catalogue]\nworkspaces = ["15945", "20817"]\ninterval = "1h"\nanswer = false';
  const gateway = await Gateway.open(folder, 'listing', emulator, { settings });
  last.push(() => gateway.stop());
  const page = await open(browser, gateway);
  const fact = (row, name) => textOf(page, `#${row} [data-name="${name}"] dd`);
  const colour = (row, name) => page.locator(`#${row} [data-name="${name}"] dd`).evaluate((dd) => getComputedStyle(dd).color);
  const plain = await page.locator('#version').evaluate((dd) => getComputedStyle(dd).color);

  await check('lists and the catalogue have a row each', async () => {
    const { status } = await ask(gateway.address, '/api/v1/images');
    assert.equal(status, 200);
    // Of 60 images the emulator has 30 in the one workspace and 15 in the other; each fits on a page.
    await eventually('all are walked', async () => (await fact('catalogue', 'pages')) === '2');
    await eventually('the list shows', async () => (await fact('lists', 'pages')) === '1');
    assert.equal(await fact('catalogue', 'images'), '45');
    for (const name of ['changed', 'answered', 'mismatches']) assert.equal(await fact('catalogue', name), '0', name);
    assert.equal(await fact('catalogue', 'answering'), 'no');
    for (const workspace of ['15945', '20817']) {
      assert.match(await fact('walks', workspace), /^(\d+m )?\d+s ago, 1 page$/);
      assert.equal(await colour('walks', workspace), plain);
    }
    assert.equal(await colour('catalogue', 'mismatches'), plain);
  });

  await check('a paused workspace and a mismatch are amber', async () => {
    const status = await gateway.page('/status');
    status.catalogue.mismatches = 2;
    status.catalogue.answering = [true, false];
    Object.assign(status.catalogue.scopes[1], { paused: 'denied', last_walk: null });
    await page.route('**/status', (route) => route.fulfill({ json: status }));
    await eventually('it shows', async () => (await fact('catalogue', 'mismatches')) === '2');
    assert.equal(await fact('catalogue', 'answering'), 'Verbose=false');
    assert.equal(await fact('walks', '20817'), 'paused (denied), –');
    for (const [row, name] of [['catalogue', 'mismatches'], ['walks', '20817']]) assert.notEqual(await colour(row, name), plain, name);
    assert.equal(await colour('walks', '15945'), plain);
    const { ratio, text } = await page.evaluate(worstContrast);
    assert.ok(ratio >= 4.5, `“${text}” has a contrast of ${ratio.toFixed(2)}`);
    assert.deepEqual(page.said, []);
  });
  await page.close();
}

async function hostile(browser, gateway) {
  await check('what others wrote is shown as text', async () => {
    const page = await open(browser, gateway);
    const bait = '<img src=x onerror=alert(1)>';
    const status = await gateway.page('/status');
    status.top_images = [{ ImageId: bait, requests: 3 }];
    status.recent_errors = [{ time: bait, operation: bait, result: bait, image_id: bait, code: bait, message: bait, request_id: bait }];
    status.instance = { name: bait, origin: bait, region: bait, auth: bait };
    status.conditions = [{ condition: 'origin_fails', severity: bait, subject: bait, since: bait, count: 1, detail: bait, remedy: bait }, { condition: 'panics', severity: bait, subject: bait, since: bait, count: 1, detail: bait, remedy: bait }];
    status.stale_until = { images: 2, oldest: bait, newest: 'x' };
    status.clients = { seen: 1, busiest: [{ client: bait, requests: 1, rejected: 0, denied: 0, error: 0 }] };
    status.certificate = { expires_at: bait };
    status.catalogue = { images: 1, bytes: 1, max_bytes: 1, answering: [true, true], mismatches: 0, pages: 1, renewed: 0, changed: 0, answered: 0, scopes: [{ name: bait, last_walk: bait, pages: 1, paused: bait }] };
    status.credential = { source: bait, access_key_id: bait, expires_at: null, last_error: bait };
    await page.route('**/status', (route) => route.fulfill({ json: status }));
    await eventually('it shows', async () => (await textOf(page, '#credential-error')) === bait);
    assert.equal(await textOf(page, '#top li button'), bait);
    assert.deepEqual(await page.locator('#errors td').allTextContents(), Array(7).fill(bait));
    assert.equal(await textOf(page, '#walks dt'), bait);
    assert.equal(await page.locator('img').count(), 0);
    assert.deepEqual(page.said, []);
    await page.close();
  });
}

async function behindAToken(browser, emulator) {
  const gateway = await Gateway.open(folder, 'guarded', emulator, { token: TOKEN });
  last.push(() => gateway.stop());
  const page = await open(browser, gateway);
  const give = async (token) => {
    await page.getByLabel('Token').fill(token);
    await page.keyboard.press('Enter');
  };

  await check('where a token is set the page asks for it, and shows nothing before', async () => {
    await page.locator('#token-form').waitFor();
    assert.ok(await page.locator('#main').isHidden());
    assert.ok(await page.locator('#open-purge').isHidden());
    await sleep(1_500);
    assert.equal(polls(page), 0);
    assert.deepEqual(page.said, []);
  });

  await check('a wrong token is reported', async () => {
    await give('wrong');
    await eventually('the reason is shown', async () => /missing or wrong/.test(await textOf(page, '#token-reason')));
    assert.ok(await page.locator('#main').isHidden());
    // The browser itself reports the 401; the page reports nothing.
    assert.equal(page.said.length, 1);
    assert.match(page.said.pop(), /^error: Failed to load resource: .* 401/);
  });

  await check('the right one opens the page, and is sent along with a purge', async () => {
    await give(TOKEN);
    await page.locator('#main').waitFor();
    await page.locator('#open-purge').click();
    await page.getByLabel('everything').check();
    await page.locator('#purge-go').click();
    await page.locator('#purge-go').click();
    await page.locator('#done').waitFor();
    assert.equal(await textOf(page, '#done'), 'Purged: 0 entries.');
    await page.reload();
    await page.locator('#main').waitFor();
    assert.ok(page.asked.every((request) => !request.url().includes(TOKEN)));
  });
  await quiet(page);
  await page.close();
}

async function outOfReach(browser, emulator) {
  await check('a gateway that is gone is reported', async () => {
    const gateway = await Gateway.open(folder, 'leaving', emulator);
    const page = await open(browser, gateway);
    await page.locator('#main').waitFor();
    await gateway.stop();
    await page.locator('#notice').waitFor();
    assert.match(await textOf(page, '#notice'), /does not answer/);
    assert.equal(await textOf(page, '#ready'), 'out of reach');
    await page.close();
  });
}

async function main() {
  const browser = await launch(join(folder, 'profile'));
  last.push(() => browser.close());
  const emulator = await Emulator.open(folder);
  last.push(() => emulator.stop());
  const gateway = await Gateway.open(folder, 'gateway', emulator);
  last.push(() => gateway.stop());
  const { page, images } = await underLoad(browser, emulator, gateway);
  await lookingUpAndPurging(gateway, page, images);
  await trouble(emulator, gateway, page, images);
  await incident(browser, emulator, gateway, images);
  await appearance(page);
  await quiet(page);
  await lists(browser, emulator);
  await cards(browser, gateway);
  await accessibility(browser, gateway, images[0]);
  await hostile(browser, gateway);
  await behindAToken(browser, emulator);
  await outOfReach(browser, emulator);
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

try {
  await main();
} catch (error) {
  tally.failed += 1;
  console.log(`FAILED  ${error.stack ?? error}`);
} finally {
  for (const close of last.reverse()) await close().catch((error) => console.error(String(error)));
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${tally.passed} passed, ${tally.failed} failed`);
process.exit(tally.failed > 0 ? 1 : 0);
