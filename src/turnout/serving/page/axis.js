/** The time that the pictures share: where it stands, how long it is, and which part is shown. */

const WHOLE_SECONDS = 90; // up to here all of it is shown
const SHOWN_SECONDS = 60;
const LEAD = 0.15; // of what is shown lies before the position, once it has moved on

/** Tells of "move" (the position) and "change" (what is shown, or the length). */
export class Axis extends EventTarget {
  duration = 0;
  time = 0;
  from = 0;

  get isWhole() {
    return this.duration <= WHOLE_SECONDS;
  }

  /** The end of the part that is shown. */
  get to() {
    return this.isWhole ? Math.max(this.duration, 0.1) : Math.min(this.duration, this.from + SHOWN_SECONDS);
  }

  /** Begin anew, with a recording of so many seconds. */
  reset(duration = 0) {
    [this.duration, this.time, this.from] = [duration, 0, 0];
    this.#tell("change", "move");
  }

  /** The recording is so long. */
  lengthen(duration) {
    if (!(duration > 0) || !Number.isFinite(duration) || duration === this.duration) return;
    this.duration = duration;
    this.#tell("change", "move");
  }

  /** Go to a time in seconds; what is shown goes along. */
  move(time) {
    this.time = Math.min(Math.max(time, 0), this.duration || 0);
    const isShown = this.time >= this.from && this.time < this.to - (this.to < this.duration ? 1 : 0);
    if (!this.isWhole && !isShown) {
      const latest = this.duration - SHOWN_SECONDS;
      this.from = Math.max(0, Math.min(latest, this.time - LEAD * SHOWN_SECONDS));
      this.#tell("change");
    }
    this.#tell("move");
  }

  /** Seconds -> pixels of a picture so wide. */
  place(time, width) {
    return ((time - this.from) / (this.to - this.from)) * width;
  }

  /** Pixels of a picture so wide -> seconds. */
  timeAt(place, width) {
    return this.from + (place / width) * (this.to - this.from);
  }

  #tell(...names) {
    for (const name of names) this.dispatchEvent(new Event(name));
  }
}
