/** In the audio thread: what the microphone gives, at any rate -> mono at 16 kHz, in small blocks. */

export const RATE = 16000;
const BLOCK = 800; // 50 ms
const ZEROS = 24; // of the filter's sinc, on each side
const PHASES = 65536; // that are told apart, of a sample
const EDGE = 0.92; // of the lower rate's half: where the filter begins to close

/** Samples at one rate -> another, as they come: a sinc under a Hann window. */
export class Resampler {
  #step; // samples of the input for one of the output
  #half; // of the filter's length, in samples of the input
  #cutoff;
  #weights = new Map();
  #held = new Float32Array(0);
  #place = 0; // of the next output, from the first sample that is held

  constructor(from, to) {
    this.#step = from / to;
    this.#cutoff = EDGE * Math.min(1, to / from);
    this.#half = Math.ceil(ZEROS / this.#cutoff);
    // Silence before the first sample, so that the output is in step with the input.
    this.#held = new Float32Array(this.#half);
    this.#place = this.#half;
  }

  /** The samples that are known when these have come as well. */
  add(samples) {
    const held = new Float32Array(this.#held.length + samples.length);
    held.set(this.#held);
    held.set(samples, this.#held.length);
    const found = [];
    while (this.#place + this.#half < held.length) {
      found.push(this.#at(held, this.#place));
      this.#place += this.#step;
    }
    const first = Math.max(0, Math.floor(this.#place) - this.#half);
    this.#held = held.slice(first);
    this.#place -= first;
    return Float32Array.from(found);
  }

  #at(held, place) {
    const first = Math.ceil(place) - this.#half;
    const weights = this.#weightsFor(first - place);
    let sum = 0;
    for (let tap = 0; tap < weights.length; tap += 1) sum += held[first + tap] * weights[tap];
    return sum;
  }

  /** From a sample so far before the output on; rates have few different distances. */
  #weightsFor(distance) {
    const phase = Math.round((distance + this.#half) * PHASES);
    if (!this.#weights.has(phase)) {
      const taps = Array.from({ length: 2 * this.#half }, (_, tap) => this.#weight(distance + tap));
      this.#weights.set(phase, Float32Array.from(taps));
    }
    return this.#weights.get(phase);
  }

  #weight(distance) {
    const angle = Math.PI * distance * this.#cutoff;
    const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
    return this.#cutoff * sinc * (0.5 + 0.5 * Math.cos((Math.PI * distance) / this.#half));
  }
}

// The rest is for the audio thread; elsewhere, as in a test, there is only the resampler.
if (typeof registerProcessor === "function") {
  class Capture extends AudioWorkletProcessor {
    #resampler = new Resampler(sampleRate, RATE);
    #block = new Float32Array(BLOCK);
    #filled = 0;

    process([channels]) {
      if (!channels.length) return true;
      for (const value of this.#resampler.add(mixed(channels))) {
        this.#block[this.#filled] = value;
        this.#filled += 1;
        if (this.#filled === BLOCK) {
          this.port.postMessage(this.#block.slice());
          this.#filled = 0;
        }
      }
      return true;
    }
  }
  registerProcessor("capture", Capture);
}

function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, place) => channels.reduce((sum, one) => sum + one[place], 0) / channels.length);
}
