/** A microphone's recording: heard, drawn and written down while somebody speaks. */

import { LiveStream } from "./live.js";
import { Microphone } from "./microphone.js";
import { Peaks } from "./peaks.js";
import { Recording } from "./queue.js";
import { TRANSCRIPT, TRANSLATION } from "./result.js";

export class Dictation {
  #server;
  #on;
  #live = null;
  #microphone = null;
  #isConnecting = false;
  /** The Recording, from the beginning on. */
  recording;

  /** `on.row(recording, row)`, `on.state(recording)`, `on.sound(recording)`, `on.partial(recording, event)`. */
  constructor(server, choices, on) {
    [this.#server, this.#on] = [server, on];
    const time = new Date().toLocaleTimeString("en-GB").replaceAll(":", ".");
    this.recording = new Recording(null, `recording ${time}.wav`, choices);
    this.recording.peaks = new Peaks();
    this.recording.stop = () => this.stop();
  }

  /** Listen until `stop`; what goes wrong is the recording's problem. */
  async start() {
    const { model, language, task, target } = this.recording.choices;
    this.#tell("listening", { note: "Opening the microphone …" });
    try {
      this.#live = new LiveStream({
        key: this.#server.key,
        model,
        language: language || "auto",
        task,
        to_language: target || undefined,
        on: (event) => this.#take(event),
      });
      this.#microphone = new Microphone(
        (samples) => this.#hear(samples),
        () => this.stop(),
      );
      // The microphone first: nobody's place is taken while the reader is asked.
      await this.#microphone.start();
      if (!this.#isListening) return;
      this.#isConnecting = true;
      await this.#live.open();
      // Stopped while the model was loaded, it finishes.
      if (this.#isListening) this.#tell("listening", { note: "Listening: speak, then stop." });
    } catch (error) {
      if (this.recording.state !== "stopped") this.#fail(error.message);
    }
  }

  /** No more sound; what was said is finished. */
  async stop() {
    if (!this.#isListening) return;
    this.#keep();
    if (!this.#isConnecting) {
      this.#tell("stopped", {}); // nobody was asked to write anything
      return;
    }
    this.#tell("working", { note: "Finishing …" });
    try {
      await this.#live.end();
      this.recording.result.isComplete = true;
      if (this.recording.state === "working") this.#tell("done", {});
    } catch (error) {
      this.#fail(error.message);
    }
  }

  get #isListening() {
    return this.recording.state === "listening";
  }

  #hear(samples) {
    this.recording.peaks.add([samples], this.#live.rate);
    this.#live.send(samples); // which keeps them until the server is ready
    this.#on.sound(this.recording);
  }

  #take(event) {
    const { recording } = this;
    if (event.type === "partial") this.#on.partial(recording, event);
    if (event.type === "final") this.#takeFinal(event);
    if (event.type === "warning") recording.result.facts.warnings.push(event.message);
    if (event.type === "error") this.#fail(event.error.message);
    if (event.type === "disconnected" && recording.state === "listening") {
      this.#fail("The connection to the server was lost; what was recorded is kept.");
    }
  }

  #takeFinal({ turn, start, end, text, language, task, bandwidth, words, translation }) {
    const { recording } = this;
    const { facts } = recording.result;
    facts.bandwidth = bandwidth ?? facts.bandwidth;
    if (task !== TRANSLATION) facts.language = language ?? facts.language;
    const segment = { id: turn, start, end, text, words };
    const row = recording.result.add(task === TRANSLATION ? TRANSLATION : TRANSCRIPT, segment, language);
    if (translation?.text) {
      facts.target = translation.language;
      recording.result.add(TRANSLATION, { id: turn, start, end, text: translation.text }, translation.language);
    }
    this.#on.partial(recording, null);
    if (row) this.#on.row(recording, row);
  }

  #fail(message) {
    this.#keep();
    this.#live?.close();
    this.#tell("failed", { problem: message });
  }

  /** The microphone is let go, and what it heard is kept. */
  #keep() {
    this.#microphone?.stop();
    delete this.recording.stop; // from now on it stops as any recording does
    const heard = this.recording.peaks.seconds > 0;
    if (heard) {
      this.recording.blob = this.#microphone.recording();
      this.recording.result.facts.duration = this.recording.peaks.seconds;
    }
    this.#on.partial(this.recording, null);
  }

  #tell(state, { note = "", problem = "" }) {
    Object.assign(this.recording, { state, note, problem });
    this.#on.state(this.recording);
  }
}
