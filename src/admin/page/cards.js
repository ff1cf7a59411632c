// Cards of the parts around the cache: the shared tier, clients and refusals, the certificate.

import { at } from './dom.js';
import { showFacts } from './facts.js';
import { NONE, brief, count, moment, span, sum } from './units.js';

/** Rest of a certificate's time that needs a look, in seconds: three days, as the alert has it. */
const EXPIRES_SOON = 3 * 86_400;

export function showCards(status, now) {
  showShared(status.shared_cache);
  showClients(status);
  showCertificate(status.certificate, now);
}

/** Shows the shared cache, if there is one. A lost one, an open breaker and invalidations that wait are amber. */
function showShared(shared) {
  at('shared-card').hidden = shared === null;
  if (shared === null) return;
  const results = Object.values(shared.requests).flatMap((byResult) => Object.entries(byResult));
  const failed = results.filter(([result]) => FAILED.includes(result));
  showFacts('shared', [
    ['state', shared.up ? 'connected' : 'lost', !shared.up],
    ['breaker', shared.breaker, shared.breaker !== 'closed'],
    ['replicas', shared.replicas === null ? NONE : count(shared.replicas)],
    ['purges waiting', count(shared.unheard_orders), shared.unheard_orders > 0],
    ['commands', brief(sum(results.map(([, number]) => number)))],
    ['failed', brief(sum(failed.map(([, number]) => number)))],
  ]);
}

const FAILED = ['timeout', 'error', 'skipped'];

/** Shows who asks, and what was refused since the start. Errors of a client are its own, so nothing here is amber. */
function showClients({ instance, clients, refusals, requests }) {
  showFacts('refusals', [
    ['authentication', instance.auth],
    ['rejected', brief(requests.rejected)],
    ['denied', brief(requests.denied)],
    ['not authenticated', words(refusals.authentication)],
    ['connections refused', words(refusals.connections)],
    ['admin requests refused', count(refusals.admin)],
  ]);
  const rows = clients.busiest.map(({ client, requests: all, rejected, denied, error }) => {
    const trouble = Object.entries({ rejected, denied, error }).filter(([, number]) => number > 0);
    const notes = trouble.map(([name, number]) => `, ${brief(number)} ${name}`).join('');
    return [client, `${brief(all)} ${all === 1 ? 'request' : 'requests'}${notes}`];
  });
  const hidden = clients.seen - clients.busiest.length;
  if (hidden > 0) rows.push(['others', `${count(hidden)} more clients`]);
  showFacts('clients', rows);
}

function words(counts) {
  const each = Object.entries(counts).map(([name, number]) => `${brief(number)} ${name.replaceAll('_', ' ')}`);
  return each.join(', ') || '0';
}

/** Shows the certificate of the data port, if there is one; amber three days before its end. */
function showCertificate(certificate, now) {
  at('certificate-card').hidden = certificate === null;
  if (certificate === null) return;
  const left = Date.parse(certificate.expires_at) / 1_000 - now;
  const rest = left > 0 ? `in ${span(left)}` : 'expired';
  showFacts('certificate', [['expires', `${moment(certificate.expires_at)} (${rest})`, left < EXPIRES_SOON]]);
}
