// DOM helpers. They insert strings only as text, never as HTML: ids, codes and messages are untrusted.

export const at = (id) => document.getElementById(id);

/** Makes an element of this class and text, with children. */
export function element(name, { className, text, scope } = {}, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (scope) made.scope = scope;
  made.append(...children);
  return made;
}

/** Sets an element's text only if it changed, so that a selection or a screen reader is not disturbed. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
