// The banner: the gravest condition that holds, since when, who is affected, and how long stale answers last.

import { at, element, say } from './dom.js';
import { count, moment } from './units.js';

const COLD = 'Clients that ask for images that are not cached get errors.';
const NOBODY = 'No client is affected now.';

/** Adds the subject of a condition, such as an operation, to a text. */
const of = (text) => (subject) => (subject ? `${text} (${subject})` : text);
const always = (text) => () => text;

/**
 * A sentence for each condition of the log's table that needs a look, the gravest first: its cause and who is affected. `stale` says that cached images are answered meanwhile, and for how long they last is then shown.
 */
const CONDITIONS = {
  credential_refused: { cause: always('The origin refuses the gateway’s credential'), affected: COLD, stale: true },
  account_refused: { cause: always('The origin refuses the account: it is overdue or PAI is not activated'), affected: COLD, stale: true },
  credential_missing: { cause: always('The gateway has no new credential: no source gives one'), affected: 'Calls to the origin end when the old credential expires.', stale: true },
  gateway_loop: { cause: always('Requests of this gateway come back to it'), affected: COLD, stale: true },
  origin_unreachable: { cause: of('The origin cannot be reached'), affected: COLD, stale: true },
  origin_fails: { cause: of('The origin fails'), affected: COLD, stale: true },
  breaker_open: { cause: of('Calls to the origin are held back'), affected: COLD, stale: true },
  panics: { cause: of('Requests ended in a defect of the gateway'), affected: 'Their clients got error 500.' },
  token_keys_missing: { cause: always('The keys that verify service accounts cannot be loaded'), affected: 'Pods are refused once the old keys do not verify their tokens.' },
  accept_fails: { cause: of('New connections cannot be accepted'), affected: 'Clients without an open connection.' },
  connections_refused: { cause: of('Connections are refused: too many are open'), affected: 'Clients without an open connection.' },
  audit_lost: { cause: always('Audit records are lost'), affected: 'Requests are answered, but not recorded.' },
  snapshot_fails: { cause: of('The snapshot cannot be written'), affected: 'Nobody until a restart, which then begins with an empty or old cache.' },
  origin_throttles: { cause: of('The origin throttles'), affected: 'Clients that ask for images that are not cached wait longer, or get 429.', stale: true },
  pace_lowered: { cause: of('Calls are slower than set, because the origin throttled'), affected: 'Clients that ask for images that are not cached wait longer.' },
  shared_tier_lost: { cause: always('The shared cache cannot be reached'), affected: 'Each replica fetches for itself, and purges reach the others late.' },
  invalidation_log_lost: { cause: of('The invalidation log has a gap'), affected: 'Every cached image is fetched again.' },
  pace_not_shared: { cause: always('The fleet’s pace cannot be shared'), affected: 'This replica keeps to its part of the quota.' },
  catalogue_mismatch: { cause: of('ListImages shows an image otherwise than GetImage'), affected: 'Items of the catalogue do not answer.' },
  catalogue_walk_fails: { cause: of('The catalogue cannot be walked: workspace'), affected: 'Its images are fetched one by one.' },
  catalogue_full: { cause: of('The catalogue is full and dropped a workspace'), affected: 'Its images are fetched one by one.' },
  reload_fails: { cause: of('A changed file cannot be used'), affected: 'The previous one stays in use.' },
  tls_on_plain_port: { cause: of('A client speaks TLS to a plain port'), affected: 'That client gets no answer.' },
  admin_token_refused: { cause: always('An admin request had no valid token'), affected: NOBODY },
  clock_wrong: { cause: of('This machine’s clock is wrong'), affected: NOBODY },
  profile_doubtful: { cause: of('A value of the credentials file has a # inside'), affected: NOBODY },
  spans_lost: { cause: always('Traces are lost: the collector does not take them'), affected: NOBODY },
};

const ORDER = Object.keys(CONDITIONS);
const rank = ({ condition }) => ORDER.indexOf(condition);

/** Shows the gravest condition that holds; hides the banner if there is none. */
export function showBanner({ conditions, stale_until: staleUntil }) {
  const known = conditions.filter((held) => rank(held) >= 0).sort((a, b) => rank(a) - rank(b));
  at('banner').hidden = known.length === 0;
  if (known.length === 0) return;
  const [gravest, ...others] = known;
  const { cause, affected, stale } = CONDITIONS[gravest.condition];
  at('banner').dataset.condition = gravest.condition;
  at('banner').dataset.state = gravest.severity === 'error' ? 'bad' : 'warn';
  say(at('banner-cause'), `${cause(gravest.subject)}.`);
  say(at('banner-since'), `Since ${moment(gravest.since)}.`);
  say(at('banner-affected'), affected);
  say(at('banner-stale'), stale ? lasting(staleUntil) : '');
  say(at('banner-detail'), gravest.detail);
  say(at('banner-remedy'), `To do: ${gravest.remedy}.`);
  const more = others.map((held) => element('li', { text: `${CONDITIONS[held.condition].cause(held.subject)}, since ${moment(held.since)}` }));
  at('banner-others').replaceChildren(...more);
}

/** Says until when cached images are answered although the origin fails. */
function lasting(staleUntil) {
  if (staleUntil === null) return 'No image is cached, so none is answered.';
  const { images, oldest, newest } = staleUntil;
  if (images === 1 || oldest === newest) return `Stale answers last until ${moment(oldest)}.`;
  return `Stale answers last until ${moment(oldest)} for the oldest of ${count(images)} cached answers, until ${moment(newest)} for the newest.`;
}
