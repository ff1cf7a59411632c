// Short ways to the document. Text only ever goes in as text: ids, codes and messages are other people's.

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

/** Sets a text, if it is another than before: a selection or a screen reader is not disturbed. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
