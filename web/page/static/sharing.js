/** The dialog in which a conversation is shared, and shares are revoked. Loaded when it is opened. */

import * as api from "./api.js";
import { button, byId, copyFor, el } from "./dom.js";
import { dateOf, list, n, t, why } from "./t.js";

/** Milliseconds between looks at who reads, while the dialog is open. */
const EVERY = 3_000;

export class Sharing {
  constructor() {
    this.id = null;
    this.dialog = byId("sharing");
    /** The address of each link that was made here: the server does not know it. */
    this.links = new Map();
    /** Counts what was changed here: a list that was asked for before a change is old. */
    this.changes = 0;
    this.dialog.addEventListener("close", () => clearInterval(this.timer));
    byId("share-with").addEventListener("change", () => this.#choose());
    byId("share-new").addEventListener("click", () => this.#add());
    byId("share-user").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it would close the dialog
      this.#add();
    });
  }

  /** Open the dialog for this conversation. */
  open(id) {
    this.id = id;
    byId("shares").replaceChildren();
    byId("share-with").value = "link";
    byId("share-user").value = "";
    this.#choose();
    this.#notify("");
    this.dialog.showModal();
    byId("share-new").focus();
    this.#list();
    this.timer = setInterval(() => this.#list(), EVERY);
  }

  /** With a link, or with a user whose name is asked for. */
  #choose() {
    const named = byId("share-with").value === "user";
    byId("share-named").hidden = !named;
    byId("share-new").textContent = named ? t("Share") : t("Create link");
    if (named) byId("share-user").focus();
  }

  async #list() {
    const { id, changes } = this;
    try {
      const { items } = await api.listShares(id);
      if (id === this.id && changes === this.changes) this.#draw(items);
    } catch (problem) {
      this.#notify(why(problem));
    }
  }

  /** Draw the list, and keep what has the focus. */
  #draw(shares) {
    const known = new Map([...byId("shares").children].map((item) => [item.dataset.id, item]));
    for (const one of shares) {
      const item = known.get(one.id) ?? this.#item(one);
      item.querySelector("span").textContent = wordsOf(one);
      if (!known.delete(one.id)) byId("shares").append(item);
    }
    for (const item of known.values()) item.remove();
  }

  async #add() {
    const named = byId("share-with").value === "user";
    const user = byId("share-user").value.trim();
    const days = Number(byId("share-days").value);
    this.#notify("");
    if (named && !user) return void byId("share-user").focus();
    try {
      this.changes += 1;
      const made = await api.share(this.id, { ...(named && { user }), ...(days && { days }) });
      this.changes += 1;
      if (made.token) this.links.set(made.id, new URL(made.path, location.href).href);
      byId("share-user").value = "";
      const item = this.#item(made);
      byId("shares").prepend(item);
      item.querySelector("button").focus();
    } catch (problem) {
      this.#notify(why(problem));
    }
  }

  #item(one) {
    const label = `share-${one.id}`;
    const named = { "aria-describedby": label };
    const address = one.user === null ? this.links.get(one.id) : new URL(`/s/${this.id}`, location.href).href;
    const item = el("li", { dataset: { id: one.id } }, el("span", { id: label }, wordsOf(one)));
    if (address) item.append(button(t("Copy"), ({ target }) => copyFor(target, address), { className: "quiet copy-link", ...named }));
    item.append(button(t("Revoke"), () => this.#revoke(one.id, item), named));
    if (one.user === null && address) {
      const field = el("input", { value: address, readOnly: true, dir: "ltr", "aria-label": t("The link"), onfocus: () => field.select() });
      item.append(field, el("small", {}, t("Copy it now: this link is not shown again.")));
    }
    return item;
  }

  async #revoke(id, item) {
    try {
      this.changes += 1;
      await api.revokeShare(id);
      this.changes += 1;
      const next = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      this.links.delete(id);
      (next?.querySelector("button:last-of-type") ?? byId("share-new")).focus();
    } catch (problem) {
      this.#notify(why(problem));
    }
  }

  #notify(text) {
    byId("sharing-notice").hidden = !text;
    byId("sharing-notice").textContent = text;
  }
}

/** A share in a few words. */
function wordsOf({ user, readers, created_at: since, expires_at: until }) {
  const words = [user === null ? t("By a link") : t("With {user}", { user }), t("since {date}", { date: dateOf(since) })];
  if (until) words.push(t("until {date}", { date: dateOf(until) }));
  if (readers) words.push(n(readers, "{n} reading", "{n} reading"));
  return list(words);
}
