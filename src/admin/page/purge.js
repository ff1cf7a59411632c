// Purge dialog: choose a target, confirm, purge.

import { Refused, ask } from './ask.js';
import { at, say } from './dom.js';
import { NO_IMAGE_ID, isImageId, lookUp } from './image.js';
import { count } from './units.js';

/** Body of the purge request; `null` until the target is chosen. */
let request = null;

const scopes = document.querySelectorAll('input[name="scope"]');
const chosenScope = () => [...scopes].find((radio) => radio.checked).value;

function openPurge(image) {
  scopes.forEach((radio) => { radio.checked = radio.value === 'image'; });
  at('purge-target').value = image;
  at('purge-soft').checked = false;
  choose();
  at('purge').showModal();
}

/** Shows the first step: the choice of a target. */
function choose() {
  request = null;
  const scope = chosenScope();
  at('purge-what').hidden = false;
  at('purge-question').hidden = true;
  at('purge-target-label').hidden = scope === 'all';
  at('purge-target-label').firstChild.textContent = scope === 'workspace' ? 'WorkspaceId ' : 'ImageId ';
  say(at('purge-go'), 'Continue…');
  at('purge-go').classList.remove('danger');
  complain(null);
}

/** Checks the target and shows the second step: the confirmation. */
function confirmPurge() {
  const [scope, target, soft] = [chosenScope(), at('purge-target').value.trim(), at('purge-soft').checked];
  if (scope === 'image' && !isImageId(target)) return complain(NO_IMAGE_ID);
  if (scope === 'workspace' && target === '') return complain('Name a WorkspaceId.');
  request = { [scope]: scope === 'all' ? true : target };
  if (soft) request.soft = true;
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
    const { purged } = await ask('/purge', request);
    at('purge').close();
    notifyOnce(`Purged: ${count(purged)} ${purged === 1 ? 'entry' : 'entries'}.`);
    const shown = at('look-id').value.trim();
    if (isImageId(shown)) await lookUp(shown);
  } catch (error) {
    if (!(error instanceof Refused)) complain(`That was not purged: ${error.message}`);
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
document.addEventListener('refused', () => at('purge').close());
at('purge').addEventListener('close', () => { request = null; });
scopes.forEach((radio) => radio.addEventListener('change', choose));
at('purge-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (request) purge();
  else confirmPurge();
});
