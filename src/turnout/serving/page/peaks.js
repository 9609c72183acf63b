/** How loud a recording is, fifty times a second: an hour of it is 180 kB, whatever its format. */

const PER_SECOND = 50;

export class Peaks {
  /** Of 0 to 255 each. */
  #values = new Uint8Array(4096);
  #length = 0;
  #samples = 0;
  /** How much longer the recording is than what was decoded of it: pieces lose a little at seams. */
  #stretch = 1;
  loudest = 1;

  /** Hear what follows: the channels of one part, arrays of one length, at a rate in Hz. */
  add(channels, rate) {
    const count = channels[0]?.length ?? 0;
    let bucket = Math.floor((this.#samples * PER_SECOND) / rate);
    for (let begin = 0; begin < count; ) {
      const edge = Math.ceil(((bucket + 1) * rate) / PER_SECOND) - this.#samples;
      const end = Math.min(count, edge);
      this.#put(bucket, Math.min(255, Math.round(255 * loudestOf(channels, begin, end))));
      begin = end;
      bucket += 1;
    }
    this.#samples += count;
  }

  /** Seconds that were heard. */
  get seconds() {
    return (this.#length / PER_SECOND) * this.#stretch;
  }

  /** Say how long the whole recording is. */
  fit(seconds) {
    if (this.#length && seconds > 0) this.#stretch = (seconds * PER_SECOND) / this.#length;
  }

  /** The loudest between two times in seconds, 0 to 1. */
  between(from, to) {
    const place = (seconds) => Math.floor((seconds * PER_SECOND) / this.#stretch);
    const first = Math.max(0, place(from));
    const last = Math.min(this.#length, Math.max(first + 1, place(to)));
    let most = 0;
    for (let bucket = first; bucket < last; bucket += 1) most = Math.max(most, this.#values[bucket]);
    return most / 255;
  }

  #put(bucket, value) {
    if (bucket >= this.#values.length) {
      const longer = new Uint8Array(this.#values.length * 2);
      longer.set(this.#values);
      this.#values = longer;
    }
    this.#values[bucket] = Math.max(this.#values[bucket], value);
    this.#length = Math.max(this.#length, bucket + 1);
    this.loudest = Math.max(this.loudest, value);
  }
}

function loudestOf(channels, begin, end) {
  let most = 0;
  for (const samples of channels) {
    for (let place = begin; place < end; place += 1) {
      const size = Math.abs(samples[place]);
      if (size > most) most = size;
    }
  }
  return most;
}
