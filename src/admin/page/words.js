// Label values of the gateway's metrics, in the order in which the page shows them.

export const OUTCOMES = ['hit', 'stale', 'coalesced', 'negative', 'miss', 'refresh', 'passthrough', 'denied', 'rejected', 'error'];
/** Reasons for stale answers, as in Cache-Status. */
export const STALE_REASONS = ['revalidating', 'origin-error', 'over-budget'];
/** Outcomes that count as hits: the request made no upstream call of its own. */
export const FROM_MEMORY = ['hit', 'stale', 'coalesced', 'negative'];
/** Outcomes of requests that did not look into the cache. */
export const NO_LOOK_UP = ['denied', 'rejected', 'passthrough'];
export const RESULTS = ['ok', 'not_found', 'forbidden', 'throttled', 'client_error', 'server_error', 'timeout', 'transport', 'credential'];

const BREAKER = { closed: 'good', probing: 'warn', open: 'bad' };

/** Returns the colour class of a breaker's state. */
export function breakerState(word) {
  return BREAKER[word] ?? 'warn';
}
