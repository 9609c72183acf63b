/**
 * A live stream over the server's WebSocket: sound out, events in. Runs in browsers, and wherever
 * else WebSocket is built in (Node 22).
 */

const PATH = "v1/audio/live";
const FULL_SCALE = 32768;
const MOST_WAITING_SECONDS = 50; // the server lets a stream be 60 s ahead of the clock
const LOADING = "The model took too long to load: try again now that it is there.";
const SLOW = "The connection is too slow for sound: the stream was ended.";
const LOST = "The connection to the server was lost.";

export class LiveStream {
  #start;
  #url;
  #on;
  #socket = null;
  #isReady = false;
  #isOver = false;
  #waiting = []; // samples that came before the server was ready
  #waitingSamples = 0;
  #frameSamples = 1600;
  #opened = promise();
  #closed = promise();

  /**
   * `on(event)` gets every event of the server, and `{ type: "disconnected", code }` at the end.
   * What else is given goes into the first message: key, model, task, language, to_language,
   * bandwidth, words, partials, silence_ms. `url` is the server's, where it is not the page's.
   */
  constructor({ url, on = () => {}, rate = 16000, ...wanted } = {}) {
    [this.#url, this.#on, this.rate] = [url, on, rate];
    this.#start = { type: "start", format: "pcm16", rate, ...wanted };
    // Whoever does not wait for them hears of it by events.
    this.#opened.promise.catch(() => {});
  }

  /** Connect; gives the event `ready`, or throws an Error that says why not. */
  open() {
    const address = new URL(PATH, this.#url ?? document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    this.#socket = new WebSocket(address);
    this.#socket.addEventListener("open", () => this.#socket.send(JSON.stringify(this.#start)));
    this.#socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    this.#socket.addEventListener("close", ({ code }) => this.#leave(code));
    return this.#opened.promise;
  }

  /** Mono samples at `rate`, as they are heard: a Float32Array in -1..1, or an Int16Array. */
  send(samples) {
    const whole = samples instanceof Int16Array ? samples : asIntegers(samples);
    if (this.#isOver) return;
    if (!this.#isReady) {
      this.#waiting.push(whole);
      this.#waitingSamples += whole.length;
      if (this.#waitingSamples > MOST_WAITING_SECONDS * this.rate) this.#fail(LOADING);
      return;
    }
    for (let first = 0; first < whole.length; first += this.#frameSamples) {
      this.#socket.send(whole.slice(first, first + this.#frameSamples));
    }
    if (this.#socket.bufferedAmount > 2 * MOST_WAITING_SECONDS * this.rate) this.#fail(SLOW);
  }

  /** No more sound; resolves when the last text has come and the stream is closed. */
  async end() {
    await this.#opened.promise;
    if (!this.#isOver) this.#socket.send('{"type": "end"}');
    await this.#closed.promise;
  }

  /** Leave at once; what was not told yet is not wanted any more. */
  close() {
    this.#isOver = true;
    this.#waiting = [];
    this.#socket?.close();
  }

  #take(event) {
    this.#on(event);
    if (event.type === "ready") {
      this.#isReady = true;
      this.#frameSamples = event.most_frame_bytes / 2;
      for (const samples of this.#waiting.splice(0)) this.send(samples);
      this.#opened.resolve(event);
    }
    if (event.type === "error") this.#opened.reject(new Error(event.error.message));
  }

  #fail(message) {
    this.#on({ type: "error", error: { message, type: "client_error", param: null, code: null } });
    this.#opened.reject(new Error(message));
    this.close();
  }

  #leave(code) {
    this.#isOver = true;
    this.#opened.reject(new Error(LOST)); // of no effect where it was ready, or an error came
    this.#on({ type: "disconnected", code });
    this.#closed.resolve();
  }
}

function asIntegers(samples) {
  return Int16Array.from(samples, (value) =>
    Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, Math.round(value * FULL_SCALE))),
  );
}

function promise() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
