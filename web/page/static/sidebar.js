/** The conversations, newest first, with what is going on in them; or what was searched for. */

import * as api from "./api.js";
import { pause } from "./connection.js";
import { byId, el, icon } from "./dom.js";
import { nameOf } from "./words.js";

/** How many older ones at a time. */
const PAGE = 50;
/** Milliseconds after the last key before it is searched. */
const TYPING = 180;
const MARKS = { waiting: "writing", writing: "writing", unseen: "unseen", failed: "failed" };
const SAID = { waiting: "waiting in the queue", writing: "being written", unseen: "not seen yet", failed: "failed" };

export class Sidebar {
  /** `on.open(id, leaf)`: chosen; `on.remove(entry)`; `on.rename(entry, title)`. */
  constructor(notices, on) {
    this.notices = notices;
    this.on = on;
    this.current = null;
    /** Elements of what was found; null: nothing is searched. */
    this.found = null;
    this.items = new Map();
    this.root = byId("conversations");
    this.field = byId("search");
    byId("older").addEventListener("click", () => this.#older());
    this.field.addEventListener("input", () => this.#search());
    this.field.addEventListener("keydown", (event) => this.#keys(event));
    this.root.addEventListener("keydown", (event) => this.#keys(event));
  }

  /** Which one is open. */
  select(id) {
    this.current = id;
    this.show();
  }

  /** Look for something. */
  search() {
    this.field.focus();
    this.field.select();
  }

  async #older() {
    const found = await api.sidebar(PAGE, this.notices.next).catch(() => null);
    if (found) this.notices.add(found.items, found.next);
    this.show();
  }

  async #search() {
    this.searching?.abort();
    const { signal } = (this.searching = new AbortController());
    const wanted = this.field.value.trim();
    if (wanted) {
      await pause(TYPING, signal);
      if (signal.aborted) return;
      const found = await api.search(wanted, signal).catch(() => null);
      if (signal.aborted) return;
      this.found = (found?.items ?? []).map((hit) => this.#hit(hit));
    } else this.found = null;
    this.show();
  }

  /** Up and down through the list, Escape out of a search. */
  #keys(event) {
    const links = [this.field, ...this.root.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && at >= 0 && !event.isComposing) {
      event.preventDefault();
      links[Math.min(Math.max(at + step, 0), links.length - 1)].focus();
    }
    if (event.key !== "Escape" || !this.field.value || event.target.closest("li input")) return;
    this.field.value = "";
    this.field.focus();
    this.#search();
  }

  /** Draw what has changed. */
  show() {
    if (this.root.querySelector("input")) return; // somebody is typing a name
    this.root.setAttribute("aria-busy", String(!this.notices.known));
    byId("older").hidden = Boolean(this.found) || !this.notices.next;
    byId("nothing").hidden = this.found?.length !== 0;
    const items = this.found ?? this.notices.sorted.map((one) => this.#item(one));
    for (const id of this.items.keys()) if (!this.notices.entries.has(id)) this.items.delete(id);
    const held = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.#arrange(items);
    if (held?.isConnected) held.focus({ preventScroll: true });
  }

  /** Put these elements there in this order, moving only those that are elsewhere. */
  #arrange(items) {
    const wanted = new Set(items);
    for (const item of [...this.root.children]) if (!wanted.has(item)) item.remove();
    items.forEach((item, index) => {
      if (this.root.children[index] !== item) this.root.insertBefore(item, this.root.children[index] ?? null);
    });
  }

  /** A conversation's element: the same one as long as nothing in it changes. */
  #item(one) {
    const current = one.id === this.current;
    const key = JSON.stringify([one.title, one.status, current]);
    const known = this.items.get(one.id);
    if (known?.key === key) return known.item;
    const name = nameOf(one);
    const mark = MARKS[current && one.status === "unseen" ? "idle" : one.status];
    const link = this.#link(one, null, name);
    if (current) link.setAttribute("aria-current", "page");
    const rename = act("pen", `Rename ${name}`, () => this.#rename(one, item));
    const remove = act("bin", `Delete ${name}`, () => this.on.remove(one));
    const item = el("li", { dataset: { conversation: one.id, status: one.status } }, link, rename, remove);
    if (mark) {
      item.prepend(el("span", { className: "mark", dataset: { mark } }));
      link.append(el("span", { className: "unseen" }, `, ${SAID[one.status]}`));
    }
    if (known?.item.contains(document.activeElement)) queueMicrotask(() => link.focus({ preventScroll: true }));
    this.items.set(one.id, { key, item });
    return item;
  }

  #hit({ conversation, leaf, snippet }) {
    const link = this.#link(conversation, leaf, nameOf(conversation));
    const parts = snippet.map(({ text, hit }) => (hit ? el("mark", {}, text) : text));
    const said = parts.length ? [el("p", { className: "found", dir: "auto" }, ...parts)] : [];
    return el("li", { dataset: { conversation: conversation.id } }, link, ...said);
  }

  #link({ id }, leaf, name) {
    const href = `/c/${id}${leaf ? `?leaf=${leaf}` : ""}`;
    const link = el("a", { href, title: name, dir: "auto" }, name);
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.on.open(id, leaf);
    });
    return link;
  }

  /** Type another name in place: Enter or leaving keeps it, Escape keeps the old one. */
  #rename(one, item) {
    const input = el("input", { value: one.title ?? "", maxLength: 200, "aria-label": "Name", dir: "auto" });
    const before = [...item.childNodes];
    let over = false;
    const leave = (title, key) => {
      if (over) return;
      over = true;
      item.replaceChildren(...before);
      if (key) item.querySelector("a").focus();
      if (title && title !== one.title) this.on.rename(one, title);
      this.show();
    };
    input.addEventListener("blur", () => leave(input.value.trim()));
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") leave(input.value.trim(), true);
      if (event.key === "Escape") leave("", true);
    });
    item.replaceChildren(input);
    input.select();
  }
}

/** A small button with a picture. */
function act(picture, label, onclick) {
  return el("button", { type: "button", className: "quiet", onclick, "aria-label": label, title: label.split(" ")[0] }, icon(picture));
}
