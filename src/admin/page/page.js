// The status page: asks /status once a second while it is looked at, and draws what changed.
//
// Ids, codes and messages come from elsewhere: they are only ever set as text.

import { Chart, LONGEST } from './chart.js';
import { NONE, brief, bytes, count, latency, moment, percent, rate, span } from './units.js';

const PERIOD = 1_000;
const PERIOD_AFTER_FAILURE = 3_000;
const PATIENCE = 5_000;
/** The hit ratio of one second says little; that of these says more. */
const RATIO_SECONDS = 10;
const TOKEN = 'admin-token';

const OUTCOMES = ['hit', 'stale', 'coalesced', 'negative', 'miss', 'refresh', 'passthrough', 'denied', 'rejected', 'error'];
const FROM_MEMORY = ['hit', 'stale', 'coalesced', 'negative'];
const NO_LOOK_UP = ['denied', 'rejected', 'passthrough'];
const RESULTS = ['ok', 'not_found', 'forbidden', 'throttled', 'client_error', 'server_error', 'timeout', 'transport', 'credential'];

const at = (id) => document.getElementById(id);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Makes an element of this class and text, with children. */
function element(name, { className, text, scope } = {}, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (scope) made.scope = scope;
  made.append(...children);
  return made;
}

/** Sets a text, if it is another than before: a selection or a screen reader is not disturbed. */
function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// ---- asking

class Refused extends Error {}

let token = sessionStorage.getItem(TOKEN);

/** Asks this listener; the answer's JSON, with its `error` thrown where it is one. */
async function ask(path, order) {
  const headers = new Headers();
  if (token) headers.set('Authorization', `Bearer ${token}`);
  if (order) headers.set('Content-Type', 'application/json');
  const response = await fetch(path, {
    method: order ? 'POST' : 'GET',
    body: order ? JSON.stringify(order) : undefined,
    headers,
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
    signal: AbortSignal.timeout(PATIENCE),
  });
  const answer = await response.json();
  if (response.status === 401 || response.status === 403) throw new Refused(answer.error);
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

let polling = false;
let timer = null;

/** Looks once, and again in a second. A page that nobody looks at asks nothing. */
async function poll() {
  clearTimeout(timer);
  if (polling || document.hidden) return;
  polling = true;
  const began = performance.now();
  let pause = PERIOD;
  try {
    const answer = await ask('/status');
    at('token-form').hidden = true;
    at('main').hidden = false;
    at('open-purge').hidden = false;
    notify(null);
    show(answer);
  } catch (error) {
    if (error instanceof Refused) {
      askForToken(error.message);
      return;
    }
    pause = PERIOD_AFTER_FAILURE;
    setReady('unknown', 'out of reach');
    notify('The gateway does not answer. What is below is the last it said; asking again.');
  } finally {
    polling = false;
  }
  timer = setTimeout(poll, Math.max(100, pause - (performance.now() - began)));
}

function notify(text) {
  at('notice').hidden = text === null;
  say(at('notice'), text ?? '');
}

function askForToken(reason) {
  token = null;
  sessionStorage.removeItem(TOKEN);
  at('main').hidden = true;
  at('open-purge').hidden = true;
  at('purge').close();
  notify(null);
  setReady('unknown', 'locked');
  say(at('token-reason'), `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`);
  at('token-form').hidden = false;
  at('token').value = '';
  at('token').focus();
}

at('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token = at('token').value.trim();
  // What no header can carry is no token.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    askForToken('a token is printable and has no spaces');
    return;
  }
  sessionStorage.setItem(TOKEN, token);
  poll();
});

// ---- the last minutes

const seriesOf = (names) => names.toReversed().map((name) => ({ name, className: `c-${name}` }));
const inOrder = (series, values) => series.map(({ name }) => values[name]);
const outcomeSeries = seriesOf(OUTCOMES);
const resultSeries = seriesOf(RESULTS);

const charts = {
  requests: new Chart(at('chart-requests'), outcomeSeries, { format: rate, stacked: true, least: 1 }),
  ratio: new Chart(at('chart-ratio'), [{ name: `of the last ${RATIO_SECONDS} s`, className: 'c-ratio' }], {
    format: (share) => (share === 0 || share === 0.5 ? `${share * 100} %` : percent(share)),
    top: 1,
  }),
  upstream: new Chart(at('chart-upstream'), resultSeries, { format: rate, stacked: true, least: 1 }),
  flight: new Chart(at('chart-flight'), [{ name: 'on the wire', className: 'c-flight' }], {
    format: (number) => (number === null ? NONE : rate(number)),
    least: 2,
  }),
};

let last = null;
let points = [];

/** What went on between two looks, a second; `null` when the gateway was restarted between them. */
function between(before, after, seconds) {
  const rates = (key, names) =>
    Object.fromEntries(names.map((name) => [name, (key(after)[name] - key(before)[name]) / seconds]));
  const requests = rates((status) => status.requests, OUTCOMES);
  const results = rates((status) => status.upstream.requests, RESULTS);
  const restarted = Object.values({ ...requests, ...results }).some((number) => number < 0);
  if (restarted || seconds <= 0 || after.uptime_seconds < before.uptime_seconds) return null;
  return { requests, results, seconds };
}

function remember(status, time) {
  if (last) {
    const point = between(last.status, status, time - last.time);
    if (point) points.push({ time, flight: status.upstream.in_flight, ...point });
    else points = [];
  }
  points = points.filter((point) => time - point.time <= LONGEST);
  last = { status, time };
}

/** The share answered from memory among the look-ups of the seconds up to this one. */
function ratioUpTo(point) {
  const lately = points.filter(({ time }) => time <= point.time && point.time - time < RATIO_SECONDS);
  const total = (names) => sum(lately.map(({ requests, seconds }) => sum(names.map((name) => requests[name])) * seconds));
  const lookUps = total(OUTCOMES.filter((name) => !NO_LOOK_UP.includes(name)));
  return lookUps > 0.5 ? total(FROM_MEMORY) / lookUps : null;
}

function drawCharts() {
  const each = (values) => points.map((point) => ({ time: point.time, values: values(point) }));
  charts.requests.show(each(({ requests }) => inOrder(outcomeSeries, requests)));
  charts.ratio.show(each((point) => [ratioUpTo(point)]));
  charts.upstream.show(each(({ results }) => inOrder(resultSeries, results)));
  charts.flight.show(each(({ flight }) => [flight]));
}

// ---- what is now

function setReady(state, text) {
  at('ready').dataset.state = state;
  say(at('ready'), text);
}

function show(status) {
  // By its own clock: how long an answer was on the way does not matter.
  const time = Date.parse(status.time) / 1_000;
  remember(status, time);
  setReady(status.ready ? 'good' : 'bad', status.ready ? 'ready' : 'not ready');
  say(at('version'), status.version);
  say(at('uptime'), span(status.uptime_seconds));
  say(at('connections'), count(status.connections));
  showTraffic(status);
  showOrigin(status.upstream);
  showCache(status.cache);
  showCredential(status.credential, time);
  showOutcomes(status);
  showResults(status.upstream.requests);
  showTop(status.top_images, status.top_images_estimate);
  showErrors(status.recent_errors);
  drawCharts();
}

function showTraffic(status) {
  const point = points.at(-1);
  const ratio = point ? ratioUpTo(point) : null;
  say(at('hit-ratio'), percent(status.hit_ratio));
  say(at('hit-ratio-now'), ratio === null ? 'no GetImage lately' : `${percent(ratio)} in the last ${RATIO_SECONDS} s`);
  const total = sum(Object.values(status.requests));
  figure('request-rate', point ? sum(Object.values(point.requests)) : null);
  say(at('request-total'), `${count(total)} since the start`);
  figure('stale-rate', point?.requests.stale ?? null);
  say(at('stale-total'), `${count(status.requests.stale)} since the start`);
  at('tile-stale').dataset.state = point?.requests.stale > 0 ? 'warn' : 'good';
}

/** A rate in large letters, its unit in small ones. */
function figure(id, perSecond) {
  if (perSecond === null) say(at(id), NONE);
  else at(id).replaceChildren(rate(perSecond), element('small', { text: ' /s' }));
}

function showOrigin({ breaker, in_flight: inFlight, quota }) {
  say(at('breaker'), breaker);
  at('tile-breaker').dataset.state = { closed: 'good', probing: 'warn', open: 'bad' }[breaker] ?? 'warn';
  say(at('in-flight'), `${count(inFlight)} ${inFlight === 1 ? 'call' : 'calls'} in flight`);
  const scopes = Object.entries(quota);
  say(at('quota'), scopes.length ? brief(Math.min(...scopes.map(([, left]) => left))) : NONE);
  const told = scopes.map(([scope, left]) => `${scope} ${brief(left)}`).join(' · ');
  say(at('quota-scope'), told || 'the origin names none');
}

function showCache(cache) {
  say(at('cache-bytes'), bytes(cache.bytes));
  at('cache-fill').value = cache.max_bytes ? cache.bytes / cache.max_bytes : 0;
  say(at('cache-title'), `Cache, of ${bytes(cache.max_bytes)}`);
  say(at('cache-entries'), `${brief(cache.entries)} held, ${brief(cache.negative_entries)} not found`);
}

function showCredential(credential, now) {
  const left = credential.expires_at ? Date.parse(credential.expires_at) / 1_000 - now : null;
  const state = !credential.source || (left !== null && left <= 0) ? 'bad' : credential.last_error || (left !== null && left < 60) ? 'warn' : 'good';
  at('tile-credential').dataset.state = state;
  if (!credential.source) say(at('credential-expiry'), 'none');
  else if (left === null) say(at('credential-expiry'), 'does not expire');
  else say(at('credential-expiry'), left > 0 ? span(left) : 'expired');
  at('credential-expiry').classList.toggle('long', credential.source !== null && left === null);
  say(at('credential-source'), [credential.source, credential.access_key_id].filter(Boolean).join(' · ') || 'no source gave one');
  at('credential-error').hidden = !credential.last_error;
  say(at('credential-error'), credential.last_error ?? '');
}

// ---- tables

/** Makes a row for each name, and returns how to set its cells. */
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

const setOutcome = rows(at('outcomes'), OUTCOMES, 4);
const setResult = rows(at('results'), RESULTS, 2);

function showOutcomes({ requests, latency_seconds: latencies }) {
  const point = points.at(-1);
  for (const name of OUTCOMES) {
    const { p50, p99 } = latencies[name] ?? {};
    const times = [p50, p99].map((seconds) => (seconds === undefined ? NONE : latency(seconds)));
    setOutcome(name, [count(requests[name]), rate(point?.requests[name]), ...times], requests[name] === 0);
  }
}

function showResults(results) {
  const point = points.at(-1);
  for (const name of RESULTS) {
    setResult(name, [count(results[name]), rate(point?.results[name])], results[name] === 0);
  }
}

function showTop(images, { half_life_seconds: halfLife, one_in: oneIn }) {
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
    at('look-id').value = button.textContent;
    lookUp();
    at('look').scrollIntoView({ block: 'center' });
  });
  return element('li', {}, button, element('span', { className: 'share' }), element('b'));
}

let newestErrors = '';

function showErrors(errors) {
  const told = JSON.stringify(errors);
  if (told === newestErrors) return;
  newestErrors = told;
  at('errors-empty').hidden = errors.length > 0;
  at('errors-table').hidden = errors.length === 0;
  const cells = errors.map(({ time, operation, result, code, request_id: id }) => {
    const swatch = element('span', { className: `swatch c-${result}` });
    const when = element('time', { text: moment(time) });
    when.dateTime = time;
    return element(
      'tr',
      {},
      element('td', {}, when),
      element('td', { text: operation }),
      element('td', {}, swatch, result),
      element('td', { text: code ?? NONE }),
      element('td', { className: 'id', text: id ?? NONE }),
    );
  });
  at('errors').replaceChildren(...cells);
}

// ---- one image

const STATES = { fresh: 'good', stale: 'warn', negative: 'warn', absent: 'unknown' };

at('look').addEventListener('submit', (event) => {
  event.preventDefault();
  lookUp();
});

at('look-id').addEventListener('input', () => {
  at('look-purge').hidden = true;
});

async function lookUp() {
  const id = at('look-id').value.trim();
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
    if (error instanceof Refused) askForToken(error.message);
    else at('look-answer').replaceChildren(element('p', { className: 'bad', text: `That could not be asked: ${error.message}` }));
  }
}

const NO_IMAGE_ID = 'An ImageId has 1 to 128 letters, digits, “-” or “_”, and starts with a letter or a digit.';

function isImageId(text) {
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

// ---- purging

/** What is to be purged, once it was asked about. */
let order = null;

const scopes = document.querySelectorAll('input[name="scope"]');
const chosenScope = () => [...scopes].find((radio) => radio.checked).value;

function openPurge(image) {
  scopes.forEach((radio) => { radio.checked = radio.value === 'image'; });
  at('purge-target').value = image;
  at('purge-soft').checked = false;
  choose();
  at('purge').showModal();
}

/** The first step: what. */
function choose() {
  order = null;
  const scope = chosenScope();
  at('purge-what').hidden = false;
  at('purge-question').hidden = true;
  at('purge-target-label').hidden = scope === 'all';
  at('purge-target-label').firstChild.textContent = scope === 'workspace' ? 'WorkspaceId ' : 'ImageId ';
  say(at('purge-go'), 'Continue…');
  at('purge-go').classList.remove('danger');
  complain(null);
}

/** The second: is that what you want? */
function confirmPurge() {
  const [scope, target, soft] = [chosenScope(), at('purge-target').value.trim(), at('purge-soft').checked];
  if (scope === 'image' && !isImageId(target)) return complain(NO_IMAGE_ID);
  if (scope === 'workspace' && target === '') return complain('Name a WorkspaceId.');
  order = { [scope]: scope === 'all' ? true : target };
  if (soft) order.soft = true;
  const what = { image: `image ${target}`, workspace: `every image of workspace ${target}`, all: 'everything that is held' }[scope];
  const then = soft
    ? 'It counts as stale: the next request fetches it again, and it still answers while the origin fails.'
    : 'Nothing of it is left then, not even for when the origin fails; the next request fetches it again.';
  say(at('purge-question'), `Purge ${what}${soft ? ', softly' : ''}? ${then}`);
  at('purge-what').hidden = true;
  at('purge-question').hidden = false;
  say(at('purge-go'), 'Purge');
  at('purge-go').classList.add('danger');
  complain(null);
  at('purge-cancel').focus();
}

async function purge() {
  at('purge-go').disabled = true;
  try {
    const { purged } = await ask('/purge', order);
    at('purge').close();
    notifyOnce(`Purged: ${count(purged)} ${purged === 1 ? 'entry' : 'entries'}.`);
    if (isImageId(at('look-id').value.trim())) await lookUp();
  } catch (error) {
    if (error instanceof Refused) askForToken(error.message);
    else complain(`That was not purged: ${error.message}`);
  } finally {
    at('purge-go').disabled = false;
  }
}

function complain(problem) {
  at('purge-problem').hidden = problem === null;
  say(at('purge-problem'), problem ?? '');
}

function notifyOnce(text) {
  say(at('done'), text);
  at('done').hidden = false;
  setTimeout(() => { at('done').hidden = true; }, 6_000);
}

at('open-purge').addEventListener('click', () => openPurge(''));
at('look-purge').addEventListener('click', () => openPurge(at('look-id').value.trim()));
at('purge-cancel').addEventListener('click', () => at('purge').close());
at('purge').addEventListener('close', () => { order = null; });
scopes.forEach((radio) => radio.addEventListener('change', choose));
at('purge-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (order) purge();
  else confirmPurge();
});

// ---- begin

document.addEventListener('visibilitychange', poll);
const needsToken = document.querySelector('meta[name="admin-token"]').content === 'needed';
if (needsToken && !token) askForToken('this listener asks for the admin token');
else poll();
