/** The list of conversations with their state, newest first; or the results of a search. */

import * as api from "./api.js";
import { pause } from "./outlive.js";
import { byId, el, icon } from "./dom.js";
import { fragmentOf } from "./fragment.js";
import { t } from "./t.js";
import { nameOf } from "./words.js";

/** Older conversations loaded at a time. */
const PAGE = 50;
/** Milliseconds from the last key to the search. */
const TYPING = 180;
/** Milliseconds that the list keeps its order after a pointer has moved in it: a click comes soon after. */
const STILL = 1500;
const MARKS = { waiting: "writing", writing: "writing", unseen: "unseen", failed: "failed" };
const LABELS = { waiting: t("waiting in the queue"), writing: t("being written"), unseen: t("not seen yet"), failed: t("failed") };

export class Sidebar {
  /** `on.open(id, leaf, target)`, `on.remove(entry)`, `on.rename(entry, title)`. */
  constructor(notices, on) {
    this.notices = notices;
    this.on = on;
    this.current = null;
    /** Elements of the results; null without a search. */
    this.found = null;
    this.items = new Map();
    this.headings = new Map();
    this.root = byId("conversations");
    this.field = byId("search");
    byId("older").addEventListener("click", () => this.#older());
    this.field.addEventListener("input", () => this.#search());
    this.field.addEventListener("keydown", (event) => this.#keys(event));
    this.root.addEventListener("keydown", (event) => this.#keys(event));
    for (const kind of ["pointerdown", "pointermove", "pointerup"]) this.root.addEventListener(kind, () => this.#hold());
  }

  /** Mark the open conversation. */
  select(id) {
    this.current = id;
    this.show();
  }

  /** Focus the search. */
  focusSearch() {
    this.field.focus();
    this.field.select();
  }

  async #older() {
    const found = await api.listConversations(PAGE, this.notices.next).catch(() => null);
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

  /** Arrow keys move through the list, Escape ends a search. */
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

  /** A person points at a conversation: none moves away from under the pointer. */
  #hold() {
    this.held = performance.now() + STILL;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.show(), STILL);
  }

  /** Draw the list. */
  show() {
    if (this.root.querySelector("input")) return; // a name is being edited
    this.root.setAttribute("aria-busy", String(!this.notices.known));
    byId("older").hidden = Boolean(this.found) || !this.notices.next;
    const nothing = this.found ? !this.found.length : this.notices.known && !this.notices.entries.size;
    byId("nothing").hidden = !nothing;
    byId("nothing").textContent = this.found ? t("Nothing found") : t("What you ask is kept here.");
    const still = performance.now() < this.held && this.listed && !this.found;
    const items = this.found ?? [...(still ? this.#asTheyAre() : this.#grouped())];
    this.listed = !this.found;
    for (const id of this.items.keys()) if (!this.notices.entries.has(id)) this.items.delete(id);
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.#arrange(items);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  /** The elements of all conversations, below the day of each. */
  *#grouped() {
    const now = new Date();
    let day = null;
    for (const one of this.notices.sorted) {
      const its = dayOf(one.updated_at, now);
      if (its !== day) yield this.#heading((day = its));
      yield this.#item(one);
    }
  }

  /** What is in the list, in its order: changed, but not moved. */
  *#asTheyAre() {
    for (const item of this.root.children) {
      const { conversation } = item.dataset;
      const entry = this.notices.entries.get(conversation);
      if (entry || !conversation) yield entry ? this.#item(entry) : item;
    }
  }

  #heading(day) {
    const known = this.headings.get(day);
    if (known) return known;
    const made = el("li", { className: "day" }, el("h2", {}, day));
    this.headings.set(day, made);
    return made;
  }

  /** Show these elements in this order, moving only those that are elsewhere. */
  #arrange(items) {
    const wanted = new Set(items);
    for (const item of [...this.root.children]) if (!wanted.has(item)) item.remove();
    items.forEach((item, index) => {
      if (this.root.children[index] !== item) this.root.insertBefore(item, this.root.children[index] ?? null);
    });
  }

  /** A conversation's element; the same one while nothing in it changes. */
  #item(one) {
    const current = one.id === this.current;
    const key = JSON.stringify([one.title, one.status, current]);
    const known = this.items.get(one.id);
    if (known?.key === key) return known.item;
    const name = nameOf(one);
    const mark = MARKS[current && one.status === "unseen" ? "idle" : one.status];
    const link = this.#link(one, null, name);
    if (current) link.setAttribute("aria-current", "page");
    const rename = iconButton("pen", t("Rename"), t("Rename {name}", { name }), () => this.#rename(one, item));
    const remove = iconButton("bin", t("Delete"), t("Delete {name}", { name }), () => this.on.remove(one));
    const more = moreButton(name, () => item);
    const item = el("li", { dataset: { conversation: one.id, status: one.status } }, link, rename, remove, more);
    if (mark) {
      item.prepend(el("span", { className: "mark", dataset: { mark } }));
      link.append(el("span", { className: "unseen" }, t(", {more}", { more: LABELS[one.status] })));
    }
    if (known?.item.contains(document.activeElement)) queueMicrotask(() => link.focus({ preventScroll: true }));
    this.items.set(one.id, { key, item });
    return item;
  }

  #hit({ conversation, message_id: message, position, leaf, snippet }) {
    const words = [...new Set(snippet.filter(({ hit }) => hit).map(({ text }) => text))];
    const target = message && { message_id: message, position: position ?? 0, words };
    const link = this.#link(conversation, leaf, nameOf(conversation), target);
    const parts = snippet.map(({ text, hit }) => (hit ? el("mark", {}, text) : text));
    const found = parts.length ? [el("p", { className: "found", dir: "auto" }, ...parts)] : [];
    return el("li", { dataset: { conversation: conversation.id } }, link, ...found);
  }

  #link({ id }, leaf, name, target = null) {
    const href = `/c/${id}${leaf ? `?leaf=${leaf}` : ""}${target ? fragmentOf(target) : ""}`;
    const link = el("a", { href, title: name }, el("bdi", {}, name));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.on.open(id, leaf, target);
    });
    return link;
  }

  /** Edit the title in place: Enter or leaving saves, Escape cancels. */
  #rename(one, item) {
    const input = el("input", { value: one.title ?? "", maxLength: 200, "aria-label": t("Name"), dir: "auto" });
    const before = [...item.childNodes];
    let closed = false;
    const close = (title, key) => {
      if (closed) return;
      closed = true;
      item.replaceChildren(...before);
      if (key) item.querySelector("a").focus();
      if (title && title !== one.title) this.on.rename(one, title);
      this.show();
    };
    input.addEventListener("blur", () => close(input.value.trim()));
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") close(input.value.trim(), true);
      if (event.key === "Escape") close("", true);
    });
    item.replaceChildren(input);
    input.select();
  }
}

/** Where a conversation stands in the list, by the person's clock: a day, or its month. */
export function dayOf(at, now) {
  const then = new Date(at);
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const ago = (days) => new Date(midnight).setDate(midnight.getDate() - days);
  if (then >= midnight) return t("Today");
  if (then >= ago(1)) return t("Yesterday");
  if (then >= ago(7)) return t("Last 7 days");
  const year = then.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return then.toLocaleDateString(document.documentElement.lang, { month: "long", year });
}

/** Without a mouse, what shows the other buttons of a conversation. */
function moreButton(name, item) {
  const made = el("button", { type: "button", className: "quiet more", "aria-expanded": "false", "aria-label": t("Rename or delete {name}", { name }) }, "⋯");
  made.onclick = () => made.setAttribute("aria-expanded", String(item().classList.toggle("opened")));
  return made;
}

/** A small button with an icon. */
function iconButton(name, title, label, onclick) {
  return el("button", { type: "button", className: "quiet", onclick, "aria-label": label, title }, icon(name));
}
