/** A text area that grows and sends on Enter, and the form in which a question is edited. */

import { button, el } from "./dom.js";
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
  /** Escape closes it only if nothing was changed: no key throws text away. */
  constructor(text, { send, close }) {
    this.area = el("textarea", { value: text, rows: 1, dir: "auto", "aria-label": t("Edit your question") });
    const submit = () => this.area.value.trim() && (close(), send(this.area.value));
    const buttons = [button(t("Cancel"), close), button(t("Send"), submit, { className: "primary" })];
    this.element = el("div", { className: "editor" }, this.area, el("div", { className: "row" }, ...buttons));
    sendsOnEnter(this.area, submit);
    this.area.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.area.value === text) close();
    });
  }

  focus() {
    grow(this.area);
    this.area.focus();
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }
}
