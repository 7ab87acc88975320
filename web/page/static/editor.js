/** A text area that grows, sends on Enter, and the little form in which a question is edited. */

import { button, el } from "./dom.js";

/** Make a text area as high as its text, and Enter send; a touch keyboard's Enter is a new line. */
export function sendsOnEnter(area, send) {
  area.addEventListener("input", () => grow(area));
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    send();
  });
}

/** As high as what is in it; CSS says where that ends. */
export function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

export class Editor {
  /** Escape leaves only what was not changed: nothing typed is ever thrown away by a key. */
  constructor(text, { send, leave }) {
    this.area = el("textarea", { value: text, rows: 1, dir: "auto", "aria-label": "Edit your question" });
    const submit = () => this.area.value.trim() && (leave(), send(this.area.value));
    const buttons = [button("Cancel", leave), button("Send", submit, { className: "primary" })];
    this.element = el("div", { className: "editor" }, this.area, el("div", { className: "row" }, ...buttons));
    sendsOnEnter(this.area, submit);
    this.area.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.area.value === text) leave();
    });
  }

  focus() {
    grow(this.area);
    this.area.focus();
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }
}
