// The status page: polls /status once a second while it is visible, and updates the figures.

import { Refused, ask, hasToken, setToken } from './ask.js';
import { showBanner } from './banner.js';
import { showCards } from './cards.js';
import { at, element, say } from './dom.js';
import { RATIO_SECONDS, drawCharts, latest, ratioNow, recall, remember } from './history.js';
import { showCatalogue, showLists } from './lists.js';
import './purge.js';
import { showErrors, showOutcomes, showPaces, showResults, showTop } from './tables.js';
import { NONE, brief, bytes, count, percent, rate, span, sum } from './units.js';
import { STALE_REASONS, breakerState } from './words.js';

const PERIOD = 1_000;
const PERIOD_AFTER_FAILURE = 3_000;

let polling = false;
let timer = null;

/** Polls once, and again in a second. A hidden page does not poll. */
async function poll() {
  clearTimeout(timer);
  if (polling || document.hidden) return;
  polling = true;
  const began = performance.now();
  let pause = PERIOD;
  try {
    const answer = await ask('/status');
    await recall(answer);
    at('token-form').hidden = true;
    at('main').hidden = false;
    at('open-purge').hidden = false;
    notify(null);
    show(answer);
  } catch (error) {
    if (error instanceof Refused) return;
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
  setToken(null);
  at('main').hidden = true;
  at('open-purge').hidden = true;
  notify(null);
  setReady('unknown', 'locked');
  say(at('token-reason'), `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`);
  at('token-form').hidden = false;
  at('token').value = '';
  at('token').focus();
}

at('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = at('token').value.trim();
  // A header can carry printable ASCII only.
  if (!/^[\x21-\x7e]+$/.test(given)) {
    askForToken('a token is printable and has no spaces');
    return;
  }
  setToken(given);
  poll();
});

function setReady(state, text) {
  at('ready').dataset.state = state;
  say(at('ready'), text);
}

function show(status) {
  // The gateway's own clock: the time that the response was on the way does not matter.
  const time = Date.parse(status.time) / 1_000;
  remember(status, time);
  setReady(status.ready ? 'good' : 'bad', status.ready ? 'ready' : 'not ready');
  showInstance(status.instance);
  say(at('version'), status.version);
  say(at('uptime'), span(status.uptime_seconds));
  say(at('connections'), count(status.connections));
  showBanner(status);
  showTraffic(status);
  showOrigin(status.upstream);
  showCache(status.cache);
  showCredential(status.credential, time);
  showOutcomes(status);
  showResults(status.upstream.requests);
  showPaces(status.upstream.operations);
  showCards(status, time);
  showLists(status.lists);
  showCatalogue(status.catalogue, time);
  showTop(status.top_images, status.top_images_estimate);
  showErrors(status.recent_errors);
  drawCharts();
}

function showInstance({ name, origin, region, auth }) {
  say(at('instance'), name);
  document.title = name ? `${name} · PAI image gateway` : 'PAI image gateway';
  say(at('origin'), origin);
  at('region-fact').hidden = region === null;
  say(at('region'), region ?? '');
  say(at('auth'), auth);
}

function showTraffic(status) {
  const point = latest();
  const ratio = ratioNow();
  say(at('hit-ratio'), percent(status.hit_ratio));
  say(at('hit-ratio-now'), ratio === null ? 'no GetImage lately' : `${percent(ratio)} in the last ${RATIO_SECONDS} s`);
  const total = sum(Object.values(status.requests));
  figure('request-rate', point ? sum(Object.values(point.requests)) : null);
  say(at('request-total'), `${count(total)} since the start`);
  figure('stale-rate', point?.requests.stale ?? null);
  say(at('stale-total'), `${count(status.requests.stale)} since the start`);
  const reasons = STALE_REASONS.filter((reason) => status.stale[reason] > 0);
  say(at('stale-reasons'), reasons.map((reason) => `${brief(status.stale[reason])} ${reason}`).join(', '));
  // Answers that are refreshed in the background are how the cache works; the other reasons need a look.
  const needsLook = point?.stale['origin-error'] > 0 || point?.stale['over-budget'] > 0;
  at('tile-stale').dataset.state = needsLook ? 'warn' : 'good';
}

/** Shows a rate in large letters, with its unit in small ones. */
function figure(id, perSecond) {
  if (perSecond === null) say(at(id), NONE);
  else at(id).replaceChildren(rate(perSecond), element('small', { text: ' /s' }));
}

function showOrigin({ breaker, in_flight: inFlight, operations }) {
  const each = Object.entries(operations);
  const worst = [breaker, ...each.map(([, operation]) => operation.breaker)].find((state) => state !== 'closed') ?? breaker;
  say(at('breaker'), worst);
  at('tile-breaker').dataset.state = breakerState(worst);
  const holds = each.flatMap(([name, operation]) => operation.held.map((reason) => `${name} ${reason}`));
  say(at('in-flight'), [`${count(inFlight)} ${inFlight === 1 ? 'call' : 'calls'} in flight`, ...holds].join(' · '));
  const scopes = each.flatMap(([name, { quota }]) => Object.entries(quota).map(([scope, left]) => [`${name} ${scope}`, left]));
  say(at('quota'), scopes.length ? brief(Math.min(...scopes.map(([, left]) => left))) : NONE);
  const remaining = scopes.map(([scope, left]) => `${scope} ${brief(left)}`).join(' · ');
  say(at('quota-scope'), remaining || 'the origin names none');
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

document.addEventListener('refused', (event) => askForToken(event.detail));
document.addEventListener('visibilitychange', poll);
const needsToken = document.querySelector('meta[name="admin-token"]').content === 'needed';
if (needsToken && !hasToken()) askForToken('this listener asks for the admin token');
else poll();
