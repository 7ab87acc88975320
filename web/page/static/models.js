/** Which model answers: the last choice. The list to choose from is loaded when it is wanted. */

import { byId } from "./dom.js";
import { recall, remember } from "./outbox.js";

const CHOSEN = "outlive.model";

export class Models {
  constructor() {
    this.button = byId("model");
    this.usual = this.button.textContent;
    this.button.addEventListener("click", () => this.#pick());
    this.choose(recall(CHOSEN));
    if (this.chosen) import("./model-dialog.js").then(({ isOffered }) => isOffered(this.chosen)).then((is) => is || this.choose("")).catch(() => {});
  }

  async #pick() {
    const { pick } = await import("./model-dialog.js");
    const name = await pick(this.chosen || this.usual, this.usual);
    if (name !== null) this.choose(name);
  }

  /** Ask this model from now on; the usual one needs no name. */
  choose(name) {
    this.chosen = name && name !== this.usual ? name : "";
    remember(CHOSEN, this.chosen);
    this.button.textContent = this.chosen || this.usual;
  }

  /** A request's fields for the chosen model; none for the default. */
  get wanted() {
    return this.chosen ? { model: this.chosen } : {};
  }
}
