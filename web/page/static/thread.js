/** The open conversation: its messages in order, kept equal to the server's. */

import { el } from "./dom.js";
import { AnswerView, QuestionView } from "./message.js";
import { t } from "./t.js";

export class Thread {
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
    this.clear();
  }

  clear() {
    for (const view of this.views?.values() ?? []) view.close();
    /** Views by message id, in the order of the branch. */
    this.views = new Map();
    this.clearPending();
  }

  /**
   * Show the newest turns of a branch; messages that are here stay as they are.
   * False: there is a gap to what is here, more turns must be read.
   */
  show(turns, earlier) {
    const order = [...this.views.keys()];
    const kept = earlier === null ? 0 : countAbove(order, turns[0]);
    if (kept < 0) return false;
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.clearPending();
    const wanted = new Set([...order.slice(0, kept), ...turns.map((turn) => turn.id)]);
    for (const [id, view] of [...this.views]) {
      if (wanted.has(id)) continue;
      view.close();
      this.views.delete(id);
    }
    for (const turn of turns) this.#place(turn);
    this.#markContinued();
    if (focused && !focused.isConnected) this.#refocus(focused);
    return true;
  }

  /** The focused button is gone: focus the same one of the new messages. */
  #refocus(old) {
    const name = old.getAttribute("aria-label");
    const all = name ? [...this.root.querySelectorAll(`[aria-label="${name}"]`)] : [];
    const same = all.at(-1)?.disabled ? all.at(-1).parentElement.querySelector(":enabled") : all.at(-1);
    if (same) same.focus();
    else this.actions.focusLost();
  }

  /** Show turns above those that are here. */
  showEarlier(turns) {
    const below = [...this.views];
    const first = this.root.firstElementChild;
    this.views = new Map();
    for (const turn of turns) first.before(this.#make(turn).element);
    for (const [id, view] of below) this.views.set(id, view);
    this.#markContinued();
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

  /** An answer and its continuations are drawn as one, without the questions that only ask to go on. */
  #markContinued() {
    const views = [...this.views.values()];
    views.forEach((view, index) => {
      const [next, later] = [views[index + 1], views[index + 2]];
      if (view.message.role === "user") return void view.join(Boolean(next?.message.continues_id));
      const { id, continues_id: above } = view.message;
      view.join((above && this.views.get(above)) || null, later?.message.continues_id === id ? later : null, Boolean(next));
    });
  }

  /** Show a question that is being sent, in place of everything from `before` on. */
  showPending(content, before = null, text = t("Sending")) {
    this.clearPending();
    const first = before && this.views.get(before)?.element;
    for (let one = first; one; one = one.nextElementSibling) one.hidden = true;
    const part = el("div", { className: "part text", dir: "auto" }, content);
    const state = el("p", { className: "state" }, navigator.onLine ? text : t("Waiting for the network"));
    this.pending = el(
      "article",
      { className: "message user pending", "aria-label": t("You") },
      el("div", { className: "body" }, part),
      el("div", { className: "below" }, state),
    );
    this.root.append(this.pending);
  }

  /** Show how far it was sent. */
  setPendingState(text) {
    const state = this.pending?.querySelector(".state");
    if (state) state.textContent = text;
  }

  /** No question is being sent. */
  clearPending() {
    this.pending?.remove();
    this.pending = null;
    for (const element of this.root.children) element.hidden = false;
  }

  /** The last message. */
  get last() {
    return [...this.views.values()].at(-1)?.message ?? null;
  }

  /** The answer that is being written, if one is. */
  get writing() {
    return [...this.views.values()].findLast((view) => view.open) ?? null;
  }

  /** Whether a question is being edited. */
  get editing() {
    return [...this.views.values()].some((view) => view.editing);
  }

  /** Messages that are shown. */
  get count() {
    return this.views.size;
  }

  get empty() {
    return !this.views.size && !this.pending;
  }

  /** Wait until all that is shown is complete, but for what is being written. */
  read() {
    return Promise.all([...this.views.values()].map((view) => view.reading));
  }

  /** Reconnect now. */
  poke(options) {
    for (const view of this.views.values()) view.follower?.poke(options);
  }

  /** Set the mode of all Followers: "stream", "wait", "pause". */
  setMode(mode) {
    for (const view of this.views.values()) view.follower?.setMode(mode);
  }
}

/** How many of `order` are above this turn; -1 if unknown. */
function countAbove(order, { id, parent_id: parent }) {
  const at = order.indexOf(id);
  if (at >= 0 || !order.length) return Math.max(at, 0);
  return order.indexOf(parent) + 1 || -1;
}
