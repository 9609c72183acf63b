/** Model, task and languages: what is offered is what the chosen model can do. */

import { make, show } from "./dom.js";
import { languageName } from "./wording.js";

export class Choices {
  #form;
  #models = new Map(); // name -> what the model can do

  constructor(form) {
    this.#form = form;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.model.addEventListener("change", () => this.#offer());
    form.language.addEventListener("change", () => this.#offerTargets());
    for (const task of form.task) task.addEventListener("change", () => this.#offerTargets());
  }

  /** Offer these models, as the server lists them; the first is the default. */
  fill(models) {
    this.#models = new Map(models.map((model) => [model.id, abilities(model)]));
    this.#form.model.replaceChildren(...models.map(({ id }) => option(id, id)));
    this.#offer();
  }

  /** What is chosen; "" leaves it to the model. */
  get value() {
    const { model, task, language, target } = this.#form;
    const isTranslated = task.value !== "transcribe";
    return {
      model: model.value,
      task: task.value,
      language: language.value,
      target: isTranslated ? target.value : "",
    };
  }

  /** How a model routes its experts, `{ encoder, decoder }`; null where nothing is known. */
  routing(model) {
    return this.#models.get(model)?.routing ?? null;
  }

  get #chosen() {
    return this.#models.get(this.#form.model.value) ?? abilities({});
  }

  #offer() {
    const { tasks, languages } = this.#chosen;
    for (const radio of this.#form.task) {
      const wanted = radio.value === "both" ? ["transcribe", "translate"] : [radio.value];
      radio.disabled = !wanted.every((task) => tasks.includes(task));
      if (radio.disabled && radio.checked) this.#form.task.value = "transcribe";
    }
    refill(this.#form.language, [["", "automatic"], ...named(languages)]);
    this.#offerTargets();
  }

  #offerTargets() {
    const { language, task, target } = this.#form;
    const pairs = this.#chosen.translations.filter(([from]) => !language.value || from === language.value);
    const targets = named(new Set(pairs.map(([, to]) => to)));
    const first = targets.length === 1 ? targets[0][1] : "automatic";
    refill(target, [["", first], ...(targets.length > 1 ? targets : [])]);
    show(target.closest("label"), task.value !== "transcribe" && targets.length > 0);
  }
}

/** A server's entry as the page reads it; nothing known leaves everything open. */
function abilities(model) {
  return {
    tasks: model.tasks ?? ["transcribe", "translate"],
    languages: model.languages ?? [],
    translations: model.translations ?? [],
    routing: { encoder: model.encoder ?? null, decoder: model.decoder ?? null },
  };
}

/** Codes with their names, by name. */
function named(codes) {
  const pairs = Array.from(codes, (code) => [code, languageName(code)]);
  return pairs.sort(([, one], [, other]) => one.localeCompare(other, "en"));
}

/** Other options, keeping what was chosen where it still is one. */
function refill(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => option(value, text)));
  select.value = pairs.some(([value]) => value === before) ? before : "";
}

function option(value, text) {
  return make("option", { value }, text);
}
