/** The form in which a question is typed and sent, and an answer stopped. */

import { Attach } from "./attach.js";
import { byId } from "./dom.js";
import { grow, sendsOnEnter } from "./editor.js";
import { draft, keepDraft } from "./outbox.js";
import { number, t } from "./t.js";

export class Composer {
  /** `on.send(text)`, `on.line(text)` while an answer is written, `on.stop()`. */
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
    this.area.addEventListener("input", () => this.#typed());
    byId("stop").addEventListener("click", (event) => this.#stop(event));
    for (const idea of byId("ideas").querySelectorAll("button")) {
      idea.addEventListener("click", () => this.put(idea.textContent));
    }
  }

  /** Characters of the longest question. */
  get limit() {
    return Number(this.area.dataset.limit);
  }

  #send() {
    const text = this.area.value;
    if (!this.mode || !(text.trim() || this.attach.count) || this.#checkSize(true)) return;
    if (this.mode === "line" && this.attach.count) return void this.notify(t("A question with files can be sent when the answer has ended."));
    this.notify("");
    this.put("");
    if (matchMedia("(pointer: coarse)").matches) this.area.blur(); // its keyboard covers the answer
    this.on[this.mode](text);
  }

  #typed() {
    this.kept = keepDraft(this.conversation, this.area.value);
    this.#checkSize(false);
    this.#showButtons();
  }

  /** Say that the text is too long to be sent; whether it is. */
  #checkSize(always) {
    const { value } = this.area;
    // A string's length counts some characters twice: it is never less than what is counted here.
    const size = value.length > this.limit ? sizeOf(value) : 0;
    const long = size > this.limit;
    if (long && (always || !this.long)) this.notify(tooLong(size, this.limit, this.kept));
    else if (long) byId("notice").textContent = tooLong(size, this.limit, this.kept);
    else if (this.long) this.notify("");
    this.long = long;
    return long;
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
    this.long = false;
    this.area.value = draft(conversation);
    this.kept = true;
    this.#checkSize(false);
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
    this.#typed();
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

  /**
   * `mode`: what Send does: "send"; "line" while an answer is written; "" while nothing can be sent.
   * `stoppable`: an answer can be stopped.
   */
  update(mode, stoppable) {
    this.mode = mode;
    this.stoppable = stoppable;
    this.area.placeholder = mode === "line" ? t("Ask the next question") : t("Ask anything");
    this.#showButtons();
  }

  #showButtons() {
    const send = byId("send");
    const focused = document.activeElement === send;
    send.hidden = this.stoppable && !(this.mode === "line" && this.area.value.trim());
    send.disabled = !this.mode;
    send.textContent = this.mode === "line" ? t("Next") : t("Send");
    send.title = this.mode === "line" ? t("Sent when the answer has ended") : "";
    byId("stop").hidden = !this.stoppable;
    if (focused && (send.hidden || send.disabled)) this.area.focus();
  }
}

/** Characters as the server counts them: code points. */
export const sizeOf = (text) => text.length - (text.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)?.length ?? 0);

/** Why a text of `size` characters is not sent. `kept`: whether the browser can store it. */
export function tooLong(size, limit, kept = true) {
  const numbers = { size: number(size), limit: number(limit) };
  const said = t("This question has {size} characters, and at most {limit} can be sent. Shorten it, or send it in pieces.", numbers);
  return kept ? said : `${said} ${t("It is too long to be kept if this page is closed.")}`;
}
