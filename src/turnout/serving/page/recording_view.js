/** The recording that is open: its facts, its sound, its texts, its experts, its downloads. */

import { Axis } from "./axis.js";
import { byId, make, show, tell } from "./dom.js";
import { download, KINDS } from "./downloads.js";
import { expertRows, ExpertTimeline } from "./experts.js";
import { Player } from "./player.js";
import { TRANSCRIPT } from "./result.js";
import { NoPicture, peaksOf } from "./sound.js";
import { TextView } from "./text_view.js";
import { Waveform } from "./waveform.js";
import { clock, counted, languageName } from "./wording.js";

const DRAW_EVERY_MS = 200;
const COLUMNS = ["first-head", "second-head"];
const STATES = {
  waiting: "Waiting for the recordings before it.",
  listening: "Listening.",
  working: "Working …",
  stopped: "Stopped: what was written so far is kept.",
};

const BANDWIDTHS = {
  narrowband: "narrowband (up to 4 kHz)",
  wideband: "wideband (beyond 4 kHz)",
};

export class RecordingView {
  #recording = null;
  #axis = new Axis();
  #player;
  #waveform;
  #experts;
  #texts;
  #routing;
  #load = null; // stops the picture of a recording that is no longer open
  #drawnAt = 0;

  /** `routing(model)` is how a model routes. */
  constructor(routing) {
    this.#routing = routing;
    this.#player = new Player(byId("audio"), byId("play"), this.#axis, {
      onTrouble: (note) => (byId("sound-note").textContent = note),
    });
    const pictures = { seek: byId("seek"), canvas: byId("waveform"), overview: byId("overview") };
    this.#waveform = new Waveform(pictures, this.#axis, this.#player);
    this.#experts = new ExpertTimeline(byId("experts"), byId("expert-rows"), this.#axis);
    this.#texts = new TextView(byId("rows"), {
      onHear: (seconds) => this.#player.play(seconds),
      onCorrect: () => this.#offerDownloads(),
    });
    this.#axis.addEventListener("move", () => this.#moved());
    byId("correcting").addEventListener("change", (event) => {
      this.#texts.isCorrecting = event.target.checked;
      byId("rows").classList.toggle("correcting", event.target.checked);
    });
  }

  get recording() {
    return this.#recording;
  }

  /** Open a recording; null closes the one that is open. */
  open(recording) {
    this.#recording = recording;
    this.#load?.abort();
    this.#load = null;
    this.#player.clear();
    for (const id of ["recording", "skip"]) show(byId(id), recording !== null);
    if (!recording) {
      this.#texts.show(null);
      this.#waveform.show(null, () => []);
      return;
    }
    byId("name").firstElementChild.textContent = recording.name;
    this.#axis.reset(recording.result.facts.duration ?? recording.peaks?.seconds ?? 0);
    this.#waveform.show(recording.peaks, () => recording.result.rows);
    this.restart();
  }

  /** The texts of the open recording, from the first row. */
  restart() {
    this.#texts.show(this.#recording.result);
    this.partial(null);
    this.#makeDownloads();
    this.update();
  }

  /** A row was added to the open recording. */
  put(row) {
    this.#texts.put(row);
    if (this.#recording.peaks === null) this.#axis.lengthen(Math.max(this.#axis.duration, row.end));
    this.#nameColumns();
    this.#waveform.draw();
    this.#showFacts();
  }

  /** What is being said, as a live stream has it: what is sure, and what may change. */
  partial(event) {
    const [stable, unstable] = byId("partial").children;
    const text = event?.text ?? "";
    stable.textContent = event?.stable ?? "";
    unstable.textContent = text.slice(event?.stable.length ?? 0);
    byId("partial").lang = event?.language ?? "";
    show(byId("partial"), text !== "");
  }

  /** More was heard of a microphone. */
  hear() {
    const { seconds } = this.#recording.peaks;
    if (performance.now() - this.#drawnAt < DRAW_EVERY_MS) return;
    this.#drawnAt = performance.now();
    this.#axis.lengthen(seconds);
    this.#axis.move(seconds);
  }

  /** Its state has changed. */
  update() {
    const { state, note, problem, result, blob, soundNote } = this.#recording;
    const isBusy = ["waiting", "working", "listening"].includes(state);
    byId("state").textContent = state === "done" ? this.#summary() : note || STATES[state] || "";
    byId("recording").dataset.state = state;
    byId("rows").setAttribute("aria-busy", String(isBusy));
    tell(byId("problem"), problem);
    byId("sound-note").textContent = soundNote;
    show(byId("stop"), isBusy);
    show(byId("again"), !isBusy && blob !== null);
    show(byId("remove"), !isBusy);
    show(byId("word-help"), result.rows.length > 0);
    show(byId("texts"), result.rows.length > 0 || isBusy);
    if (result.facts.duration && !this.#player.canPlay) this.#axis.lengthen(result.facts.duration);
    if (blob && !this.#load) this.#loadSound(this.#recording);
    this.#showFacts();
    this.#nameColumns();
    this.#offerDownloads();
    this.#experts.show(expertRows(result, state === "done" ? this.#routing(this.#recording.choices.model) : null));
    this.#waveform.draw();
  }

  async #loadSound(recording) {
    const load = new AbortController();
    this.#load = load;
    const isOpen = () => !load.signal.aborted;
    const seconds = await this.#player.load(recording.blob);
    if (!isOpen()) return;
    if (recording.peaks) {
      this.#axis.move(0); // it was drawn while it was heard
      return;
    }
    const onPart = (peaks) => {
      if (!isOpen()) return;
      this.#waveform.show(peaks, () => recording.result.rows);
      if (!seconds) this.#axis.lengthen(peaks.seconds);
    };
    try {
      recording.peaks = await peaksOf(recording.blob, { seconds, signal: load.signal, onPart });
      onPart(recording.peaks);
    } catch (error) {
      if (!isOpen()) return; // opened again, it is drawn from the beginning
      if (!(error instanceof NoPicture)) throw error;
      recording.soundNote = error.message;
      this.#sayNote(error.message);
    }
  }

  #sayNote(note) {
    const place = byId("sound-note");
    if (!place.textContent) place.textContent = note;
  }

  #moved() {
    const { time, duration } = this.#axis;
    byId("now").textContent = clock(time);
    byId("whole").textContent = clock(duration);
    this.#waveform.mark(this.#texts.mark(time, this.#player.isPlaying));
  }

  #summary() {
    const { result } = this.#recording;
    const words = result.passages(result.tasks[0]).reduce((sum, passage) => sum + passage.words.length, 0);
    const { seconds } = result.facts;
    if (!words) return "Done: no words were heard.";
    return `Done: ${counted(words, "word")}${seconds ? ` in ${seconds.toFixed(1)} s` : ""}.`;
  }

  #showFacts() {
    const { facts } = this.#recording.result;
    const { language: spoken, probability } = facts;
    const sure = probability ? `, ${Math.floor(probability * 100)} %` : "";
    const found = [
      facts.bandwidth && ["Bandwidth", BANDWIDTHS[facts.bandwidth] ?? facts.bandwidth, "bandwidth"],
      spoken && ["Spoken", `${languageName(spoken)}${sure}`, "language"],
      facts.duration && ["Length", lengthOf(facts.duration), "length"],
      ["Model", this.#recording.choices.model, "model"],
      ...facts.warnings.map((warning) => ["Note", warning, "warning"]),
    ];
    byId("facts").replaceChildren(
      ...found.filter(Boolean).map(([name, value, kind]) =>
        make("li", { class: `fact ${kind}` }, make("span", { class: "soft" }, `${name} `), value),
      ),
    );
  }

  #nameColumns() {
    const { result } = this.#recording;
    for (const [place, id] of COLUMNS.entries()) {
      const task = result.tasks[place];
      const language = task && result.language(task);
      const name = task === TRANSCRIPT ? "Transcript" : "Translation";
      byId(id).firstElementChild.textContent = language ? `${name}, ${languageName(language)}` : name;
      show(byId(id), Boolean(task));
    }
    byId("texts").classList.toggle("two", result.tasks.length > 1);
  }

  /** Made once for each result: a button that has the focus keeps it. */
  #makeDownloads() {
    const { result, name } = this.#recording;
    for (const [place, id] of COLUMNS.entries()) {
      const task = result.tasks[place];
      const what = task === TRANSCRIPT ? "transcript" : "translation";
      const buttons = KINDS.filter((kind) => place === 0 || kind !== "json").map((kind) => {
        const attributes = { type: "button", class: "quiet small", "aria-label": `Download the ${what} as ${kind}` };
        return make("button", { ...attributes, onclick: () => download(kind, name, result, task) }, kind);
      });
      byId(id).lastElementChild.replaceChildren(...(task ? buttons : []));
    }
  }

  #offerDownloads() {
    const { result } = this.#recording;
    for (const [place, id] of COLUMNS.entries()) {
      show(byId(id).lastElementChild, result.passages(result.tasks[place]).length > 0);
    }
  }
}

/** "4.6 s", "12:40" */
function lengthOf(seconds) {
  return seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds);
}
