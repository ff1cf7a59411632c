// One image: what is held of it, and why for how long.

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

/** Shows what is held of this image. */
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

function variant(held) {
  const state = element('span', { className: 'pill', text: held.state });
  state.dataset.state = STATES[held.state] ?? 'unknown';
  const title = element('h3', { text: held.verbose ? 'With labels ' : 'Without labels ' }, state);
  const card = element('article', { className: 'variant' }, title);
  card.dataset.verbose = held.verbose;
  if (held.ttl_seconds !== undefined) {
    const age = element('meter');
    Object.assign(age, { min: 0, max: Math.max(held.ttl_seconds, 1), value: Math.min(held.age_seconds, held.ttl_seconds) });
    age.setAttribute('aria-label', 'Age within its ttl');
    card.append(age);
  }
  card.append(element('p', { className: 'explanation', text: held.explanation }));
  const facts = [
    ['age', held.age_seconds, span],
    ['ttl', held.ttl_seconds, span],
    ['fresh until', held.fresh_until, moment],
    ['stale until', held.stale_until, moment],
    ['stored', held.stored_at, moment],
    ['changed', held.gmt_modified, moment],
    ['quiet for', held.quiet_seconds, span],
    ['base', held.base_seconds, span],
    ['ceiling', held.ceiling_seconds, span],
    ['jitter', held.jitter, (factor) => `× ${factor.toFixed(3)}`],
    ['by', held.source, String],
    ['last fetch', held.last_result, String],
  ];
  const known = facts.filter(([, value]) => value !== undefined && value !== null);
  const list = element('dl', { className: 'facts' });
  for (const [name, value, format] of known) {
    list.append(element('div', {}, element('dt', { text: name }), element('dd', { text: format(value) })));
  }
  card.append(list);
  return card;
}
