/** One message on the page: its body, how it stands, what can be done with it. */

import { announce } from "./announcer.js";
import { Body } from "./body.js";
import { button, el } from "./dom.js";
import { Editor } from "./editor.js";
import { Parts } from "./parts.js";
import { Follower, isOpen } from "./stream.js";
import { continuable, spent, spoken, standing } from "./words.js";

export class MessageView {
  /** `actions`: retry, goOn, edit(message, text), visit(leaf), changed(). */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.body = new Body(message);
    const { id, role } = message;
    this.content = el("div", { className: "body" });
    this.below = el("div", { className: "below" });
    this.element = el("article", { className: `message ${role}`, dataset: { id } }, this.content, this.below);
    this.element.setAttribute("aria-label", role === "user" ? "You" : "Answer");
    this.parts = new Parts(this.content, { rich: role === "assistant" });
    this.parts.reset(this.body, this.open);
    this.#show();
    if (this.open) this.#follow();
    else this.#prove(message);
  }

  /** Whether it is still being written. */
  get open() {
    return isOpen(this.message.status);
  }

  /** What a conversation read again says: the text is ours already, the siblings may be new. */
  refresh(message) {
    const before = JSON.stringify(this.message.siblings);
    this.message.siblings = message.siblings;
    if (this.open && !isOpen(message.status)) this.follower?.poke();
    if (before !== JSON.stringify(message.siblings) && !this.editing) this.#show();
  }

  /** Leave; an answer is written on. */
  close() {
    this.follower?.close();
    this.element.remove();
  }

  #follow() {
    this.follower = new Follower(this.message.id, this.body, {
      delta: (delta) => {
        this.parts.append(delta);
        this.#status("STREAMING");
        this.element.dataset.length = this.body.position;
      },
      reread: (body) => {
        this.body = body;
        this.parts.reset(body, true);
        this.#show();
      },
      status: (status) => isOpen(status) && this.#status(status),
      end: (end) => this.#end(end),
    });
  }

  #status(status) {
    if (this.message.status === status && this.body.position) return this.#quieten();
    if (this.message.status !== status) announce(spoken({ ...this.message, status }));
    this.message.status = status;
    this.#show();
    return this.actions.changed();
  }

  /** The first text is here: nobody waits any more. */
  #quieten() {
    const state = this.below.querySelector(".state");
    if (state?.textContent) this.#show();
  }

  #end({ status, finish_reason, usage, error, length, sha256 }) {
    this.follower = null;
    Object.assign(this.message, { status, finish_reason, usage, error });
    this.parts.reset(this.body, false);
    this.#show();
    announce(spoken(this.message));
    this.#prove({ length, sha256 });
    this.actions.changed();
  }

  /** Compare with what the server says it wrote, to the character. */
  async #prove(proof) {
    const { dataset } = this.element;
    dataset.proof = "pending";
    dataset.proof = (await this.body.proves(proof)) ? "ok" : "failed";
    if (dataset.proof === "failed") this.#show();
  }

  #show() {
    const { dataset } = this.element;
    dataset.status = this.message.status;
    dataset.length = this.body.position;
    if (this.open) dataset.proof = "pending";
    this.element.setAttribute("aria-busy", String(this.open));
    this.element.classList.toggle("continued", Boolean(this.message.continues_id));
    const said = standing(this.message, this.body.position);
    this.below.replaceChildren(el("p", { className: "state" }, said), this.#bar());
    if (dataset.proof === "failed") this.below.prepend(el("p", { className: "doubt" }, "This copy differs from the server's; reload the page."));
  }

  #bar() {
    const { message } = this;
    const bar = el("div", { className: "actions" });
    if (message.siblings?.length > 1) bar.append(this.#siblings());
    if (this.open || message.status === "GONE") return bar;
    if (this.body.text) bar.append(button("Copy", (event) => this.#copy(event.target)));
    if (message.role === "user") bar.append(button("Edit", () => this.#edit()));
    else bar.append(button("Retry", (event) => this.#again(event.target, this.actions.retry)));
    if (message.role === "assistant" && continuable(message, this.body.position)) {
      bar.append(button("Continue", (event) => this.#again(event.target, this.actions.goOn)));
    }
    const spoils = spent(message.usage);
    if (spoils) bar.append(el("span", { className: "spent", title: message.model ?? "" }, spoils));
    return bar;
  }

  #siblings() {
    const { siblings, id } = this.message;
    const here = siblings.findIndex((one) => one.id === id);
    const step = (label, name, to) =>
      button(label, () => this.actions.visit(siblings[to].leaf), { "aria-label": name, disabled: !siblings[to] });
    const place = el("span", { className: "place" }, `${here + 1}/${siblings.length}`);
    return el("span", { className: "siblings" }, step("‹", "Previous version", here - 1), place, step("›", "Next version", here + 1));
  }

  async #again(pressed, action) {
    pressed.disabled = true;
    await action(this.message);
    pressed.disabled = false;
  }

  async #copy(pressed) {
    await navigator.clipboard.writeText(this.body.text);
    pressed.textContent = "Copied";
    setTimeout(() => (pressed.textContent = "Copy"), 1500);
  }

  /** Let a question be asked differently: that makes another branch, this one stays. */
  #edit() {
    this.editing = new Editor(this.body.text, {
      send: (text) => this.actions.edit(this.message, text),
      leave: () => {
        this.editing = null;
        this.element.classList.remove("editing");
        this.#show();
      },
    });
    this.element.classList.add("editing");
    this.below.replaceChildren(this.editing.element);
    this.editing.focus();
  }
}
