/** The open conversation: its messages in order, kept in step with what the server says. */

import { el } from "./dom.js";
import { MessageView } from "./message.js";

export class Thread {
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
    this.views = new Map();
  }

  /** Show exactly these messages; those that are here already stay as they are. */
  show(messages) {
    this.#forget();
    const wanted = new Set(messages.map((message) => message.id));
    for (const [id, view] of this.views) {
      if (wanted.has(id)) continue;
      view.close();
      this.views.delete(id);
    }
    messages.forEach((message, index) => this.#place(message, messages[index + 1]));
    this.last = messages.at(-1) ?? null;
  }

  #place(message, next) {
    let view = this.views.get(message.id);
    if (view) view.refresh(message);
    else this.views.set(message.id, (view = new MessageView(message, this.actions)));
    view.element.classList.toggle("goes-on", Boolean(next?.continues_id));
    if (!view.element.isConnected) this.root.append(view.element); // branches part at the end only
  }

  /** Show a question that is on its way, instead of everything from `before` on. */
  promise(content, before = null) {
    this.#forget();
    const first = before && this.views.get(before)?.element;
    for (let one = first; one; one = one.nextElementSibling) one.hidden = true;
    const text = el("div", { className: "part text", dir: "auto" }, content);
    this.promised = el(
      "article",
      { className: "message user promised", "aria-label": "You" },
      el("div", { className: "body" }, text),
      el("div", { className: "below" }, el("p", { className: "state" }, "Sending")),
    );
    this.root.append(this.promised);
  }

  #forget() {
    this.promised?.remove();
    this.promised = null;
    for (const element of this.root.children) element.hidden = false;
  }

  /** The answer that is being written, if one is. */
  get writing() {
    return [...this.views.values()].findLast((view) => view.open) ?? null;
  }

  get empty() {
    return !this.views.size && !this.promised;
  }

  /** Connect again at once. */
  poke(options) {
    for (const view of this.views.values()) view.follower?.poke(options);
  }

  /** Nobody looks: hold no connection. */
  rest() {
    for (const view of this.views.values()) view.follower?.rest();
  }

  clear() {
    this.show([]);
  }
}
