/** The form in which a question is typed and sent, and an answer stopped. */

import { Attach } from "./attach.js";
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
    this.attach = new Attach((sentence) => this.notify(sentence), () => {});
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
    if (this.writing || !(text.trim() || this.attach.count)) return;
    this.notify("");
    this.put("");
    if (matchMedia("(pointer: coarse)").matches) this.area.blur(); // its keyboard covers the answer
    this.on.send(text);
  }

  async #stop({ detail }) {
    byId("stop").disabled = true;
    if (detail === 0) this.area.focus(); // by keyboard: the button disappears
    await this.on.stop();
    byId("stop").disabled = false;
  }

  /** Show the draft of another conversation. */
  open(conversation) {
    this.conversation = conversation;
    this.attach.open(conversation);
    this.notify("");
    this.area.value = draft(conversation);
    grow(this.area);
    if (matchMedia("(pointer: fine)").matches) this.area.focus();
  }

  /** The new conversation has an id now: its draft moves there. */
  rename(conversation) {
    keepDraft(this.conversation, "");
    this.conversation = conversation;
    keepDraft(conversation, this.area.value);
    this.attach.rename(conversation);
  }

  /** Put a text into the form. */
  put(text) {
    this.area.value = text;
    keepDraft(this.conversation, text);
    grow(this.area);
    this.area.focus();
  }

  /** Take the focus, where there is no touch keyboard. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.area.focus({ preventScroll: true });
  }

  /** Show a message, or none. */
  notify(sentence) {
    byId("notice").textContent = sentence;
    byId("notice").hidden = !sentence;
  }

  /** While an answer is written it can be stopped, and nothing can be sent. */
  update(writing, stoppable) {
    this.writing = writing;
    const focused = document.activeElement === byId("send");
    byId("send").hidden = stoppable;
    byId("send").disabled = writing;
    byId("stop").hidden = !stoppable;
    if (focused && writing) this.area.focus();
  }
}
