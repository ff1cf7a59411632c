// Tables: requests by outcome, calls by result, the most requested images, the origin's latest errors.

import { at, element, say } from './dom.js';
import { latest } from './history.js';
import { lookUp } from './image.js';
import { NONE, brief, count, latency, moment, rate, span } from './units.js';
import { OUTCOMES, RESULTS } from './words.js';

/** Adds a row for each name, and returns a function that sets a row's cells. */
function rows(body, names, cells) {
  const made = names.map((name) => {
    const swatch = element('span', { className: `swatch c-${name}` });
    const row = element('tr', {}, element('th', { scope: 'row' }, swatch, name));
    const numbers = Array.from({ length: cells }, () => element('td', { text: NONE }));
    row.append(...numbers);
    row.dataset.name = name;
    body.append(row);
    return [name, { row, numbers }];
  });
  const byName = Object.fromEntries(made);
  return (name, texts, isIdle) => {
    const { row, numbers } = byName[name];
    numbers.forEach((cell, index) => say(cell, texts[index]));
    row.classList.toggle('idle', isIdle);
  };
}

const setOutcome = rows(at('outcomes'), OUTCOMES, 6);
const setResult = rows(at('results'), RESULTS, 2);

export function showOutcomes({ requests, latency_seconds: latencies, latency_floor_seconds: floor, recent }) {
  const point = latest();
  say(at('recent-period'), recent === null ? 'the last minutes' : `the last ${span(recent.seconds)}`);
  for (const name of OUTCOMES) {
    const [always, lately] = [latencies[name], recent?.latency_seconds[name]];
    const percentiles = [always?.p50, always?.p99, lately?.p50, lately?.p99];
    const times = percentiles.map((seconds) => (seconds === undefined ? NONE : latency(seconds, floor)));
    setOutcome(name, [count(requests[name]), rate(point?.requests[name]), ...times], requests[name] === 0);
  }
}

export function showResults(results) {
  const point = latest();
  for (const name of RESULTS) {
    setResult(name, [count(results[name]), rate(point?.results[name])], results[name] === 0);
  }
}

/** Shows a row for each operation that was called and has a pace. */
export function showPaces(operations) {
  const paced = Object.entries(operations).filter(([, { pace }]) => pace);
  const body = at('paces');
  while (body.children.length < paced.length) body.append(paceRow());
  while (body.children.length > paced.length) body.lastChild.remove();
  paced.forEach(([name, { pace }], index) => {
    const row = body.children[index];
    const notes = [pace.lowered && 'lowered by throttles', pace.alone && 'of this replica alone'].filter(Boolean);
    const texts = [name, rate(pace.per_second), rate(pace.configured), count(pace.waiting), latency(pace.wait_seconds)];
    texts.forEach((text, cell) => say(row.children[cell], text));
    row.dataset.name = name;
    row.dataset.state = notes.length ? 'warn' : 'good';
    row.children[1].title = notes.join(', ');
  });
  at('paces-empty').hidden = paced.length > 0;
}

function paceRow() {
  const cells = Array.from({ length: 4 }, () => element('td'));
  return element('tr', {}, element('th', { scope: 'row' }), ...cells);
}

export function showTop(images, { half_life_seconds: halfLife, one_in: oneIn }) {
  const list = at('top');
  while (list.children.length < images.length) list.append(topPlace());
  while (list.children.length > images.length) list.lastChild.remove();
  const most = images[0]?.requests ?? 1;
  images.forEach(({ ImageId, requests }, index) => {
    const [button, bar, number] = list.children[index].children;
    say(button, ImageId);
    bar.style.setProperty('--share', requests / most);
    say(number, brief(requests));
  });
  at('top-empty').hidden = images.length > 0;
  say(at('top-hint'), oneIn > 1 ? `estimated, by one request in ${oneIn}` : 'requests lately');
  at('top-hint').title = `A request counts half after ${span(halfLife)}.`;
}

function topPlace() {
  const button = element('button', { className: 'link' });
  button.type = 'button';
  button.title = 'Look it up';
  button.addEventListener('click', () => {
    at('look').scrollIntoView({ block: 'center' });
    lookUp(button.textContent);
  });
  return element('li', {}, button, element('span', { className: 'share' }), element('b'));
}

let newestErrors = '';

export function showErrors(errors) {
  const text = JSON.stringify(errors);
  if (text === newestErrors) return;
  newestErrors = text;
  at('errors-empty').hidden = errors.length > 0;
  at('errors-table').hidden = errors.length === 0;
  const cells = errors.map(({ time, operation, result, image_id: image, code, message, request_id: id }) => {
    const swatch = element('span', { className: `swatch c-${result}` });
    const when = element('time', { text: moment(time) });
    when.dateTime = time;
    return element(
      'tr',
      {},
      element('td', {}, when),
      element('td', { text: operation }),
      element('td', {}, swatch, result),
      element('td', { className: 'id', text: image ?? NONE }),
      element('td', { text: code ?? NONE }),
      element('td', { className: 'message', text: message ?? NONE }),
      element('td', { className: 'id', text: id ?? NONE }),
    );
  });
  at('errors').replaceChildren(...cells);
}
