// Rows of facts: a term and its value each.

import { at, element, say } from './dom.js';

/** Shows pairs of a term and its value in a row, those whose third element is true in amber. */
export function showFacts(id, facts) {
  const row = at(id);
  while (row.children.length < facts.length) row.append(element('div', {}, element('dt'), element('dd')));
  while (row.children.length > facts.length) row.lastChild.remove();
  facts.forEach(([term, value, isAmber = false], index) => {
    const fact = row.children[index];
    const [dt, dd] = fact.children;
    say(dt, term);
    say(dd, value);
    fact.dataset.name = term;
    fact.dataset.state = isAmber ? 'warn' : 'good';
  });
}
