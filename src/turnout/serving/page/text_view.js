/** The texts: a row a segment, its words to be heard, followed and corrected, by pointer and keyboard. */

import { correct } from "./correct.js";
import { isCalm, make } from "./dom.js";
import { TRANSCRIPT, TRANSLATION } from "./result.js";
import { clock, spokenTime } from "./wording.js";

const NAMES = { [TRANSCRIPT]: "Transcript", [TRANSLATION]: "Translation" };
const AHEAD_KEYS = { ltr: { ArrowRight: 1, ArrowLeft: -1 }, rtl: { ArrowRight: -1, ArrowLeft: 1 } };

/** Stands where a word was taken away, so that it can be brought back. */
const GONE = "∅";

export class TextView {
  #root;
  #onHear;
  #onCorrect;
  #result = null;
  #elements = new Map(); // row -> its element
  #words = new Map(); // element of a word -> { word, passage }
  #timed = []; // elements of words with times, in order of time
  #heard = [];
  #stop = null; // the one word that Tab stops at
  isCorrecting = false;

  /** `onHear(seconds)` plays from there; `onCorrect()` is told once a word was changed. */
  constructor(root, { onHear, onCorrect }) {
    [this.#root, this.#onHear, this.#onCorrect] = [root, onHear, onCorrect];
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("dblclick", (event) => this.#edit(wordAt(event)));
    root.addEventListener("keydown", (event) => this.#pressed(event));
    root.addEventListener("focusin", (event) => this.#stopAt(wordAt(event)));
  }

  /** Show a result from its first row. */
  show(result) {
    this.#result = result;
    this.#elements.clear();
    this.#words.clear();
    [this.#timed, this.#heard, this.#stop] = [[], [], null];
    this.#root.replaceChildren();
    this.#root.classList.toggle("two", (result?.tasks.length ?? 0) > 1);
    for (const row of result?.rows ?? []) this.put(row);
  }

  /** A row is new, or has changed. */
  put(row) {
    const before = this.#elements.get(row);
    const element = this.#rowElement(row);
    this.#elements.set(row, element);
    if (before) {
      for (const word of before.querySelectorAll(".word")) this.#words.delete(word);
      before.replaceWith(element);
    } else {
      const next = this.#result.rows[this.#result.rows.indexOf(row) + 1];
      this.#root.insertBefore(element, this.#elements.get(next) ?? null);
    }
    this.#collect(element);
    if (!this.#stop?.isConnected) this.#stopAt(this.#root.querySelector(".word"));
  }

  /** Mark what is heard at a time; the word, if it has times. `follow` brings it into view. */
  mark(time, follow) {
    const found = this.#wordAtTime(time);
    const rows = this.#result?.rows.filter(({ start, end }) => time >= start && time < end) ?? [];
    const marked = [...rows.map((row) => this.#elements.get(row)), found].filter(Boolean);
    for (const element of this.#heard) if (!marked.includes(element)) element.classList.remove("heard");
    for (const element of marked) element.classList.add("heard");
    const isNew = marked.some((element) => !this.#heard.includes(element));
    this.#heard = marked;
    if (follow && isNew) {
      (found ?? marked[0]).scrollIntoView({ block: "nearest", behavior: isCalm() ? "auto" : "smooth" });
    }
    return found ? this.#words.get(found).word : null;
  }

  /** Of the words with times the last that has begun and not ended. */
  #wordAtTime(time) {
    let [low, high] = [0, this.#timed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#words.get(this.#timed[middle]).word.start <= time) low = middle + 1;
      else high = middle;
    }
    const element = this.#timed[low - 1];
    return element && time < this.#words.get(element).word.end ? element : null;
  }

  #rowElement(row) {
    const time = make(
      "button",
      { type: "button", class: "time", "data-start": row.start, "aria-label": `Play from ${spokenTime(row.start)}` },
      clock(row.start),
    );
    const texts = this.#result.tasks.map((task) => this.#passageElement(row[task], task));
    return make("div", { class: "row", role: "group", "aria-label": `At ${spokenTime(row.start)}` }, time, ...texts);
  }

  #passageElement(passage, task) {
    const attributes = { class: "passage", dir: "auto", "data-task": task };
    if (!passage) return make("p", { ...attributes, class: "passage missing" });
    const element = make("p", { ...attributes, lang: passage.language });
    if (this.#result.tasks.length > 1) {
      // Of a direction of its own: it must not decide which way the text runs.
      element.append(make("span", { class: "unseen", lang: "en", dir: "ltr" }, `${NAMES[task]}: `));
    }
    for (const word of passage.words) {
      const spelled = make("span", { class: "word", role: "button", tabindex: -1 }, word.text || GONE);
      markCorrected(spelled, word);
      this.#words.set(spelled, { word, passage });
      element.append(word.before, spelled);
    }
    element.append(passage.tail);
    return element;
  }

  /** The words with times of a row that was put in its place, among those of the others. */
  #collect(row) {
    const start = (element) => this.#words.get(element)?.word.start ?? null;
    const added = Array.from(row.querySelectorAll(".word")).filter((element) => start(element) !== null);
    const kept = this.#timed.filter((element) => this.#words.has(element));
    const isLast = !kept.length || !added.length || start(added[0]) >= start(kept.at(-1));
    this.#timed = [...kept, ...added];
    if (!isLast) this.#timed.sort((one, other) => start(one) - start(other));
  }

  #clicked(event) {
    const element = wordAt(event);
    if (element) {
      if (this.isCorrecting) this.#edit(element);
      else this.#hear(element);
    } else if (event.target.dataset?.start) {
      this.#onHear(Number(event.target.dataset.start));
    }
  }

  #hear(element) {
    const { word, passage } = this.#words.get(element);
    this.#stopAt(element);
    this.#onHear(word.start ?? passage.start);
  }

  #pressed(event) {
    const element = wordAt(event);
    if (!element || event.altKey || event.ctrlKey || event.metaKey) return;
    const { direction } = getComputedStyle(element.parentElement);
    const step = AHEAD_KEYS[direction][event.key];
    if (step) this.#go(element, step);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.#goToRow(element, event.key === "ArrowDown");
    else if (event.key === "Enter" && this.isCorrecting) this.#edit(element);
    else if (event.key === "Enter" || event.key === " ") this.#hear(element);
    else if (event.key === "F2") this.#edit(element);
    else return;
    event.preventDefault();
  }

  /** To the word before or behind, of the same text. */
  #go(element, step) {
    const { task } = element.parentElement.dataset;
    const words = Array.from(this.#root.querySelectorAll(`[data-task="${task}"] .word`));
    words[words.indexOf(element) + step]?.focus();
  }

  #goToRow(element, isDown) {
    const { task } = element.parentElement.dataset;
    let row = element.closest(".row");
    for (let word = null; row && !word; ) {
      row = isDown ? row.nextElementSibling : row.previousElementSibling;
      word = row?.querySelector(`[data-task="${task}"] .word`);
      word?.focus();
    }
  }

  #stopAt(element) {
    if (!element || element === this.#stop) return;
    if (this.#stop) this.#stop.tabIndex = -1;
    element.tabIndex = 0;
    this.#stop = element;
  }

  #edit(element) {
    if (!element) return;
    const { word } = this.#words.get(element);
    correct(element, word, (text) => {
      if (text !== null && text.trim() !== word.text) {
        word.correct(text);
        this.#onCorrect(word);
      }
      element.textContent = word.text || GONE;
      markCorrected(element, word);
    });
  }
}

function wordAt(event) {
  return event.target.closest?.(".word") ?? null;
}

function markCorrected(element, word) {
  const isCorrected = word.was !== null;
  element.classList.toggle("corrected", isCorrected);
  if (isCorrected) element.title = `The model wrote: ${word.was}`;
  else element.removeAttribute("title");
}
