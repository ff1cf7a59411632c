// Lists and the catalogue: what is held of them, and each scope's last walk.

import { at } from './dom.js';
import { showFacts } from './facts.js';
import { NONE, brief, bytes, span } from './units.js';

export function showLists({ pages, bytes: held, max_bytes: bound }) {
  showFacts('lists', [['pages', brief(pages)], ['memory', `${bytes(held)} of ${bytes(bound)}`]]);
}

/** Shows the catalogue, if there is one. A mismatch and a scope that is not walked now are amber. */
export function showCatalogue(catalogue, now) {
  at('catalogue-card').hidden = catalogue === null;
  if (catalogue === null) return;
  const counts = ['pages', 'renewed', 'changed', 'answered'].map((name) => [name, brief(catalogue[name])]);
  showFacts('catalogue', [
    ['images', brief(catalogue.images)],
    ['memory', `${bytes(catalogue.bytes)} of ${bytes(catalogue.max_bytes)}`],
    ...counts,
    ['mismatches', brief(catalogue.mismatches), catalogue.mismatches > 0],
    ['answering', answering(catalogue.answering)],
  ]);
  showFacts('walks', catalogue.scopes.map((scope) => [scope.name, lastWalk(scope, now), scope.paused !== null]));
}

function answering(byVerbose) {
  if (byVerbose.every(Boolean)) return 'yes';
  const verbose = byVerbose.indexOf(true);
  return verbose < 0 ? 'no' : `Verbose=${verbose === 1}`;
}

function lastWalk({ last_walk: ended, pages, paused }, now) {
  const ago = ended === null ? NONE : `${span(now - Date.parse(ended) / 1_000)} ago, ${brief(pages)} ${pages === 1 ? 'page' : 'pages'}`;
  return paused === null ? ago : `paused (${paused}), ${ago}`;
}
