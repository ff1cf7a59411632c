// The words of the gateway's metrics, in the order they are shown.

export const OUTCOMES = ['hit', 'stale', 'coalesced', 'negative', 'miss', 'refresh', 'passthrough', 'denied', 'rejected', 'error'];
/** Outcomes that cost no call of the request's own. */
export const FROM_MEMORY = ['hit', 'stale', 'coalesced', 'negative'];
/** Outcomes of which memory was not asked. */
export const NO_LOOK_UP = ['denied', 'rejected', 'passthrough'];
export const RESULTS = ['ok', 'not_found', 'forbidden', 'throttled', 'client_error', 'server_error', 'timeout', 'transport', 'credential'];

const BREAKER = { closed: 'good', probing: 'warn', open: 'bad' };

/** How good it is that the breaker stands there. */
export function breakerState(word) {
  return BREAKER[word] ?? 'warn';
}
