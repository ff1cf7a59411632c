// Accessibility of the page by axe-core: WCAG 2.1 A and AA and its best practices, light and dark.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { open } from './browser.mjs';
import { check, pretend } from './checks.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];

/** Returns a line for each rule that the page breaks, and the elements. */
async function violations(page) {
  await page.evaluate(AXE);
  // Without `preload`, which would request the stylesheet again.
  const { violations: found, passes } = await page.evaluate((tags) => globalThis.axe.run(document, { preload: false, runOnly: tags }), TAGS);
  assert.ok(passes.length > 10, `only ${passes.length} rules apply`);
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
}

export async function accessibility(browser, gateway, image) {
  const page = await open(browser, gateway);
  await page.locator('#main').waitFor();
  await pretend(page, gateway, (status) => {
    const held = { subject: 'GetImage', since: status.time, count: 1, detail: 'status 503', remedy: 'wait' };
    status.conditions = [{ condition: 'origin_fails', severity: 'warn', ...held }, { condition: 'panics', severity: 'error', ...held }];
    status.shared_cache = { up: false, breaker: 'open', replicas: 2, unheard_orders: 1, requests: {} };
    status.certificate = { expires_at: status.time };
  });
  await page.locator('#banner').waitFor();
  await page.locator('#look-id').fill(image);
  await page.keyboard.press('Enter');
  await page.locator('.variant').first().waitFor();
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await check(`axe finds nothing on the page, ${colorScheme}`, async () => assert.deepEqual(await violations(page), []));
    await page.locator('#open-purge').click();
    await check(`axe finds nothing in the dialog, ${colorScheme}`, async () => assert.deepEqual(await violations(page), []));
    await page.keyboard.press('Escape');
  }
  await page.close();
}
