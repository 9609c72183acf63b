/** What is known of one recording so far, from the server's events: rows of text, and facts. */

import { isSpaced } from "./wording.js";
import { Passage } from "./words.js";

export const TRANSCRIPT = "transcribe";
export const TRANSLATION = "translate";

export class Result {
  /** In order of time: `{ start, end, [task]: Passage }`; a translation stands beside its transcript. */
  rows = [];
  /** language, probability (of the language), bandwidth, duration (seconds), warnings, model, seconds (of work). */
  facts = { warnings: [] };
  isComplete = false;

  /** `task` is what was asked for: transcribe, translate or both. */
  constructor(task) {
    this.tasks = task === "both" ? [TRANSCRIPT, TRANSLATION] : [task];
  }

  /** Take one event of `Server.transcribe`; the row that it added, if any. */
  take(event) {
    if (event.type === "whole") return this.#takeWhole(event);
    if (event.type.endsWith(".delta")) return this.#takeDelta(event);
    if (event.type.endsWith(".done")) this.#takeDone(event);
    return null;
  }

  /** A segment of one of the texts; the row that it stands in. */
  add(task, segment, language) {
    if (!segment.text.trim()) return null;
    const passage = new Passage(segment, language);
    const row = this.#rowFor(task, passage);
    row[task] = passage;
    if (task === TRANSCRIPT || !row[TRANSCRIPT]) [row.start, row.end] = [passage.start, passage.end];
    return row;
  }

  /** The passages of one text, in order of time. */
  passages(task) {
    return this.rows.map((row) => row[task]).filter((passage) => passage?.text);
  }

  /** One whole text. */
  text(task) {
    return this.passages(task).map(({ text }) => text).join(isSpaced(this.language(task)) ? " " : "");
  }

  /** Of a text; null where nothing is known of it. */
  language(task) {
    const found = this.rows.find((row) => row[task]?.language)?.[task].language;
    return found ?? (task === TRANSCRIPT ? this.facts.language : this.facts.target) ?? null;
  }

  /** Whether somebody corrected a word. */
  get isCorrected() {
    return this.rows.some((row) => this.tasks.some((task) => row[task]?.isCorrected));
  }

  #takeDelta({ task, language, bandwidth, segment }) {
    if (bandwidth) this.facts.bandwidth = bandwidth;
    return segment ? this.add(task ?? this.tasks[0], segment, language) : null;
  }

  #takeDone(event) {
    if (event.type.startsWith("translation.")) {
      this.facts.target = event.language ?? this.facts.target;
      return;
    }
    const { language_probability: probability, bandwidth, duration, warnings } = event;
    const language = event.language === "unknown" ? null : event.language;
    // Of a translation alone nothing tells which language was spoken.
    const isSpoken = this.tasks[0] === TRANSCRIPT;
    const languages = isSpoken ? { language, probability } : { target: language };
    const said = { ...languages, bandwidth, duration, warnings };
    for (const [name, value] of Object.entries(said)) {
      if (value !== undefined && value !== null) this.facts[name] = value;
    }
    this.isComplete = true;
  }

  #takeWhole(answer) {
    const texts = [[answer.task ?? this.tasks[0], answer]];
    if (answer.translation) texts.push([TRANSLATION, answer.translation]);
    for (const [task, { segments = [], words = [], language }] of texts) {
      for (const segment of segments) this.add(task, withWords(segment, words), language);
    }
    this.#takeDone({ ...answer, type: ".done" });
    return null;
  }

  /** The last row that shares some time and has no such text yet; else a new one. */
  #rowFor(task, { start, end }) {
    // A translation comes right behind its transcript, and shares the time of no other.
    const fits = (row) => !row[task] && Math.min(row.end, end) > Math.max(row.start, start);
    return this.rows.findLast(fits) ?? this.#newRow(start, end);
  }

  #newRow(start, end) {
    const row = { start, end };
    let place = this.rows.length;
    while (place > 0 && this.rows[place - 1].start > start) place -= 1;
    this.rows.splice(place, 0, row);
    return row;
  }
}

/** A segment of a whole answer with those of the answer's words that begin in it. */
function withWords(segment, words) {
  const own = words.filter(({ start }) => start >= segment.start && start < segment.end);
  return segment.words?.length ? segment : { ...segment, words: own };
}
