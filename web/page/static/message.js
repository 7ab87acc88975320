/** One message on the page: its text, its state, its buttons. */

import { announce, Narrator } from "./announcer.js";
import { getMessage } from "./api.js";
import { Blocks } from "./blocks.js";
import { Body } from "./body.js";
import { button, copyFor, el } from "./dom.js";
import { Editor } from "./editor.js";
import { edit } from "./outbox.js";
import { partsOf } from "./parts.js";
import { Follower, isOpen, readBlocks } from "./stream.js";
import { locale, number, t } from "./t.js";
import { continuable, facts, spokenState, stateText, tokensText } from "./words.js";

/** A message's element. */
function article({ id, role }, content, below) {
  const element = el("article", { className: `message ${role}`, dataset: { id } }, content, below);
  element.setAttribute("aria-label", role === "user" ? t("You") : t("Answer"));
  return element;
}

/** A question, shown as it was typed. */
export class QuestionView {
  /**
   * `actions`: edit(message, text) where one may, mayEdit(text) before that, edited() after the editor
   * has closed, visit(leaf).
   */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    const text = el("div", { className: "part text", dir: "auto" }, message.text);
    this.below = el("div", { className: "below" });
    const shown = message.text ? [text] : [];
    this.element = article(message, el("div", { className: "body" }, ...shown, ...partsOf(message.parts)), this.below);
    this.element.source = message.text;
    this.#show();
    if (actions.edit && edit(message.id) !== null) this.#edit();
  }

  open = false;

  /** It only asks to go on: the answers above and below it are shown as one. */
  join(joint) {
    if (joint === this.joint) return;
    this.joint = joint;
    if (!this.editing) this.#show();
  }

  refresh(message) {
    this.message = message;
    if (!this.editing) this.#show();
  }

  close() {
    this.element.remove();
  }

  #show() {
    const key = JSON.stringify([this.message.siblings, Boolean(this.joint)]);
    if (key === this.shown) return; // the buttons stay, and with them the focus
    this.shown = key;
    const bar = el("div", { className: "actions" });
    const parted = this.message.siblings.length > 1;
    this.element.classList.toggle("goes-on", Boolean(this.joint));
    this.element.classList.toggle("parted", parted);
    if (!this.joint) bar.append(copy(() => this.message.text));
    // Results of tools belong to the answer above them.
    const results = this.message.parts?.some(({ kind }) => kind === "tool_result");
    if (this.actions.edit && !results && !this.joint) bar.append(button(t("Edit"), () => this.#edit().focus()));
    if (parted) bar.append(siblings(this.message, this.actions.visit)); // always shown: at the edge
    this.below.replaceChildren(bar);
  }

  /** Edit the question: sending makes another branch, this one stays. */
  #edit() {
    this.editing = new Editor(this.message.id, this.message.text, {
      ready: this.actions.mayEdit,
      send: (text) => this.actions.edit(this.message, text),
      close: () => {
        this.editing = this.shown = null;
        this.element.classList.remove("editing");
        this.#show();
        this.below.querySelector("button:last-of-type").focus();
        queueMicrotask(this.actions.edited); // after it was sent, if it was
      },
    });
    this.element.classList.add("editing");
    this.below.replaceChildren(this.editing.element);
    this.editing.fit();
    return this.editing;
  }
}

/** An answer, ended or being written. */
export class AnswerView {
  /** `actions`: retry(message) and continueAnswer(message) where one may, visit(leaf), changed(), ended(message). */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.body = new Body();
    this.narrator = new Narrator();
    /** The first frame may bring text from before we came: that is not announced. */
    this.late = message.status !== "SENDING";
    this.closed = new AbortController();
    const content = el("div", { className: "body" });
    this.state = el("p", { className: "state" });
    this.bar = el("div", { className: "actions" });
    this.below = el("div", { className: "below" }, this.state, this.bar);
    this.element = article(message, content, this.below);
    Object.defineProperty(this.element, "source", { get: () => this.body.text });
    /** When thinking began and ended, as seen here. */
    this.thoughts = {};
    /** The views of the answer that it continues, and of the one that continues it. */
    this.before = this.after = null;
    /** There are messages below it. */
    this.above = false;
    /** The position from which on the latter shows the text of this one. */
    this.given = null;
    this.blocks = new Blocks(content, (block, shown) => this.#narrate(block, shown), () => this.#thought());
    if (this.open) this.#follow();
    else this.reading = this.#read();
    this.#show();
  }

  /** Whether it is being written. */
  get open() {
    return isOpen(this.message.status);
  }

  /** Take what may have changed: the siblings, and that it has ended. */
  refresh(message) {
    this.message.siblings = message.siblings;
    if (this.open && !isOpen(message.status)) this.follower?.hasEnded();
    this.#bar();
  }

  /** Set which answer it continues, and which one continues it, on this branch; `above`: there is more below. */
  join(before, after, above) {
    const same = after === this.after && above === this.above;
    this.above = above;
    if (before !== this.before) {
      this.before = before;
      this.#goOn();
    }
    if (same) return;
    if (after !== this.after) this.give(null); // `after` takes it as soon as it has text
    this.after = after;
    this.element.classList.toggle("continues", Boolean(after));
    this.#show();
  }

  /** Show the end of the answer before it here, as soon as there is text here. */
  #goOn(block = this.body.blocks.find(({ kind }) => kind === "text") ?? this.body.open) {
    const { before, message } = this;
    if (!before || before.given !== null || block?.kind !== "text" || !Number.isInteger(message.continues_at)) return;
    this.narrator.skip(before.give(message.continues_at, block.joins));
  }

  /** Let a continuation show the text from `position` on; null: it is shown here. */
  give(position, joins) {
    this.given = position;
    this.givenJoins = joins;
    return this.blocks.yieldFrom(position, this.body, joins);
  }

  /** The text that is copied: with that of all answers that it continues. */
  async text() {
    await this.reading;
    const above = this.message.continues_id;
    if (!above) return this.body.text;
    return (await (this.before ?? { text: () => wholeText(above) }).text()) + this.body.text;
  }

  /** Remove it; the answer is still written. */
  close() {
    this.closed.abort();
    this.follower?.close();
    this.element.remove();
  }

  #follow() {
    this.follower = new Follower(this.message.id, this.body, {
      frame: (frame) => this.#frame(frame),
      reread: (body, from) => {
        this.body = body;
        if (from) this.blocks.show(body.blocks.slice(from), null);
        else this.#redraw();
      },
      status: (status) => isOpen(status) && this.#setStatus(status),
      end: (end) => this.#end(end),
    });
  }

  #frame({ blocks, open, retry }) {
    this.#watchThoughts();
    this.blocks.show(blocks, open);
    const again = retry && retry.count !== this.retry?.count;
    this.retry = retry;
    if (this.late && blocks.length) this.#quietly(() => this.blocks.flush());
    this.late = false;
    this.#setStatus("STREAMING");
    if (again) announce(this.state.textContent);
  }

  /** Show an answer that has ended: its first blocks came with it, the rest is read. */
  async #read() {
    const { message, closed } = this;
    this.body.take({ blocks: message.blocks ?? [] });
    this.whole = message.next === null;
    this.#redraw();
    if (message.next !== null) {
      await readBlocks(message.id, this.body, closed.signal, message.next).catch(() => {});
      if (closed.signal.aborted) return;
      this.whole = true;
      this.#redraw();
    }
    this.#check(message);
  }

  /** Draw the whole body. */
  #redraw() {
    this.#quietly(() => {
      this.blocks.clear();
      this.blocks.show(this.body.blocks, this.body.open);
      if (this.open) this.blocks.flush();
      else this.blocks.settle();
    });
    if (this.given !== null) this.give(this.given, this.givenJoins);
    this.#show();
  }

  #quietly(step) {
    this.quiet = true;
    step();
    this.quiet = false;
  }

  #setStatus(status) {
    const before = this.message.status;
    this.message.status = status;
    this.#show();
    if (before === status) return;
    announce(spokenState(this.message, this.body));
    this.actions.changed();
  }

  #end({ status, finish_reason, usage, error, length, sha256 }) {
    this.follower = null;
    this.whole = true;
    this.blocks.settle();
    if (this.thoughts.begun === 0) this.#askThoughts();
    this.message.ended_at ??= new Date().toISOString();
    Object.assign(this.message, { status, finish_reason, usage, error, length, sha256 });
    this.#show();
    announce(spokenState(this.message, this.body));
    this.#check(this.message);
    this.actions.changed();
    this.actions.ended(this.message);
  }

  /** Check the length and digest of the text. */
  async #check(proof) {
    const { dataset } = this.element;
    dataset.proof = (await this.body.proves(proof)) ? "ok" : "failed";
    if (dataset.proof === "ok") return;
    this.below.prepend(el("p", { className: "doubt" }, t("This copy differs from the server's; reload the page.")));
  }

  // --- announcements and state

  #narrate(block, shown) {
    const { kind, text } = block;
    if (this.before) this.#goOn(block);
    if (!this.open || kind !== "text") return;
    const ended = text !== undefined;
    const quiet = this.quiet || document.hidden;
    const code = shown.querySelector("pre.code");
    if (!code) this.narrator.narrate(shown.textContent, { ended, quiet });
    else if (ended && !quiet) announce(t("Code. {language}", { language: code.dataset.language }));
  }

  /** Seconds for which it thought, as the server says, or as was seen here; null: not known. */
  #thought() {
    if (this.message.thought_ms != null) return this.message.thought_ms / 1000;
    const { begun, ended } = this.thoughts;
    return begun && ended ? (ended - begun) / 1000 : null;
  }

  /** Note when thinking began and ended, if both were seen. */
  #watchThoughts() {
    const { thoughts } = this;
    if (this.#thinking) thoughts.begun ??= this.late ? 0 : Date.now(); // 0: before we came
    else if (this.body.covered) thoughts.ended ??= Date.now();
  }

  /** It thought when we came: for how long, the server knows. */
  async #askThoughts() {
    const found = await getMessage(this.message.id).catch(() => this.message);
    this.message.thought_ms = found.thought_ms;
    this.blocks.nameThoughts();
  }

  get #thinking() {
    const last = this.body.open ?? this.body.blocks.at(-1);
    return last?.kind === "reasoning";
  }

  /** Whether there is text to continue. */
  get #written() {
    return !this.open && this.body.covered > 0 && !this.body.without;
  }

  #show() {
    const { element, message, body } = this;
    element.classList.toggle("unfinished", !this.after && continuable(message, this.#written));
    element.dataset.length = body.covered;
    if (element.dataset.status !== message.status) {
      element.dataset.status = message.status;
      element.setAttribute("aria-busy", String(this.open));
      if (this.open) element.dataset.proof = "pending";
    }
    element.classList.toggle("continued", Boolean(message.continues_id));
    const text = this.after ? "" : stateText(message, { covered: body.covered, thinking: this.#thinking, without: this.whole && body.without, above: this.above, retry: this.retry });
    if (this.state.textContent !== text) this.state.textContent = text;
    this.#bar();
  }

  #bar() {
    const { message, body } = this;
    const key = JSON.stringify([message.status, message.siblings, message.usage, body.covered > 0, this.#written, this.after !== null, this.above]);
    if (key === this.shown) return;
    this.shown = key;
    this.bar.replaceChildren();
    if (message.siblings.length > 1) this.bar.append(siblings(message, this.actions.visit));
    if (this.open || this.after || message.status === "GONE") return;
    if (body.covered) this.bar.append(copy(() => this.text()));
    if (this.actions.retry) this.bar.append(this.#retry());
    if (this.actions.continueAnswer && continuable(message, this.#written)) {
      this.bar.append(button(t("Continue"), (event) => this.#act(event.target, this.actions.continueAnswer), this.#hint));
    }
    const details = button(tokensText(message.usage) || t("Details"), () => this.#facts(details), { className: "quiet spent" });
    details.setAttribute("aria-expanded", "false");
    details.setAttribute("aria-label", t("{tokens}: how it was written", { tokens: details.textContent }));
    this.bar.append(details, label(message));
  }

  /** Retry, and a menu of other models for it. */
  #retry() {
    const again = button(t("Retry"), (event) => this.#act(event.target, this.actions.retry), this.#hint);
    const choose = (model) => this.#act(again, (message) => this.actions.retry(message, model));
    const open = async ({ currentTarget }) => (await import("./retry-menu.js")).toggle(currentTarget, this.message.model, choose);
    const name = t("Ask another model");
    const other = button("▾", open, { className: "quiet other", title: name, "aria-label": name, "aria-haspopup": "menu", "aria-expanded": "false" });
    return el("span", { className: "retry" }, again, other);
  }

  /** Where there is more below, what asks again begins a branch. */
  get #hint() {
    return this.above ? { title: t("Begins a branch here. What is below stays in this one.") } : {};
  }

  async #act(pressed, action) {
    if (pressed.dataset.pressed) return;
    pressed.dataset.pressed = "true";
    await action(this.message);
    delete pressed.dataset.pressed;
  }

  /** Show or hide the details. */
  async #facts(pressed) {
    const open = this.below.querySelector(".facts");
    pressed.setAttribute("aria-expanded", String(!open));
    if (open) return this.below.querySelectorAll(".facts, .tape").forEach((one) => one.remove());
    const list = el("dl", { className: "facts" });
    const replay = button(t("Replay"), async () => {
      place.classList.add("opened");
      const tape = await import("./tape.js");
      await tape.open(this, replay);
    });
    const place = el("div", { className: "tape" }, replay);
    this.below.append(list, place);
    const message = this.message.first_text_at ? this.message : await getMessage(this.message.id).catch(() => this.message);
    for (const [name, value] of facts(message)) list.append(el("div", {}, el("dt", {}, name), el("dd", {}, value)));
    return undefined;
  }
}

/** ‹ 2/3 ›: the other versions of this message. */
function siblings({ siblings: all, id }, visit) {
  const here = all.findIndex((one) => one.id === id);
  const step = (label, name, to) =>
    button(label, () => visit(all[to].leaf), { "aria-label": name, disabled: !all[to] });
  const place = el("span", { className: "place" }, `${number(here + 1)}/${number(all.length)}`);
  return el("span", { className: "siblings" }, step("‹", t("Previous version"), here - 1), place, step("›", t("Next version"), here + 1));
}

/** Which model wrote an answer, and when. */
function label({ model, ended_at: ended, created_at: asked }) {
  const moment = new Date(ended ?? asked);
  const today = moment.toDateString() === new Date().toDateString();
  const when = el("time", { dateTime: moment.toISOString(), title: moment.toLocaleString(locale, { dateStyle: "full", timeStyle: "medium" }) });
  when.textContent = moment.toLocaleString(locale, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
  const short = el("bdi", { title: model ?? "" }, (model ?? "").split("/").at(-1));
  return el("span", { className: "label" }, ...(model ? [short, " · "] : []), when);
}

/** The text of an answer that is not on the page, with that of all answers that it continues. */
async function wholeText(id) {
  const { text, continues_id: above } = await getMessage(id);
  return (above ? await wholeText(above) : "") + text;
}

/** A button that copies `text()`. */
function copy(text) {
  return button(t("Copy"), ({ target }) => copyFor(target, text()));
}

/** Ctrl+A in an answer selects that answer, with its continuations; once more selects the page. */
function selectAnswer(event) {
  const { key, target, altKey, shiftKey } = event;
  if (!(event.ctrlKey || event.metaKey) || altKey || shiftKey || key.toLowerCase() !== "a" || target.closest("input, textarea, select")) return;
  const selection = getSelection();
  const at = selection.anchorNode;
  let first = (at?.nodeType === Node.TEXT_NODE ? at.parentElement : at)?.closest?.("#thread > .assistant");
  if (!first) return;
  let last = first;
  while (first.classList.contains("continued") && first.previousElementSibling?.previousElementSibling) first = first.previousElementSibling.previousElementSibling;
  while (last.classList.contains("continues")) last = last.nextElementSibling.nextElementSibling;
  const [from, to] = [first, last].map((one) => one.querySelector(".body"));
  if (selection.anchorNode === from && selection.focusNode === to) return;
  event.preventDefault();
  selection.setBaseAndExtent(from, 0, to, to.childNodes.length);
}

addEventListener("keydown", selectAnswer);
