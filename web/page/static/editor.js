/** A text area that grows and sends on Enter, and the form in which a question is edited. */

import { button, el } from "./dom.js";
import { edit, keepEdit } from "./outbox.js";
import { t } from "./t.js";

/** Make a text area grow and send on Enter; on a touch keyboard Enter is a new line. */
export function sendsOnEnter(area, send) {
  area.addEventListener("input", () => grow(area));
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    send();
  });
}

/** Fit the height to the text; CSS sets the maximum. */
export function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

export class Editor {
  /**
   * Of the question with this id. What is typed is kept: if the page goes, the next one opens it
   * again. `on.ready()`, if there is one, may say that it is not to be sent now. Escape closes it
   * only if nothing was changed: no key throws text away.
   */
  constructor(id, text, on, label = t("Send")) {
    this.area = el("textarea", { value: edit(id) ?? text, rows: 1, dir: "auto", "aria-label": t("Edit your question") });
    const close = () => {
      keepEdit(id, "");
      on.close();
    };
    /** Close without a word: its question is gone. */
    this.drop = () => keepEdit(id, "");
    const submit = async () => {
      if (!this.area.value.trim() || (on.ready && !(await on.ready(this.area.value)))) return;
      close();
      on.send(this.area.value);
    };
    const buttons = [button(t("Cancel"), close), button(label, submit, { className: "primary" })];
    this.area.addEventListener("input", () => keepEdit(id, this.area.value));
    this.element = el("div", { className: "editor" }, this.area, el("div", { className: "row" }, ...buttons));
    sendsOnEnter(this.area, submit);
    this.area.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.area.value === text) close();
    });
  }

  /** Make it as high as its text, once it is on the page. */
  fit() {
    requestAnimationFrame(() => grow(this.area));
  }

  focus() {
    grow(this.area);
    this.area.focus();
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }
}
