// Asking the admin listener, with the token where there is one.

const PATIENCE = 5_000;
const TOKEN = 'admin-token';

/** The answer to who may not ask; whoever listens for `refused` on the document has heard already. */
export class Refused extends Error {}

let token = sessionStorage.getItem(TOKEN);

export function hasToken() {
  return token !== null;
}

/** Asks with this token from now on, in this tab; with none for `null`. */
export function setToken(text) {
  token = text;
  if (text === null) sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, text);
}

/** Asks this listener; the answer's JSON, with its `error` thrown where it is one. */
export async function ask(path, order) {
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
  if (response.status === 401 || response.status === 403) {
    document.dispatchEvent(new CustomEvent('refused', { detail: answer.error }));
    throw new Refused(answer.error);
  }
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
