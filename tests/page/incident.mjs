// What the page says during an incident, and after it.

import assert from 'node:assert/strict';

import { open } from './browser.mjs';
import { cell, check, fact, pretend, stateOf, textOf } from './checks.mjs';
import { POD_NAME, eventually } from './processes.mjs';

/** The clock's time as the page writes it, in the browser's own time zone. */
const clock = (page, text) => page.evaluate((time) => new Date(time).toTimeString().slice(0, 8), text);

export async function incident(browser, emulator, gateway, images) {
  const page = await open(browser, gateway);

  await check('the head and the title name the instance', async () => {
    await eventually('it shows', async () => (await textOf(page, '#instance')) === POD_NAME);
    assert.equal(await page.title(), `${POD_NAME} · PAI image gateway`);
    assert.equal(await textOf(page, '#origin'), emulator.address);
    assert.equal(await textOf(page, '#auth'), 'none');
    assert.ok(await page.locator('#region-fact').isHidden());
  });

  await check('a banner says what is wrong, since when, who is affected and until when stale answers last', async () => {
    await eventually('nothing is wrong', () => page.locator('#banner').isHidden(), 30_000);
    await gateway.image(images[0]);
    await emulator.inject({ kind: 'status', status: 503, code: 'ServiceUnavailable' });
    await gateway.purge({ image: images[0], soft: true });
    await gateway.image(images[0]);
    await page.locator('#banner').waitFor();
    assert.equal(await textOf(page, '#banner-cause'), 'The origin fails (GetImage).');
    const { conditions, stale_until: until } = await gateway.page('/status');
    const { since, remedy } = conditions.find(({ condition }) => condition === 'origin_fails');
    assert.equal(await textOf(page, '#banner-since'), `Since ${await clock(page, since)}.`);
    assert.equal(await textOf(page, '#banner-affected'), 'Clients that ask for images that are not cached get errors.');
    const stale = await textOf(page, '#banner-stale');
    assert.match(stale, /^Stale answers last until /);
    assert.ok(stale.includes(await clock(page, until.oldest)), stale);
    assert.equal(await textOf(page, '#banner-remedy'), `To do: ${remedy}.`);
    assert.match(await textOf(page, '#banner-detail'), /status 503, Code "ServiceUnavailable"/);
  });

  await check('an error of the origin shows its image and its message', async () => {
    const row = page.locator('#errors tr').first();
    await eventually('it shows', async () => /server_error/.test(await row.textContent()));
    const { recent_errors: [error] } = await gateway.page('/status');
    const [, operation, result, image, code, message, id] = await row.locator('td').allTextContents();
    const { time, ...rest } = error;
    assert.deepEqual({ operation, result, image_id: image, code, message, request_id: id }, rest, time);
    assert.equal(image, images[0]);
    assert.notEqual(message, '–');
  });

  await check('stale answers are split by reason', async () => {
    const reasons = /(\d+) origin-error/;
    await eventually('it shows', async () => reasons.test(await textOf(page, '#stale-reasons')));
    const { stale } = await gateway.page('/status');
    assert.equal(Number(reasons.exec(await textOf(page, '#stale-reasons'))[1]), stale['origin-error']);
  });

  await check('the banner goes when the origin answers again', async () => {
    await emulator.inject();
    await eventually('it is gone', async () => {
      await gateway.image(images[0], { 'cache-control': 'no-cache' });
      return page.locator('#banner').isHidden();
    }, 60_000);
  });
  await page.close();

  await check('a page that is opened after the incident shows it', async () => {
    const failures = (columns) => columns.upstream.requests.server_error.some((count) => count > 0);
    await eventually('the gateway has it', async () => failures(await gateway.page('/status/history')), 30_000);
    const later = await open(browser, gateway);
    await later.locator('#chart-upstream path.c-server_error').waitFor({ state: 'attached' });
    await later.locator('#chart-latency path.line').first().waitFor({ state: 'attached' });
    const ticks = await later.locator('#chart-upstream .tick').allTextContents();
    assert.ok(ticks.some((text) => /^−(\d+) min$/.test(text)), ticks.join());
    await later.getByLabel('five minutes').check();
    assert.deepEqual(later.said, []);
    await later.close();
  });
}

export async function cards(browser, gateway) {
  const page = await open(browser, gateway);

  await check('the gravest of several conditions is the banner, the others stand below it', async () => {
    const held = (condition, severity) => ({ condition, severity, subject: '', since: '2026-01-02T03:04:05Z', count: 1, detail: '', remedy: 'act' });
    await pretend(page, gateway, (status) => {
      status.conditions = [held('panics', 'error'), held('credential_refused', 'error'), held('clock_wrong', 'warn'), held('sign_ins_refused', 'info')];
      status.stale_until = null;
    });
    await page.locator('#banner[data-state="bad"]').waitFor();
    assert.equal(await textOf(page, '#banner-cause'), 'The origin refuses the gateway’s credential.');
    assert.match(await textOf(page, '#banner-since'), /^Since 2026-01-0[123] /);
    assert.equal(await textOf(page, '#banner-stale'), 'No image is cached, so none is answered.');
    const others = await page.locator('#banner-others li').allTextContents();
    assert.equal(others.length, 2);
    assert.match(others[0], /^Requests ended in a defect of the gateway, since /);
  });

  await check('what is shorter than the first bucket is not told exactly', async () => {
    await pretend(page, gateway, (status) => {
      status.latency_seconds.hit = { p50: 0.000025, p99: 0.00012 };
      status.recent = { seconds: 300, latency_seconds: { hit: { p50: 0.00005, p99: 0.002 } } };
    });
    await eventually('it shows', async () => (await cell(page, 'outcomes', 'hit', 6)) === '2.0 ms');
    const cells = await Promise.all([3, 4, 5].map((index) => cell(page, 'outcomes', 'hit', index)));
    assert.deepEqual(cells, ['< 50 µs', '120 µs', '< 50 µs']);
    assert.equal(await textOf(page, '#recent-period'), 'the last 5m');
  });

  await check('parts that are off have no card, and clients have one', async () => {
    for (const card of ['#shared-card', '#certificate-card']) assert.ok(await page.locator(card).isHidden(), card);
    assert.equal(await fact(page, 'refusals', 'authentication'), 'none');
    assert.match(await fact(page, 'clients', 'anonymous'), /^[\d.KM,]+ requests/);
  });

  const shared = { up: true, breaker: 'closed', replicas: 3, unheard_orders: 0, requests: { get: { hit: 5, timeout: 1 } } };
  const inDays = (days) => new Date(Date.now() + days * 86_400_000).toISOString();

  await check('the shared cache and the certificate are plain while they work', async () => {
    await pretend(page, gateway, (status) => {
      Object.assign(status, { shared_cache: shared, certificate: { expires_at: inDays(60) } });
      status.refusals.authentication = { unknown_key: 4 };
    });
    await page.locator('#shared-card').waitFor();
    assert.equal(await fact(page, 'shared', 'state'), 'connected');
    assert.deepEqual([await fact(page, 'shared', 'commands'), await fact(page, 'shared', 'failed')], ['6', '1']);
    assert.match(await fact(page, 'certificate', 'expires'), /\(in (59d \d+h|60d)\)$/);
    assert.equal(await fact(page, 'refusals', 'not authenticated'), '4 unknown key');
    assert.equal(await page.locator('.facts [data-state="warn"]').count(), 0);
  });

  await check('they are amber when they need a look', async () => {
    await pretend(page, gateway, (status) => {
      status.shared_cache = { ...shared, up: false, breaker: 'open', unheard_orders: 2 };
      status.certificate = { expires_at: inDays(2) };
    });
    await eventually('it shows', async () => (await fact(page, 'shared', 'state')) === 'lost');
    for (const name of ['state', 'breaker', 'purges waiting']) assert.equal(await stateOf(page, 'shared', name), 'warn', name);
    assert.equal(await stateOf(page, 'shared', 'replicas'), 'good');
    assert.equal(await stateOf(page, 'certificate', 'expires'), 'warn');
    assert.deepEqual(page.said, []);
  });
  await page.close();
}
