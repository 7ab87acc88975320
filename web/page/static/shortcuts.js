/** The sheet of keyboard shortcuts. */

import { el } from "./dom.js";
import { sheet } from "./sheet.js";
import { t } from "./t.js";

await sheet("dialogs");

let dialog = null;

/** Show the sheet; the same key closes it. */
export function open() {
  dialog ??= build();
  dialog.showModal();
}

function build() {
  const control = /Mac|iP/.test(navigator.platform) ? "⌘" : t("Ctrl");
  const all = [
    [t("Send"), ["Enter"]],
    [t("New line"), [t("Shift"), "Enter"]],
    [t("Write a question"), ["/"]],
    [t("New conversation"), [control, t("Shift"), "O"]],
    [t("Search all conversations"), [control, "K"]],
    [t("Print the whole conversation"), [control, "P"]],
    [t("Move through the list"), ["↓", "↑"]],
    [t("Close, or leave as it was"), ["Esc"]],
    [t("These shortcuts"), ["?"]],
  ];
  const rows = all.map(([what, keys]) => el("div", {}, el("dt", {}, what), el("dd", {}, ...keys.map((key) => el("kbd", {}, key)))));
  const close = el("button", { value: "" }, t("Close"));
  const form = el("form", { method: "dialog" }, el("h2", { id: "keys-title" }, t("Keyboard shortcuts")), el("dl", {}, ...rows), el("div", { className: "row" }, close));
  const made = el("dialog", { id: "keys", "aria-labelledby": "keys-title" }, form);
  made.addEventListener("keydown", (event) => {
    if (event.key !== "?") return;
    event.stopPropagation(); // it would open again
    made.close();
  });
  document.body.append(made);
  return made;
}
