/** Something has been done, and can still be undone. */

import { byId, el } from "./dom.js";

/** Milliseconds a toast stays; longer while somebody is at it. */
const STAY = 9_000;

/** Say it, and offer to undo it. */
export function offer(text, label, undo) {
  const gone = () => toast.remove();
  const action = el("button", { type: "button", onclick: () => (gone(), undo()) }, label);
  const close = el("button", { type: "button", className: "close", onclick: gone, "aria-label": "Close this" }, "×");
  const toast = el("div", { className: "toast" }, el("span", {}, text), action, close);
  byId("toasts").replaceChildren(toast);
  let timer = setTimeout(gone, STAY);
  const stay = () => clearTimeout(timer);
  const go = () => {
    clearTimeout(timer);
    timer = setTimeout(gone, STAY);
  };
  for (const event of ["pointerenter", "focusin"]) toast.addEventListener(event, stay);
  for (const event of ["pointerleave", "focusout"]) toast.addEventListener(event, go);
}
