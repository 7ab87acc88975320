/** Which model answers: what the provider offers, and what somebody chose last. */

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { recall, remember } from "./outbox.js";

const CHOSEN = "outlive.model";

export class Models {
  constructor() {
    this.select = byId("model");
    this.select.addEventListener("change", () => remember(CHOSEN, this.select.value));
  }

  /** Fill the list; without one there is the default, and nothing to choose. */
  async load() {
    const { items, default: usual } = await api.models();
    const names = [usual, ...items.map(({ id }) => id).filter((id) => id !== usual)];
    const chosen = recall(CHOSEN);
    this.select.replaceChildren(...names.map((name) => el("option", { value: name === usual ? "" : name }, name)));
    this.select.value = names.includes(chosen) && chosen !== usual ? chosen : "";
    this.select.disabled = names.length < 2;
  }

  /** What a request for an answer says of it: nothing where the default is meant. */
  get wanted() {
    return this.select.value ? { model: this.select.value } : {};
  }
}
