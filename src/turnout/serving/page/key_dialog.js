/** Asks for the key of a server that has one. It stays in this tab's memory. */

const WHY =
  "Its operator has it. It is kept in this tab's memory, and forgotten when the tab is closed.";

export class KeyDialog {
  #dialog;
  #server;
  #asked = null;

  constructor(dialog, server) {
    [this.#dialog, this.#server] = [dialog, server];
  }

  /** Whether the reader gave a key, which the server then has; `why` is what the server said. */
  ask(why) {
    // Asked by the list of models and by a recording at once: one answer serves both.
    this.#asked ??= this.#open(why).finally(() => (this.#asked = null));
    return this.#asked;
  }

  #open(why) {
    const [dialog, field] = [this.#dialog, this.#dialog.querySelector("input")];
    dialog.querySelector("#key-why").textContent = this.#server.key && why ? `${why} ${WHY}` : WHY;
    dialog.querySelector("h2").textContent = why ? "This server asks for a key" : "Key of this server";
    field.value = "";
    dialog.returnValue = "cancel";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener(
        "close",
        () => {
          const isGiven = dialog.returnValue === "use" && field.value.trim() !== "";
          if (isGiven) this.#server.key = field.value;
          field.value = "";
          resolve(isGiven);
        },
        { once: true },
      );
    });
  }
}
