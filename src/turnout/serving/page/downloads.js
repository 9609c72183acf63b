/** A result, as corrected, as the text of a file: what turnout/text/writers.py writes. */

import { TRANSLATION } from "./result.js";
import { isSpaced, stemOf } from "./wording.js";

const TYPES = {
  txt: "text/plain",
  srt: "application/x-subrip",
  vtt: "text/vtt",
  json: "application/json",
};
const WRITERS = { txt: asTxt, srt: asSrt, vtt: asVtt, json: asJson };
export const KINDS = Object.keys(WRITERS);

/** The content of a file of one text; json has both. */
export function written(kind, result, task) {
  return WRITERS[kind](result, task);
}

/** As the command line calls it: a translation beside a transcript is `<stem>.translation.<ext>`. */
export function fileName(kind, name, result, task) {
  const isSecond = task === TRANSLATION && result.tasks.length > 1;
  return `${stemOf(name)}${isSecond && kind !== "json" ? ".translation" : ""}.${kind}`;
}

/** Put a file of it into the reader's downloads. */
export function download(kind, name, result, task) {
  const blob = new Blob([written(kind, result, task)], { type: `${TYPES[kind]};charset=utf-8` });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName(kind, name, result, task);
  link.click();
  // Not at once: the browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function asTxt(result, task) {
  return result.passages(task).map(({ text }) => `${row(text)}\n`).join("");
}

function asSrt(result, task) {
  const cues = result.passages(task).map(
    (passage, place) =>
      `${place + 1}\n${stamp(passage.start, true, ",")} --> ${stamp(passage.end, true, ",")}\n` +
      `${cue(passage)}\n\n`,
  );
  return cues.join("");
}

function asVtt(result, task) {
  const cues = result.passages(task).map(
    (passage) =>
      `${stamp(passage.start)} --> ${stamp(passage.end)}\n` +
      `${cue(passage).replaceAll("&", "&amp;").replaceAll("<", "&lt;")}\n\n`,
  );
  return `WEBVTT\n\n${cues.join("")}`;
}

function asJson(result) {
  const [first, second] = result.tasks;
  const content = documentOf(result, first);
  if (second) content.translation = documentOf(result, second);
  if (result.facts.warnings.length) content.warnings = result.facts.warnings;
  return `${JSON.stringify(content)}\n`;
}

function documentOf(result, task) {
  const segments = result.passages(task).map(entry);
  const content = { text: result.text(task), segments, language: result.language(task) };
  const { probability } = result.facts;
  return probability === undefined ? content : { ...content, language_probability: probability };
}

function entry(passage, id) {
  const { segment } = passage;
  const content = { id, start: passage.start, end: passage.end, text: passage.text };
  for (const name of ["temperature", "avg_logprob", "compression_ratio", "no_speech_prob"]) {
    // What the model was sure of is not what was corrected.
    const isKnown = segment[name] !== undefined && segment[name] !== null;
    if (isKnown && !passage.isCorrected) content[name] = segment[name];
  }
  const words = passage.words.filter((word) => word.start !== null && word.text);
  if (words.length) content.words = words.map((word) => wordEntry(word, passage.language));
  return content;
}

function wordEntry({ text, start, end, probability, was }, language) {
  const content = { word: (isSpaced(language) ? " " : "") + text, start, end };
  if (probability !== null && was === null) content.probability = probability;
  return content;
}

/** One line, without control characters. */
function row(text) {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, " ").split(/\s+/u).filter(Boolean).join(" ");
}

/** A text as subtitles can hold it: an arrow would begin a new cue. */
function cue({ text }) {
  return row(text).replace(/-{2,}>/g, "->");
}

/** [hh:]mm:ss.mmm */
function stamp(seconds, hasHours = false, mark = ".") {
  const total = rounded(Math.max(seconds, 0) * 1000);
  const [hours, minutes] = [Math.floor(total / 3_600_000), Math.floor(total / 60_000) % 60];
  const [second, thousandths] = [Math.floor(total / 1000) % 60, total % 1000];
  const pad = (number, places = 2) => String(number).padStart(places, "0");
  const head = hasHours || hours ? `${pad(hours)}:` : "";
  return `${head}${pad(minutes)}:${pad(second)}${mark}${pad(thousandths, 3)}`;
}

/** To the nearest whole number, halves to the even one, as Python rounds. */
function rounded(number) {
  const below = Math.floor(number);
  if (number - below !== 0.5) return Math.round(number);
  return below % 2 ? below + 1 : below;
}
