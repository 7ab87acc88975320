/**
 * Questions in line: they wait below the thread while an answer is written. The server keeps and sends
 * them; here they are shown, changed and removed. Loaded when a conversation has some.
 */

import * as api from "./api.js";
import { button, el } from "./dom.js";
import { Editor } from "./editor.js";
import { edit } from "./outbox.js";
import { n, t } from "./t.js";
import { offer } from "./toast.js";

export class Line {
  /**
   * `root` is where it is shown. `on.sent()`: a question was sent; `on.failed(problem)`;
   * `on.returned(text)`: a text has no place here any more; `on.again(text)`: put it in line again.
   */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    this.list = el("ol", {});
    this.state = el("p", { className: "state", id: "line-state" });
    this.root.replaceChildren(this.state, this.list);
    this.clear(null);
  }

  /** Show another conversation. */
  clear(conversation) {
    this.conversation = conversation;
    this.line = { items: [], held: null };
    this.reading?.abort();
    this.pending = [];
    /** Views by id: {element, editor, item}. */
    this.views = new Map();
    this.list.replaceChildren();
    this.#draw();
  }

  /** Questions that are on their way to the line. */
  wait(entries) {
    this.pending = entries;
    this.#draw();
  }

  get items() {
    return this.line.items;
  }

  /** Show the line as the server has just said it is. */
  set(line) {
    this.reading?.abort();
    this.line = line;
    this.#draw();
  }

  /** Read the line. */
  async refresh() {
    const { conversation } = this;
    this.reading?.abort();
    const { signal } = (this.reading = new AbortController());
    const line = await api.getLine(conversation, signal).catch(() => null);
    if (!line || signal.aborted || conversation !== this.conversation) return;
    this.line = line;
    this.#draw();
  }

  #draw() {
    const { items, held } = this.line;
    const known = new Set(items.map(({ id }) => id));
    for (const [id, view] of this.views) {
      if (known.has(id)) continue;
      this.views.delete(id);
      if (view.editor && view.editor.area.value !== view.item.content) this.on.returned(view.editor.area.value);
      view.editor?.drop();
    }
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const shown = items.map((item, index) => this.#item(item, held && index === 0));
    const coming = this.pending.map(({ content }) => el("li", { className: "coming" }, this.#text(content)));
    this.list.replaceChildren(...shown, ...coming);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
    const count = items.length + coming.length;
    this.state.textContent = stateOf(count, held, items[0]?.problem);
    this.root.hidden = !count;
    this.root.dataset.held = held ?? "";
  }

  #text(content) {
    return el("div", { className: "part text", dir: "auto" }, content);
  }

  #item(item, first) {
    const view = this.views.get(item.id) ?? { element: el("li", { dataset: { waiting: item.id } }) };
    this.views.set(item.id, view);
    const same = view.item?.changed_at === item.changed_at && view.first === first;
    Object.assign(view, { item, first });
    if (same || view.editor) return view.element;
    const actions = [button(t("Edit"), () => this.#edit(view).focus()), button(t("Remove"), () => this.#remove(view))];
    if (first) actions.unshift(button(t("Send now"), () => this.#act(() => api.sendFromLine(this.conversation, item.id), true), { className: "primary" }));
    view.element.replaceChildren(this.#text(item.content), el("div", { className: "actions" }, ...actions));
    if (edit(item.id) !== null) this.#edit(view);
    return view.element;
  }

  #edit(view) {
    const [conversation, item] = [this.conversation, view.item];
    view.editor = new Editor(
      item.id,
      item.content,
      {
        send: (text) => this.#change(conversation, item.id, text),
        close: () => {
          view.editor = null;
          view.item = null;
          this.#draw();
          view.element.querySelector("button")?.focus();
        },
      },
      t("Save"),
    );
    view.element.replaceChildren(view.editor.element);
    view.editor.fit();
    return view.editor;
  }

  async #change(conversation, id, text) {
    try {
      this.line = await api.changeInLine(conversation, id, text);
      this.#draw();
    } catch (problem) {
      this.on.returned(text); // it was sent meanwhile, or is too long
      this.on.failed(problem);
      this.refresh();
    }
  }

  async #remove(view) {
    const { item } = view;
    const next = view.element.nextElementSibling ?? view.element.previousElementSibling;
    const removed = await this.#act(() => api.takeOutOfLine(this.conversation, item.id), false);
    if (!removed) return;
    (next?.querySelector("button") ?? document.getElementById("question")).focus();
    offer(t("The question was removed."), t("Undo"), () => this.on.again(item.content));
  }

  /** Change something, then read the line; whether it was done. */
  async #act(request, sends) {
    try {
      await request();
      if (sends) this.on.sent();
      return true;
    } catch (problem) {
      this.on.failed(problem);
      return false;
    } finally {
      await this.refresh();
    }
  }
}

/** Why the questions wait. */
function stateOf(count, held, problem) {
  if (held === "stopped") return t("The answer was stopped. Your next question waits until you send it.");
  if (held === "failed") return t("The answer failed. Your next question waits until you send it.");
  if (held) return t("Not sent yet: {reason}", { reason: problem?.message ?? "" });
  return n(count, "Sent when the answer has ended", "{n} questions, sent one after the other");
}
