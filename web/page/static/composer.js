/** Where a question is typed, sent, and an answer stopped. */

import { byId } from "./dom.js";
import { grow, sendsOnEnter } from "./editor.js";
import { draft, keepDraft } from "./outbox.js";

export class Composer {
  /** `on.send(text)`, `on.stop()`. */
  constructor(on) {
    this.on = on;
    this.area = byId("question");
    this.conversation = null;
    this.writing = false;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    sendsOnEnter(this.area, () => this.#send());
    this.area.addEventListener("input", () => keepDraft(this.conversation, this.area.value));
    byId("stop").addEventListener("click", (event) => this.#stop(event));
    for (const idea of byId("ideas").querySelectorAll("button")) {
      idea.addEventListener("click", () => this.put(idea.textContent));
    }
  }

  #send() {
    const text = this.area.value;
    if (this.writing || !text.trim()) return;
    this.say("");
    this.put("");
    this.on.send(text);
  }

  async #stop({ detail }) {
    byId("stop").disabled = true;
    if (detail === 0) this.area.focus(); // by keyboard: the button will be gone
    await this.on.stop();
    byId("stop").disabled = false;
  }

  /** Another conversation: its draft. */
  enter(conversation) {
    this.conversation = conversation;
    this.say("");
    this.area.value = draft(conversation);
    grow(this.area);
    if (matchMedia("(pointer: fine)").matches) this.area.focus();
  }

  /** The new conversation has been made: what is typed meanwhile belongs to it. */
  settle(conversation) {
    keepDraft(this.conversation, "");
    this.conversation = conversation;
    keepDraft(conversation, this.area.value);
  }

  /** Put a text where it can be changed and sent. */
  put(text) {
    this.area.value = text;
    keepDraft(this.conversation, text);
    grow(this.area);
    this.area.focus();
  }

  /** What somebody was at is gone: go on here. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.area.focus({ preventScroll: true });
  }

  /** Say a sentence beside it. */
  say(sentence) {
    byId("notice").textContent = sentence;
    byId("notice").hidden = !sentence;
  }

  /** While an answer is written there is something to stop, and nothing to send. */
  update(writing, stoppable) {
    this.writing = writing;
    const held = document.activeElement === byId("send");
    byId("send").hidden = stoppable;
    byId("send").disabled = writing;
    byId("stop").hidden = !stoppable;
    if (held && writing) this.area.focus();
  }
}
