/** The menu of models: what the provider offers, and the last choice. */

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { recall, remember } from "./outbox.js";

const CHOSEN = "outlive.model";

export class Models {
  constructor() {
    this.select = byId("model");
    this.select.addEventListener("change", () => remember(CHOSEN, this.select.value));
  }

  /** Fill the menu; without a list there is only the default. */
  async load() {
    const { items, default: usual } = await api.listModels();
    const names = [usual, ...items.map(({ id }) => id).filter((id) => id !== usual)];
    const chosen = recall(CHOSEN);
    this.select.replaceChildren(...names.map((name) => el("option", { value: name === usual ? "" : name }, name)));
    this.select.value = names.includes(chosen) && chosen !== usual ? chosen : "";
    this.select.disabled = names.length < 2;
  }

  /** A request's fields for the chosen model; none for the default. */
  get wanted() {
    return this.select.value ? { model: this.select.value } : {};
  }
}
