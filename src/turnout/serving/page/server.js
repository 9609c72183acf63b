/** What the page asks of its server: the models, and a recording's text as it is finished. */

import { eventsOf } from "./events.js";

const ASCII = /^[\x20-\x7e]*$/;
const STRANGE_KEY = "The key holds letters that a key cannot have.";

/** A refusal, in one line that can be shown as it is. */
export class ServerError extends Error {
  /** `retrySeconds` is how long the server asks to wait, where it does. */
  constructor(message, { status = 0, retrySeconds = null } = {}) {
    super(message);
    this.status = status;
    this.retrySeconds = retrySeconds;
  }

  get asksForKey() {
    return this.status === 401;
  }

  get isBusy() {
    return this.status === 429 || (this.status === 503 && this.retrySeconds !== null);
  }
}

export class Server {
  /** The key is in this tab's memory and nowhere else. */
  #key = "";

  get key() {
    return this.#key;
  }

  set key(value) {
    this.#key = value.trim();
  }

  /** Where programs call it. */
  get address() {
    return new URL("v1", document.baseURI).href;
  }

  /** The models, the default one first. */
  async models() {
    const answer = await this.#ask("v1/models");
    const { data } = await answer.json();
    return data.sort((one, other) => Number(other.default ?? false) - Number(one.default ?? false));
  }

  /** The events of one recording's text; a server that answers at once gives one, `whole`. */
  async *transcribe(file, choices, signal) {
    const body = formOf(file, choices);
    const answer = await this.#ask("v1/audio/transcriptions", { method: "POST", body, signal });
    if (answer.headers.get("content-type")?.startsWith("text/event-stream")) {
      for await (const event of eventsOf(answer.body)) {
        if (event.type === "error") throw new ServerError(messageOf(event));
        yield event;
      }
    } else {
      yield { ...(await answer.json()), type: "whole" };
    }
  }

  async #ask(path, options = {}) {
    // No header can hold it: the browser would say that the server cannot be reached.
    if (!ASCII.test(this.#key)) throw new ServerError(STRANGE_KEY, { status: 401 });
    const headers = this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
    let answer;
    try {
      answer = await fetch(new URL(path, document.baseURI), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(
        "The server cannot be reached, or it ended the connection: is it running? Then try again.",
      );
    }
    if (answer.ok) return answer;
    throw await refusalOf(answer);
  }
}

function formOf(file, { model, task, language, target }) {
  const form = new FormData();
  const fields = [
    ["model", model],
    ["task", task],
    ["language", language],
    ["to_language", target],
    ["response_format", "verbose_json"],
    // A translation's words have no times; asking for them would be remarked upon.
    ["timestamp_granularities[]", task === "translate" ? "" : "word"],
    ["timestamp_granularities[]", "segment"],
    ["stream", "true"],
  ];
  for (const [name, value] of fields) if (value) form.append(name, value);
  form.append("file", file, file.name || "recording.wav");
  return form;
}

async function refusalOf(answer) {
  const seconds = Number.parseFloat(answer.headers.get("retry-after") ?? "");
  const retrySeconds = Number.isFinite(seconds) ? seconds : null;
  let message = `The server answered ${answer.status} ${answer.statusText}.`;
  try {
    message = messageOf(await answer.json());
  } catch {
    // Not in the API's shape, as from a proxy in between: its status says what there is to say.
  }
  return new ServerError(message, { status: answer.status, retrySeconds });
}

function messageOf(answer) {
  return answer.error?.message ?? "The server gave an error without saying which.";
}
