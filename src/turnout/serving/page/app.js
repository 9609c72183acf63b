/** The page: recordings come in by hand, by drop and by microphone, and one of them is open. */

import { Choices } from "./choices.js";
import { Dictation } from "./dictation.js";
import { byId, make, show, tell } from "./dom.js";
import { KeyDialog } from "./key_dialog.js";
import { Queue, Recording } from "./queue.js";
import { RecordingView } from "./recording_view.js";
import { Server } from "./server.js";

const server = new Server();
const choices = new Choices(byId("choices"));
const keys = new KeyDialog(byId("key-dialog"), server);
const view = new RecordingView((model) => choices.routing(model));
const on = {
  row: rowCame,
  state: stateChanged,
  key: askForKey,
  sound: (recording) => recording === view.recording && view.hear(),
  partial: (recording, event) => recording === view.recording && view.partial(event),
};
const queue = new Queue(server, on);
const recordings = [];
const places = new Map(); // recording -> its place in the list
let dictation = null;

/** Ask for the key of a server that wants one; whether it was given. */
function askForKey(why) {
  show(byId("key-button"), true);
  return keys.ask(why);
}

/** Ask the server what it offers. */
async function meet() {
  const status = byId("server");
  status.textContent = "Asking the server …";
  try {
    const models = await server.models();
    choices.fill(models);
    status.textContent = models.length ? "Ready" : "This server has no model.";
    tell(byId("notice"), "");
  } catch (error) {
    if (error.asksForKey && (await askForKey(error.message))) return meet();
    status.textContent = "";
    tell(byId("notice"), error.message);
  }
}

function take(files) {
  for (const file of files) {
    const recording = new Recording(file, file.name, choices.value);
    recordings.push(recording);
    queue.add(recording);
    if (!view.recording || isSettled(view.recording)) open(recording);
  }
}

/** A recording that is no longer worked on gives way to one that comes in. */
function isSettled({ state }) {
  return ["done", "failed", "stopped"].includes(state);
}

function open(recording) {
  view.open(recording);
  listRecordings();
}

function rowCame(recording, row) {
  if (recording === view.recording) view.put(row);
  const texts = recording.result.tasks.map((task) => row[task]?.text).filter(Boolean);
  if (recording === view.recording) byId("said").textContent = texts.join(". ");
}

function stateChanged(recording) {
  if (recording === view.recording) view.update();
  if (dictation?.recording === recording && recording.state !== "listening") dictation = null;
  nameRecordButton();
  listRecordings();
}

function listRecordings() {
  document.body.classList.toggle("begun", recordings.length > 0);
  show(byId("list"), recordings.length > 1);
  for (const recording of recordings) {
    const { state } = recording;
    const { button, badge } = listed(recording);
    badge.textContent = state;
    badge.className = `badge ${state}`;
    if (recording === view.recording) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

/** The place of a recording in the list, made once: a button that has the focus keeps it. */
function listed(recording) {
  if (!places.has(recording)) {
    const badge = make("span");
    const button = make("button", { type: "button", onclick: () => open(recording) });
    button.append(make("bdi", { class: "name" }, recording.name), " ", badge);
    places.set(recording, { item: make("li", {}, button), button, badge });
    byId("recordings").append(places.get(recording).item);
  }
  return places.get(recording);
}

function nameRecordButton() {
  const isOn = dictation !== null;
  byId("record").setAttribute("aria-pressed", String(isOn));
  byId("record-label").textContent = isOn ? "Stop recording" : "Record";
}

async function toggleMicrophone() {
  if (dictation) {
    await dictation.stop();
    return;
  }
  dictation = new Dictation(server, choices.value, on);
  recordings.push(dictation.recording);
  open(dictation.recording);
  await dictation.start();
}

function removeOpen() {
  const place = recordings.indexOf(view.recording);
  const [gone] = recordings.splice(place, 1);
  queue.remove(gone);
  places.get(gone).item.remove();
  places.delete(gone); // and with it its sound
  open(recordings[Math.min(place, recordings.length - 1)] ?? null);
  (view.recording ? byId("recording") : byId("choose")).focus();
}

function again() {
  const { recording } = view;
  recording.restart(choices.value);
  view.restart();
  queue.add(recording);
}

/** Whether something that is dragged holds files. */
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

function acceptDrops() {
  let depth = 0; // entering a part of the page comes before leaving the one around it
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  addEventListener("dragenter", (event) => holdsFiles(event) && mark(1));
  addEventListener("dragleave", (event) => holdsFiles(event) && mark(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(-depth);
    take(event.dataTransfer.files);
  });
}

byId("choose").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = ""; // the same file may be chosen again
});
byId("record").addEventListener("click", toggleMicrophone);
byId("again").addEventListener("click", again);
byId("stop").addEventListener("click", () => view.recording.stop());
byId("remove").addEventListener("click", removeOpen);
byId("key-button").addEventListener("click", async () => {
  if (await keys.ask("")) await meet();
});
byId("address").textContent = server.address;
addEventListener("beforeunload", (event) => {
  // Corrections, and what the microphone hears, live in this tab alone.
  if (recordings.some(({ result, state }) => result.isCorrected || state === "listening")) event.preventDefault();
});
acceptDrops();
await meet();
