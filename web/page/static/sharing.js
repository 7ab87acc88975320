/** The dialog in which a conversation is shared, and shares are revoked. */

import * as api from "./api.js";
import { button, byId, copyFor, el } from "./dom.js";

export class Sharing {
  constructor() {
    this.opener = byId("share");
    this.id = null;
    if (!this.opener) return; // without sign-in there is nobody to share with
    this.dialog = byId("sharing");
    this.opener.addEventListener("click", () => this.#open());
    byId("share-new").addEventListener("click", () => this.#add());
    byId("share-user").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it would close the dialog
      this.#add();
    });
  }

  /** Offer to share this conversation; null: there is none. */
  show(id) {
    this.id = id;
    if (this.opener) this.opener.hidden = !id;
  }

  #open() {
    byId("shares").replaceChildren();
    byId("share-user").value = "";
    this.#notify("");
    this.dialog.showModal();
    this.#list();
  }

  async #list() {
    const { id } = this;
    try {
      const { items } = await api.listShares(id);
      // The link of a share that was made here stays in the list.
      const known = new Map([...byId("shares").children].map((item) => [item.dataset.id, item]));
      if (id === this.id) byId("shares").replaceChildren(...items.map((one) => known.get(one.id) ?? this.#item(one)));
    } catch (problem) {
      this.#notify(problem.message);
    }
  }

  async #add() {
    const user = byId("share-user").value.trim();
    this.#notify("");
    try {
      const made = await api.share(this.id, user ? { user } : {});
      byId("share-user").value = "";
      byId("shares").prepend(this.#item(made));
    } catch (problem) {
      this.#notify(problem.message);
    }
  }

  #item({ id, user, readers, path, created_at: at }) {
    const since = new Date(at).toLocaleDateString();
    const reading = readers ? `, ${readers} reading` : "";
    const what = user ? `With ${user}` : "By a link";
    const item = el("li", { dataset: { id } }, el("span", {}, `${what}, since ${since}${reading}`));
    if (path) {
      const address = new URL(path, location.href).href;
      item.append(button("Copy", ({ target }) => copyFor(target, address), { className: "quiet copy-link" }));
    }
    item.append(button("Revoke", () => this.#revoke(id, item)));
    return item;
  }

  async #revoke(id, item) {
    try {
      await api.revokeShare(id);
      item.remove();
    } catch (problem) {
      this.#notify(problem.message);
    }
  }

  #notify(text) {
    byId("sharing-notice").hidden = !text;
    byId("sharing-notice").textContent = text;
  }
}
