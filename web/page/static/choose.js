/** A question to the person, with a button for each answer. Loaded when it is asked. */

import { el } from "./dom.js";

/** Ask; `choices` are [value, label]: the first one gives up, the last one is what is usually wanted. The value that was chosen, "" for the first and Escape. */
export function choose(title, text, choices) {
  const buttons = choices.map(([value, label], index) => el("button", { value, className: index === choices.length - 1 ? "primary" : "" }, label));
  const heading = el("h2", { id: "choose-title" }, title);
  const form = el("form", { method: "dialog" }, heading, el("p", { id: "choose-text" }, text), el("div", { className: "row" }, ...buttons));
  const dialog = el("dialog", { "aria-labelledby": "choose-title", "aria-describedby": "choose-text" }, form);
  document.body.append(dialog);
  dialog.showModal();
  buttons.at(-1).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}
