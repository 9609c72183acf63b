/** The picture of the sound: a slider over its time, and a strip of the whole where that is long. */

import { cleared, colour, show } from "./dom.js";
import { clock, spokenTime } from "./wording.js";

const BAR = 3; // pixels, the gap among them
const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
const LEAST_HEIGHT = 1.5;

export class Waveform {
  #axis;
  #player;
  #seek;
  #canvas;
  #overview;
  #peaks = null;
  #passages = () => [];
  #word = null;
  #isDue = false;

  constructor({ seek, canvas, overview }, axis, player) {
    [this.#seek, this.#canvas, this.#overview] = [seek, canvas, overview];
    [this.#axis, this.#player] = [axis, player];
    axis.addEventListener("move", () => this.#moved());
    axis.addEventListener("change", () => this.draw());
    seek.addEventListener("keydown", (event) => this.#pressed(event));
    followPointer(seek, (place, width) => axis.timeAt(place, width), player);
    followPointer(overview, (place, width) => (place / width) * axis.duration, player);
    new ResizeObserver(() => this.draw()).observe(seek);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Another recording: its Peaks (null: none yet), and what gives its passages. */
  show(peaks, passages) {
    [this.#peaks, this.#passages, this.#word] = [peaks, passages, null];
    this.draw();
  }

  /** Mark the word that is heard; null for none. */
  mark(word) {
    if (word === this.#word) return;
    this.#word = word;
    this.draw();
  }

  /** Draw anew with the next picture of the screen. */
  draw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#paint();
    });
  }

  #paint() {
    show(this.#overview, !this.#axis.isWhole);
    this.#paintDetail();
    if (!this.#axis.isWhole) this.#paintOverview();
  }

  #paintDetail() {
    const { context, width, height } = cleared(this.#canvas);
    const axis = this.#axis;
    const place = (time) => axis.place(time, width);
    context.fillStyle = colour("speech");
    for (const { start, end } of this.#passages()) {
      if (end < axis.from || start > axis.to) continue;
      context.fillRect(place(start), 0, Math.max(1, place(end) - place(start)), height);
    }
    if (this.#word) {
      context.fillStyle = colour("mark");
      context.fillRect(place(this.#word.start), 0, Math.max(2, place(this.#word.end) - place(this.#word.start)), height);
    }
    this.#paintBars(context, width, height, axis.from, axis.to);
    context.fillStyle = colour("accent");
    context.fillRect(Math.min(width - 2, Math.max(0, place(axis.time) - 1)), 0, 2, height);
  }

  #paintOverview() {
    const { context, width, height } = cleared(this.#overview);
    const { from, to, duration } = this.#axis;
    const [left, wide] = [(from / duration) * width, Math.max(6, ((to - from) / duration) * width)];
    context.fillStyle = colour("tint");
    context.fillRect(left, 0, wide, height);
    this.#paintBars(context, width, height, 0, duration);
    context.strokeStyle = colour("accent");
    context.strokeRect(left + 0.5, 0.5, wide - 1, height - 1);
  }

  #paintBars(context, width, height, from, to) {
    if (!this.#peaks) return;
    const scale = 255 / Math.max(this.#peaks.loudest, 8);
    const seconds = ((to - from) * BAR) / width;
    const [played, ahead] = [colour("accent"), colour("wave")];
    for (let bar = 0; bar * BAR < width; bar += 1) {
      const time = from + bar * seconds;
      const size = Math.sqrt(Math.min(1, this.#peaks.between(time, time + seconds) * scale));
      const tall = Math.max(LEAST_HEIGHT, size * (height - 4));
      context.fillStyle = time < this.#axis.time ? played : ahead;
      context.fillRect(bar * BAR, (height - tall) / 2, BAR - 1, tall);
    }
  }

  #moved() {
    const { time, duration } = this.#axis;
    this.#seek.setAttribute("aria-valuemax", duration.toFixed(1));
    this.#seek.setAttribute("aria-valuenow", time.toFixed(1));
    this.#seek.setAttribute("aria-valuetext", `${spokenTime(time)} of ${spokenTime(duration)}`);
    this.#seek.dataset.clock = clock(time);
    this.draw();
  }

  #pressed(event) {
    const { time, duration } = this.#axis;
    const step = STEPS[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (step) this.#player.seek(time + step * (event.shiftKey ? 5 : 1));
    else if (event.key === "Home") this.#player.seek(0);
    else if (event.key === "End") this.#player.seek(duration);
    else if (event.key === " " || event.key === "Enter") this.#player.toggle();
    else return;
    event.preventDefault();
  }
}

/** A pointer on an element goes to the time below it, and drags it along. */
function followPointer(element, timeAt, player) {
  const go = (event) => {
    const { left, width } = element.getBoundingClientRect();
    player.seek(timeAt(event.clientX - left, width));
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    go(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) go(event);
  });
}
