// One image: its cache entries, and the reasons for their ttl.

import { Refused, ask } from './ask.js';
import { at, element } from './dom.js';
import { moment, span } from './units.js';

const STATES = { fresh: 'good', stale: 'warn', negative: 'warn', absent: 'unknown' };

at('look').addEventListener('submit', (event) => {
  event.preventDefault();
  lookUp(at('look-id').value.trim());
});

at('look-id').addEventListener('input', () => {
  at('look-purge').hidden = true;
});

/** Shows the cache entries of this image. */
export async function lookUp(id) {
  at('look-id').value = id;
  at('look-purge').hidden = true;
  if (!isImageId(id)) {
    at('look-answer').replaceChildren(element('p', { className: 'bad', text: NO_IMAGE_ID }));
    return;
  }
  try {
    const { variants } = await ask(`/entries/${id}`);
    if (at('look-id').value.trim() !== id) return;
    at('look-answer').replaceChildren(...variants.map(variant));
    at('look-purge').hidden = variants.every(({ state }) => state === 'absent');
  } catch (error) {
    if (error instanceof Refused) return;
    at('look-answer').replaceChildren(element('p', { className: 'bad', text: `That could not be asked: ${error.message}` }));
  }
}

export const NO_IMAGE_ID = 'An ImageId has 1 to 128 letters, digits, “-” or “_”, and starts with a letter or a digit.';

export function isImageId(text) {
  return /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(text);
}

function variant(entry) {
  const state = element('span', { className: 'pill', text: entry.state });
  state.dataset.state = STATES[entry.state] ?? 'unknown';
  const title = element('h3', { text: entry.verbose ? 'With labels ' : 'Without labels ' }, state);
  const card = element('article', { className: 'variant' }, title);
  card.dataset.verbose = entry.verbose;
  if (entry.ttl_seconds !== undefined) {
    const age = element('meter');
    Object.assign(age, { min: 0, max: Math.max(entry.ttl_seconds, 1), value: Math.min(entry.age_seconds, entry.ttl_seconds) });
    age.setAttribute('aria-label', 'Age within its ttl');
    card.append(age);
  }
  card.append(element('p', { className: 'explanation', text: entry.explanation }));
  const facts = [
    ['age', entry.age_seconds, span],
    ['ttl', entry.ttl_seconds, span],
    ['fresh until', entry.fresh_until, moment],
    ['stale until', entry.stale_until, moment],
    ['stored', entry.stored_at, moment],
    ['changed', entry.gmt_modified, moment],
    ['quiet for', entry.quiet_seconds, span],
    ['base', entry.base_seconds, span],
    ['ceiling', entry.ceiling_seconds, span],
    ['jitter', entry.jitter, (factor) => `× ${factor.toFixed(3)}`],
    ['by', entry.source, String],
    ['last fetch', entry.last_result, String],
  ];
  const known = facts.filter(([, value]) => value !== undefined && value !== null);
  const list = element('dl', { className: 'facts' });
  for (const [name, value, format] of known) {
    list.append(element('div', {}, element('dt', { text: name }), element('dd', { text: format(value) })));
  }
  card.append(list);
  return card;
}
