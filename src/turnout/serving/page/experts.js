/** Which expert was used when: rows of runs, from the model's routing and a result; and their picture. */

import { cleared, colour, make, show } from "./dom.js";
import { TRANSCRIPT, TRANSLATION } from "./result.js";
import { languageName } from "./wording.js";

/** Distinct to colour-blind eyes too; the colours of `turnout inspect`. */
const PALETTE = ["#4477aa", "#ee7733", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#ee6677", "#777777"];
const SEAM_SECONDS = 0.05; // no more than this between two segments is no pause
const LABELS = {
  bandwidth: "bandwidth",
  task: "task",
  language: "spoken language",
  target_language: "written language",
  domain: "domain",
  window: "window",
};

/**
 * What guided routing chose, as rows `{ name, by, kind, experts, runs: [{ start, end, expert }], firstColour }`.
 *
 * Where the guidance chooses, this is exact: an expert is called what its guides say, joined by
 * "+". Rows of learned routers have no runs: no answer tells of their frames.
 */
export function expertRows(result, routing) {
  const rows = [];
  const [first] = result.tasks;
  const named = (routing?.encoder?.experts ?? []).length; // colours that the encoder's take
  if (routing?.encoder) rows.push(rowOf("Encoder", routing.encoder, result, first));
  for (const task of routing?.decoder ? result.tasks : []) {
    const which = result.tasks.length > 1 ? `, ${task === TRANSCRIPT ? "transcript" : "translation"}` : "";
    rows.push({ ...rowOf(`Decoder${which}`, routing.decoder, result, task), firstColour: named });
  }
  return rows;
}

function rowOf(name, { kind, guided_by: guides = [], experts = [] }, result, task) {
  const isGuided = kind === "supervised" && guides.length > 0;
  const by = isGuided ? guides.map((guide) => LABELS[guide] ?? guide).join(" and ") : null;
  const runs = isGuided ? runsOf(guides, experts, result, task) : [];
  return { name, by, kind, experts, runs, firstColour: 0 };
}

function runsOf(guides, experts, result, task) {
  const runs = [];
  for (const { start, end, language } of result.passages(task)) {
    const said = { ...guidanceOf(result, task), written: language };
    const expert = chosen(experts, guides.map((guide) => valueOf(guide, said)));
    const last = runs.at(-1);
    if (expert < 0) continue;
    if (last?.expert === expert && start - last.end < SEAM_SECONDS) last.end = end;
    else runs.push({ start, end, expert });
  }
  return runs;
}

/** The expert of these values: the one that is called so, or the first whose values fit; -1: none. */
function chosen(experts, values) {
  const exact = experts.indexOf(values.join("+"));
  if (exact >= 0 || experts[0] !== "base") return exact;
  const fits = (name) => name.split("+").every((own, place) => own === "*" || own === values[place]);
  return Math.max(0, experts.findIndex((name, place) => place > 0 && fits(name)));
}

function guidanceOf(result, task) {
  const spoken = result.facts.language ?? result.language(TRANSCRIPT);
  return { task, bandwidth: result.facts.bandwidth, spoken };
}

function valueOf(guide, { task, bandwidth, spoken, written }) {
  if (guide === "bandwidth") return bandwidth;
  if (guide === "task") return task;
  if (guide === "language") return spoken;
  if (guide === "target_language") return task === TRANSLATION ? written : spoken;
  return null; // a domain or window that the answer does not tell of
}

/** The rows as canvases under the waveform, each with its legend in words. */
export class ExpertTimeline {
  #section;
  #place;
  #axis;
  #drawn = [];

  constructor(section, place, axis) {
    [this.#section, this.#place, this.#axis] = [section, place, axis];
    axis.addEventListener("change", () => this.draw());
    axis.addEventListener("move", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** The rows of a result, or none. */
  show(rows) {
    show(this.#section, rows.length > 0);
    this.#drawn = rows.map((row) => ({ row, canvas: make("canvas", { "aria-hidden": "true" }) }));
    this.#place.replaceChildren(...this.#drawn.map(({ row, canvas }) => rowElement(row, canvas)));
    this.draw();
  }

  draw() {
    for (const { row, canvas } of this.#drawn) if (row.runs.length) this.#paint(row, canvas);
  }

  #paint({ runs, firstColour }, canvas) {
    const { context, width, height } = cleared(canvas);
    const axis = this.#axis;
    context.fillStyle = colour("line");
    context.fillRect(0, height / 2 - 0.5, width, 1);
    for (const { start, end, expert } of runs) {
      if (end < axis.from || start > axis.to) continue;
      const [left, right] = [start, end].map((time) => Math.min(width, Math.max(0, axis.place(time, width))));
      context.fillStyle = colourOf(firstColour + expert);
      context.beginPath();
      context.roundRect(left, 2, Math.max(2, right - left), height - 4, 4);
      context.fill();
    }
    context.fillStyle = colour("accent");
    context.fillRect(Math.min(width - 2, Math.max(0, axis.place(axis.time, width) - 1)), 0, 2, height);
  }
}

function rowElement(row, canvas) {
  const why = row.by ? `chosen by ${row.by}` : `a router chooses among ${row.experts.length}, frame by frame`;
  const heading = make("p", { class: "soft" }, make("strong", {}, row.name), ` ${why}`);
  const legend = !row.by ? null : make("ul", { class: "legend", "aria-label": `${row.name}: experts` }, ...legendOf(row));
  const head = make("div", { class: "expert-head" }, heading, legend);
  return make("div", { class: "expert-row" }, head, row.runs.length ? canvas : null);
}

function legendOf({ experts, runs, firstColour }) {
  const used = new Set(runs.map(({ expert }) => expert));
  return experts.map((name, expert) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colourOf(firstColour + expert);
    const isUsed = used.has(expert);
    const words = isUsed ? "used" : "not used";
    return make("li", { class: isUsed ? "used" : "unused" }, swatch, label(name), make("span", { class: "unseen" }, `, ${words}`));
  });
}

/** An expert of languages is called by their names. */
function label(name) {
  return name.split("+").map((word) => (/^[a-z]{2,3}$/.test(word) ? languageName(word) : word)).join(" + ");
}

function colourOf(expert) {
  return PALETTE[expert % PALETTE.length];
}
