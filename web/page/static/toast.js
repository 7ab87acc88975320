/** Short messages with a button that undoes what was done. */

import { byId, el } from "./dom.js";
import { t } from "./t.js";

/** Milliseconds a toast stays; longer while one is hovered or focused, so that none moves under a finger. */
const STAY = 9_000;
/** Toasts at a time. */
const MOST = 5;

/** Show the message and the button, below those that are there. */
export function offer(text, label, undo) {
  const toasts = byId("toasts");
  let timer = null;
  const close = () => {
    clearTimeout(timer);
    const focused = toast.contains(document.activeElement);
    const next = toast.nextElementSibling ?? toast.previousElementSibling;
    toast.remove();
    if (focused) (next?.querySelector("button") ?? byId("question")).focus();
  };
  const wait = () => {
    timer = setTimeout(() => (toasts.matches(":hover, :focus-within") ? wait() : close()), STAY);
  };
  const action = el("button", { type: "button", onclick: () => (close(), undo()) }, label);
  const closer = el("button", { type: "button", className: "close", onclick: close, "aria-label": t("Close this") }, "×");
  const toast = el("div", { className: "toast" }, el("span", {}, text), action, closer);
  while (toasts.childElementCount >= MOST) toasts.firstElementChild.remove();
  toasts.append(toast);
  wait();
}
