/** The microphone's samples, mono at 16 kHz, as they are heard, and all of them as a file. */

const RATE = 16000;
const HEADER_BYTES = 44;
const MESSAGES = {
  NotAllowedError: "The microphone may not be used: allow it for this page in the browser, then try again.",
  NotFoundError: "There is no microphone: connect one, then try again.",
  NotReadableError: "The microphone cannot be opened: another program may be using it.",
  insecure:
    "A browser gives the microphone only to pages from this machine or over https: open the server with a certificate.",
};
// What is heard should be what was said: its bandwidth is measured.
const WANTED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export class Microphone {
  #onSamples;
  #stream = null;
  #context = null;
  #blocks = [];
  #onLost;
  #isStopped = false;

  /** `onSamples(float32)` gets blocks of 50 ms; `onLost()` is told where somebody takes the microphone away. */
  constructor(onSamples, onLost = () => {}) {
    [this.#onSamples, this.#onLost] = [onSamples, onLost];
  }

  /**
   * Ask for the microphone and listen; throws an Error with a sentence for the reader. Stopped
   * before the reader has answered, it lets go of what it is given.
   */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error(MESSAGES.insecure);
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: WANTED });
    } catch (error) {
      throw new Error(MESSAGES[error.name] ?? `The microphone cannot be opened: ${error.message}`);
    }
    if (this.#isStopped) return this.stop();
    for (const track of this.#stream.getTracks()) track.addEventListener("ended", () => this.#onLost());
    this.#context = new AudioContext();
    await this.#context.audioWorklet.addModule(new URL("./capture.js", import.meta.url));
    if (this.#isStopped) return;
    const source = this.#context.createMediaStreamSource(this.#stream);
    const capture = new AudioWorkletNode(this.#context, "capture", { numberOfOutputs: 0 });
    capture.port.addEventListener("message", ({ data }) => this.#take(data));
    capture.port.start();
    source.connect(capture);
    await this.#context.resume();
  }

  /** Let go of the microphone; no samples come any more. */
  stop() {
    this.#isStopped = true;
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context && this.#context.state !== "closed") this.#context.close();
    this.#stream = null;
  }

  /** All that was heard, as a WAV file. */
  recording() {
    const bytes = 2 * this.#blocks.reduce((sum, block) => sum + block.length, 0);
    return new Blob([wavHeader(bytes), ...this.#blocks], { type: "audio/wav" });
  }

  #take(samples) {
    if (!this.#stream) return;
    this.#blocks.push(Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768)))));
    this.#onSamples(samples);
  }
}

/** Of a file with so many bytes of 16-bit samples, mono. */
function wavHeader(bytes) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  const write = (at, text) => [...text].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  [1, 1].forEach((value, place) => view.setUint16(20 + 2 * place, value, true)); // PCM, mono
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  [2, 16].forEach((value, place) => view.setUint16(32 + 2 * place, value, true));
  write(36, "data");
  view.setUint32(40, bytes, true);
  return view.buffer;
}
