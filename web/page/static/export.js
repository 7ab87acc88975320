/** The dialog in which a conversation becomes a file or is printed. Loaded when it is wanted. */

import { button, el } from "./dom.js";
import { sheet } from "./sheet.js";
import { t } from "./t.js";

await sheet("dialogs");

/**
 * Open it. `id`: the conversation; `leaf`: the last message of the branch that is shown; `print()`
 * prints it.
 */
export function openExport({ id, leaf, print }) {
  const address = `/api/conversations/${id}/export`;
  const link = (href, label) => el("a", { className: "button", href, download: "", onclick: () => setTimeout(close) }, label);
  const choice = (help, action) => el("div", { className: "choice" }, el("p", {}, help), action);
  const dialog = el(
    "dialog",
    { className: "export", "aria-labelledby": "export-title", onclose: () => dialog.remove() },
    el("h2", { id: "export-title" }, t("Export")),
    choice(t("What you see here, to read and to edit."), link(`${address}?leaf=${leaf}`, t("Markdown"))),
    choice(t("Everything, with all branches, for programs."), link(`${address}?format=json`, t("JSON"))),
    choice(t("On paper, or as a PDF."), button(t("Print"), () => (close(), print()), { className: "" })),
    el("div", { className: "row" }, button(t("Close"), () => close())),
  );
  const close = () => dialog.close();
  document.body.append(dialog);
  dialog.showModal();
}
