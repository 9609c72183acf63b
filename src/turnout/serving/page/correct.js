/** A word becomes a field, in its place; Enter or leaving keeps what is written, Escape does not. */

import { make } from "./dom.js";

/** `onDone(text)` gets the new text, null where nothing is to change; then the word has the focus. */
export function correct(element, word, onDone) {
  const field = make("input", {
    class: "correction",
    type: "text",
    value: word.text,
    dir: "auto",
    lang: element.parentElement.lang,
    "aria-label": `Correct “${word.text}”`,
    spellcheck: "true",
    autocomplete: "off",
    size: Math.max(3, word.text.length + 1),
  });
  let isDone = false;
  const finish = (text, takesFocus) => {
    if (isDone) return; // taking the field away makes it lose the focus once more
    isDone = true;
    field.replaceWith(element);
    onDone(text);
    if (takesFocus) element.focus();
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") finish(field.value, true);
    if (event.key === "Escape") finish(null, true);
  });
  field.addEventListener("input", () => (field.size = Math.max(3, field.value.length + 1)));
  field.addEventListener("blur", () => finish(field.value, false));
  element.replaceWith(field);
  field.focus();
  field.select();
}
