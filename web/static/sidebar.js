/** The conversations, newest first. */

import * as api from "./api.js";
import { button, byId, el } from "./dom.js";

const PAGE = 30;
const MOST = 200;

export class Sidebar {
  /** `on.open(id)`: a conversation was chosen; `on.gone(id)`: one was deleted; `on.renamed()`. */
  constructor(on) {
    this.on = on;
    this.items = [];
    this.current = null;
    this.root = byId("conversations");
    byId("older").addEventListener("click", () => this.#older());
  }

  /** Ask the server again, for as many as are shown. */
  async refresh() {
    const limit = Math.min(Math.max(PAGE, this.items.length), MOST);
    const page = await api.listConversations(limit);
    this.items = page.items;
    this.#page(page);
  }

  async #older() {
    const page = await api.listConversations(PAGE, this.next);
    const known = new Set(this.items.map((one) => one.id));
    this.items.push(...page.items.filter((one) => !known.has(one.id)));
    this.#page(page);
  }

  #page({ next }) {
    this.next = next;
    byId("older").hidden = !next;
    this.show();
  }

  /** Which one is open. */
  select(id) {
    this.current = id;
    this.show();
  }

  show() {
    if (this.root.querySelector("input")) return; // somebody is typing a name
    this.root.replaceChildren(...this.items.map((one) => this.#item(one)));
  }

  #item(one) {
    const link = el("a", { href: `/c/${one.id}`, title: nameOf(one), dir: "auto" }, nameOf(one));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.on.open(one.id);
    });
    if (one.id === this.current) link.setAttribute("aria-current", "page");
    const rename = button("✎", () => this.#rename(one, item), { "aria-label": `Rename ${nameOf(one)}`, title: "Rename" });
    const remove = button("×", () => this.#delete(one), { "aria-label": `Delete ${nameOf(one)}`, title: "Delete" });
    const item = el("li", { dataset: { conversation: one.id } }, link, rename, remove);
    return item;
  }

  /** Type another name in place: Enter or leaving keeps it, Escape keeps the old one. */
  #rename(one, item) {
    const input = el("input", { value: one.title ?? "", maxLength: 200, "aria-label": "Name", dir: "auto" });
    let over = false;
    const leave = async (title) => {
      if (over) return;
      over = true;
      input.remove();
      if (title && title !== one.title) Object.assign(one, await api.renameConversation(one.id, title));
      this.show();
      this.on.renamed();
    };
    input.addEventListener("blur", () => leave(input.value.trim()));
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") leave(input.value.trim());
      if (event.key === "Escape") leave("");
    });
    item.replaceChildren(input);
    input.select();
  }

  async #delete(one) {
    if (!(await confirmed(nameOf(one)))) return;
    await api.deleteConversation(one.id).catch((problem) => problem.status === 404 || Promise.reject(problem));
    this.items = this.items.filter((other) => other.id !== one.id);
    this.show();
    this.on.gone(one.id);
  }
}

/** What a conversation is called. */
export const nameOf = (conversation) => conversation?.title?.trim() || "Untitled";

/** Ask before something cannot be undone; Escape means no. */
function confirmed(name) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = `“${name}” and its answers will be gone. What is being written in it stops.`;
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}
