// Requests to the admin listener, with the token if there is one.

/** Deadline of a request, in milliseconds. */
const TIMEOUT = 5_000;
const TOKEN = 'admin-token';

/** Error of a request with a missing or wrong token; the event `refused` was sent to the document before. */
export class Refused extends Error {}

let token = sessionStorage.getItem(TOKEN);

export function hasToken() {
  return token !== null;
}

/** Sets the token of later requests in this tab; `null` removes it. */
export function setToken(text) {
  token = text;
  if (text === null) sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, text);
}

/** Sends a GET, or a POST of `payload`, and returns the response's JSON; throws its `error` if it fails. */
export async function ask(path, payload) {
  const headers = new Headers();
  if (token) headers.set('Authorization', `Bearer ${token}`);
  if (payload) headers.set('Content-Type', 'application/json');
  const response = await fetch(path, {
    method: payload ? 'POST' : 'GET',
    body: payload ? JSON.stringify(payload) : undefined,
    headers,
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
    signal: AbortSignal.timeout(TIMEOUT),
  });
  const answer = await response.json();
  if (response.status === 401 || response.status === 403) {
    document.dispatchEvent(new CustomEvent('refused', { detail: answer.error }));
    throw new Refused(answer.error);
  }
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
