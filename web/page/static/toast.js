/** A short message with a button that undoes what was done. */

import { byId, el } from "./dom.js";
import { t } from "./t.js";

/** Milliseconds a toast stays; longer while it is hovered or focused. */
const STAY = 9_000;

/** Show the message and the button. */
export function offer(text, label, undo) {
  const close = () => toast.remove();
  const action = el("button", { type: "button", onclick: () => (close(), undo()) }, label);
  const closer = el("button", { type: "button", className: "close", onclick: close, "aria-label": t("Close this") }, "×");
  const toast = el("div", { className: "toast" }, el("span", {}, text), action, closer);
  byId("toasts").replaceChildren(toast);
  let timer = setTimeout(close, STAY);
  const hold = () => clearTimeout(timer);
  const resume = () => {
    clearTimeout(timer);
    timer = setTimeout(close, STAY);
  };
  for (const event of ["pointerenter", "focusin"]) toast.addEventListener(event, hold);
  for (const event of ["pointerleave", "focusout"]) toast.addEventListener(event, resume);
}
