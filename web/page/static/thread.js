/** The open conversation: its messages in order, kept in step with what the server says. */

import { el } from "./dom.js";
import { AnswerView, QuestionView } from "./message.js";

export class Thread {
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
    this.clear();
  }

  clear() {
    for (const view of this.views?.values() ?? []) view.close();
    /** By id, in the order of the branch. */
    this.views = new Map();
    this.#forget();
  }

  /**
   * The newest turns of a branch; what is here already stays as it is.
   * False: they do not join what is here, more of them have to be read.
   */
  show(turns, earlier) {
    const order = [...this.views.keys()];
    const kept = earlier === null ? 0 : above(order, turns[0]);
    if (kept < 0) return false;
    const held = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.#forget();
    const wanted = new Set([...order.slice(0, kept), ...turns.map((turn) => turn.id)]);
    for (const [id, view] of [...this.views]) {
      if (wanted.has(id)) continue;
      view.close();
      this.views.delete(id);
    }
    for (const turn of turns) this.#place(turn);
    this.#joints();
    if (held && !held.isConnected) this.#find(held);
    return true;
  }

  /** The button that somebody was at is gone: there may be its like in what stands there now. */
  #find(held) {
    const name = held.getAttribute("aria-label");
    const all = name ? [...this.root.querySelectorAll(`[aria-label="${name}"]`)] : [];
    const like = all.at(-1)?.disabled ? all.at(-1).parentElement.querySelector(":enabled") : all.at(-1);
    if (like) like.focus();
    else this.actions.lost();
  }

  /** Turns above those that are here. */
  showEarlier(turns) {
    const below = [...this.views];
    const first = this.root.firstElementChild;
    this.views = new Map();
    for (const turn of turns) first.before(this.#make(turn).element);
    for (const [id, view] of below) this.views.set(id, view);
    this.#joints();
  }

  #place(turn) {
    const view = this.views.get(turn.id);
    if (view) view.refresh(turn);
    else this.root.append(this.#make(turn).element); // branches part at the end only
  }

  #make(turn) {
    const view = new (turn.role === "user" ? QuestionView : AnswerView)(turn, this.actions);
    this.views.set(turn.id, view);
    return view;
  }

  /** A question that only says to go on is a joint between two answers. */
  #joints() {
    const views = [...this.views.values()];
    views.forEach((view, index) => {
      view.element.classList.toggle("goes-on", Boolean(views[index + 1]?.message.continues_id));
    });
  }

  /** Show a question that is on its way, instead of everything from `before` on. */
  promise(content, before = null, said = "Sending") {
    this.#forget();
    const first = before && this.views.get(before)?.element;
    for (let one = first; one; one = one.nextElementSibling) one.hidden = true;
    const text = el("div", { className: "part text", dir: "auto" }, content);
    const state = el("p", { className: "state" }, navigator.onLine ? said : "Waiting for the network");
    this.promised = el(
      "article",
      { className: "message user promised", "aria-label": "You" },
      el("div", { className: "body" }, text),
      el("div", { className: "below" }, state),
    );
    this.root.append(this.promised);
  }

  /** How far it is on its way. */
  sending(said) {
    const state = this.promised?.querySelector(".state");
    if (state) state.textContent = said;
  }

  #forget() {
    this.promised?.remove();
    this.promised = null;
    for (const element of this.root.children) element.hidden = false;
  }

  /** No question is on its way any more. */
  unpromise() {
    this.#forget();
  }

  /** The last message. */
  get last() {
    return [...this.views.values()].at(-1)?.message ?? null;
  }

  /** The answer that is being written, if one is. */
  get writing() {
    return [...this.views.values()].findLast((view) => view.open) ?? null;
  }

  /** Whether somebody is editing a question: what is shown stays. */
  get editing() {
    return [...this.views.values()].some((view) => view.editing);
  }

  /** How many messages are shown. */
  get count() {
    return this.views.size;
  }

  get empty() {
    return !this.views.size && !this.promised;
  }

  /** Connect again at once. */
  poke(options) {
    for (const view of this.views.values()) view.follower?.poke(options);
  }

  /** Whether answers that are being written are streamed: "live", "wait", "rest" (see Follower). */
  flow(mode) {
    for (const view of this.views.values()) view.follower?.flow(mode);
  }
}

/** How many of `order` stand above this turn, -1 if that cannot be told. */
function above(order, { id, parent_id: parent }) {
  const at = order.indexOf(id);
  if (at >= 0 || !order.length) return Math.max(at, 0);
  return order.indexOf(parent) + 1 || -1;
}
