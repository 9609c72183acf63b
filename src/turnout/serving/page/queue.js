/** Recordings on their way to the server, one after another. */

import { Result } from "./result.js";

const BUSY_SECONDS = 2; // where the server does not say how long to wait

/** One recording, and what is known of it. `state`: waiting, listening, working, done, failed, stopped. */
export class Recording {
  /** `blob` is null while a microphone is heard. */
  constructor(blob, name, choices) {
    [this.blob, this.name, this.choices] = [blob, name, choices];
    this.state = "waiting";
    /** One line for the reader: what went wrong, and what is going on. */
    [this.problem, this.note] = ["", ""];
    /** Peaks of its sound, and why there are none. */
    [this.peaks, this.soundNote] = [null, ""];
    this.result = new Result(choices.task);
    this.abort = new AbortController();
  }

  /** What to call when the reader stops it. */
  stop() {
    this.abort.abort();
  }

  /** Back to the start, with these choices. */
  restart(choices) {
    this.stop();
    this.choices = choices;
    this.result = new Result(choices.task);
    [this.state, this.problem, this.note] = ["waiting", "", ""];
    this.abort = new AbortController();
  }
}

export class Queue {
  #server;
  #waiting = [];
  #isRunning = false;
  #on;

  /** `on.row(recording, row)`, `on.state(recording)`, and `on.key()`, whether a key was given. */
  constructor(server, on) {
    [this.#server, this.#on] = [server, on];
  }

  add(recording) {
    this.#waiting.push(recording);
    this.#on.state(recording);
    this.#run();
  }

  remove(recording) {
    this.#waiting = this.#waiting.filter((waiting) => waiting !== recording);
    recording.stop();
  }

  async #run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (this.#waiting.length) await this.#work(this.#waiting.shift());
    this.#isRunning = false;
  }

  async #work(recording) {
    const { abort, result } = recording;
    const began = performance.now();
    this.#tell(recording, "working", { note: "Sending …" });
    try {
      for await (const event of this.#events(recording)) {
        const row = result.take(event);
        // A recording that was started anew is another one.
        if (!row || result !== recording.result) continue;
        if (result.rows.length === 1) this.#tell(recording, "working", { note: "Writing …" });
        this.#on.row(recording, row);
      }
      if (!result.isComplete) throw new Error("The server ended before the text was complete: try again.");
      result.facts.seconds = (performance.now() - began) / 1000;
      this.#end(recording, abort, "done", {});
    } catch (error) {
      if (abort.signal.aborted) this.#end(recording, abort, "stopped", {});
      else this.#end(recording, abort, "failed", { problem: error.message });
    }
  }

  /** The events of a recording, after as many tries as a busy server, or one with a key, needs. */
  async *#events(recording) {
    const { blob, name, choices, abort } = recording;
    for (;;) {
      try {
        yield* this.#server.transcribe(new File([blob], name, { type: blob.type }), choices, abort.signal);
        return;
      } catch (error) {
        if (error.asksForKey && (await this.#on.key(error.message))) continue;
        if (!error.isBusy) throw error;
        const seconds = error.retrySeconds ?? BUSY_SECONDS;
        this.#tell(recording, "working", { note: `The server is busy: trying again in ${Math.ceil(seconds)} s …` });
        await pause(seconds, abort.signal);
      }
    }
  }

  #end(recording, abort, state, said) {
    if (abort === recording.abort) this.#tell(recording, state, said);
  }

  #tell(recording, state, { note = "", problem = "" }) {
    Object.assign(recording, { state, note, problem });
    this.#on.state(recording);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
