/** A segment's text as words that can be heard and corrected, without a character of it lost. */

import { isSpaced } from "./wording.js";

/**
 * One word of a text. `before` is what stands between it and the word before (spaces, quotes);
 * `start` and `end` are seconds, null where the model gives no times, as of translations.
 */
export class Word {
  constructor(before, text, times = {}) {
    this.before = before;
    this.text = text;
    this.start = times.start ?? null;
    this.end = times.end ?? null;
    this.probability = times.probability ?? null;
    /** What the model wrote, once somebody has corrected it. */
    this.was = null;
  }

  /** Write it otherwise; with nothing the word goes. What the model wrote is never a correction. */
  correct(text) {
    const written = this.was ?? this.text;
    const wanted = text.trim().replace(/\s+/g, " ");
    this.was = wanted === written ? null : written;
    this.text = wanted;
  }
}

/** One segment of one text, transcript or translation. */
export class Passage {
  constructor(segment, language) {
    this.segment = segment;
    this.language = language ?? null;
    const { words, tail } = wordsOf(segment, this.language);
    this.words = words;
    this.tail = tail;
  }

  get start() {
    return this.segment.start;
  }

  get end() {
    return this.segment.end;
  }

  /** The text, with what was corrected. */
  get text() {
    const parts = this.words.map((word) => (word.text ? word.before + word.text : ""));
    return (parts.join("") + this.tail).trim();
  }

  get isCorrected() {
    return this.words.some((word) => word.was !== null);
  }
}

function wordsOf(segment, language) {
  const text = segment.text.trim();
  return placed(text, segment.words ?? []) ?? split(text, language);
}

/** Words with times, each found in the text; null where one is not there. */
function placed(text, timed) {
  const words = [];
  let at = 0;
  for (const { word, ...times } of timed) {
    const spelled = word.trim();
    const place = text.indexOf(spelled, at);
    if (!spelled || place < 0) return null;
    words.push(new Word(text.slice(at, place), spelled, times));
    at = place + spelled.length;
  }
  return words.length ? { words, tail: text.slice(at) } : null;
}

/** Words without times: between spaces or, where a language has none, as its dictionary has them. */
function split(text, language) {
  const words = [];
  let before = "";
  for (const part of partsOf(text, language)) {
    if (/^\s*$/u.test(part)) before += part;
    else {
      words.push(new Word(before, part));
      before = "";
    }
  }
  return { words, tail: before };
}

function partsOf(text, language) {
  if (isSpaced(language)) return text.split(/(\s+)/u);
  const segmenter = new Intl.Segmenter(language ?? undefined, { granularity: "word" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}
