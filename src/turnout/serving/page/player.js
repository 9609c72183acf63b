/** The recording, to be heard: an audio element that moves the axis, and its button. */

export class Player {
  #audio;
  #button;
  #axis;
  #address = null;
  #resolveSeconds = null;
  /** Whether this browser can play it; told of by `onTrouble`. */
  canPlay = false;

  constructor(audio, button, axis, { onTrouble }) {
    [this.#audio, this.#button, this.#axis] = [audio, button, axis];
    button.addEventListener("click", () => this.toggle());
    audio.addEventListener("play", () => this.#begun());
    audio.addEventListener("pause", () => this.#label());
    audio.addEventListener("ended", () => axis.move(axis.duration));
    audio.addEventListener("loadedmetadata", () => this.#known(audio.duration));
    audio.addEventListener("error", () => {
      if (this.#address === null) return;
      this.#known(null);
      onTrouble("This browser cannot play this kind of file.");
    });
  }

  /** Take a recording; how many seconds it lasts, null where the browser cannot say. */
  load(blob) {
    this.clear();
    this.#address = URL.createObjectURL(blob);
    const seconds = new Promise((resolve) => (this.#resolveSeconds = resolve));
    this.#audio.src = this.#address;
    return seconds;
  }

  /** Let go of the recording. */
  clear() {
    this.#audio.pause();
    if (this.#address !== null) URL.revokeObjectURL(this.#address);
    this.#address = null;
    this.#resolveSeconds?.(null);
    this.#audio.removeAttribute("src");
    this.#audio.load();
    this.#enable(false);
  }

  get isPlaying() {
    return !this.#audio.paused;
  }

  toggle() {
    if (this.isPlaying) this.#audio.pause();
    else this.play(this.#axis.time >= this.#axis.duration - 0.05 ? 0 : this.#axis.time);
  }

  /** Play from a time in seconds on. */
  async play(from) {
    this.seek(from);
    if (!this.canPlay) return;
    try {
      await this.#audio.play();
    } catch (error) {
      // Paused before it began, or not allowed without a click: the button shows that it is still.
      if (!["AbortError", "NotAllowedError"].includes(error.name)) throw error;
    }
  }

  /** Go to a time in seconds. */
  seek(time) {
    if (this.canPlay) this.#audio.currentTime = Math.min(Math.max(time, 0), this.#axis.duration);
    this.#axis.move(time);
  }

  #known(seconds) {
    const isKnown = Number.isFinite(seconds) && seconds > 0;
    this.#enable(seconds !== null);
    if (isKnown) this.#axis.lengthen(seconds);
    this.#resolveSeconds?.(isKnown ? seconds : null);
  }

  #enable(canPlay) {
    this.canPlay = canPlay;
    this.#button.disabled = !canPlay;
    this.#label();
  }

  #begun() {
    this.#label();
    const step = () => {
      if (!this.isPlaying) return;
      this.#axis.move(this.#audio.currentTime);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #label() {
    this.#button.setAttribute("aria-label", this.isPlaying ? "Pause" : "Play");
    this.#button.classList.toggle("playing", this.isPlaying);
  }
}
