// Runs checks and counts their results; reads texts of the page.

export const tally = { passed: 0, failed: 0 };

/** Runs one check, and prints its result. */
export async function check(name, body) {
  try {
    await body();
    tally.passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    tally.failed += 1;
    console.log(`FAILED  ${name}\n${String(error.stack ?? error).replace(/^/gm, '        ')}`);
  }
}

export const textOf = (page, selector) => page.locator(selector).textContent();
export const cell = (page, table, name, index) => textOf(page, `#${table} tr[data-name="${name}"] td:nth-of-type(${index})`);
export const fact = (page, row, name) => textOf(page, `#${row} > div[data-name="${name}"] dd`);
export const stateOf = (page, row, name) => page.locator(`#${row} > div[data-name="${name}"]`).getAttribute('data-state');
export const digits = (text) => Number(text.replaceAll(',', ''));

/** Has the page get this status from now on, changed by `change`. */
export async function pretend(page, gateway, change) {
  const status = await gateway.page('/status');
  change(status);
  await page.unroute('**/status');
  await page.route('**/status', (route) => route.fulfill({ json: status }));
}
