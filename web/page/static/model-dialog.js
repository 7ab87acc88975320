/** The dialog in which a model is chosen: a search, favourites first, then the others by name. */

import { listModels } from "./api.js";
import { el } from "./dom.js";
import { recall, remember } from "./outbox.js";
import { sheet } from "./sheet.js";
import { t } from "./t.js";

await sheet("dialogs");

const FAVOURITES = "outlive.models";

const field = el("input", { type: "search", placeholder: t("Search models"), "aria-label": t("Search models"), autocomplete: "off", spellcheck: false });
const list = el("ul");
const note = el("p", { role: "status" });
const close = el("button", { value: "" }, t("Close"));
const form = el("form", { method: "dialog" }, el("h2", { id: "models-title" }, t("Model")), field, list, note, el("div", { className: "row" }, close));
const dialog = el("dialog", { id: "models", "aria-labelledby": "models-title" }, form);
document.body.append(dialog);

let favourites = new Set();
/** What is known of the list, the name that is in use, and the one that is used without a choice. */
let names = [];
let current = "";
let usual = "";
/** Resolves the promise of `pick`. */
let done = () => {};

/** Whether the provider offers this model; if it has no list, whatever was chosen. */
export async function isOffered(name) {
  const { items, known } = await listModels();
  return !known || items.some(({ id }) => id === name);
}

/** Let a person choose: the name of a model, or null if it stays as it is. */
export function pick(now, standard) {
  [current, usual] = [now, standard];
  favourites = new Set(JSON.parse(recall(FAVOURITES) ?? "[]"));
  names = [...new Set([usual, current])];
  field.value = "";
  note.textContent = t("Loading…");
  draw();
  dialog.showModal();
  if (!matchMedia("(pointer: fine)").matches) list.querySelector("[aria-pressed=true]")?.focus(); // no keyboard over the list
  load();
  return new Promise((resolve) => (done = resolve));
}

async function load() {
  try {
    const { items, known } = await listModels();
    names = [...new Set([usual, ...items.map(({ id }) => id)])];
    note.textContent = known ? "" : t("The provider has no list of models.");
  } catch (problem) {
    note.textContent = problem.message;
  }
  draw();
}

/** Show the models that have all the words of the search. */
function draw() {
  const words = field.value.toLowerCase().split(/\s+/);
  const found = names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  const sorted = [...found.filter((name) => favourites.has(name)), ...found.filter((name) => !favourites.has(name))];
  const at = focusedRow();
  list.replaceChildren(...sorted.map(row));
  if (at) list.querySelector(`[data-model="${CSS.escape(at.model)}"] .${at.button}`)?.focus();
  if (names.length > 2) note.textContent = sorted.length ? "" : t("Nothing found");
}

/** Which button has the focus: drawing makes new ones. */
function focusedRow() {
  const { activeElement: button } = document;
  return list.contains(button) ? { model: button.parentElement.dataset.model, button: button.classList[1] } : null;
}

function row(name) {
  const choose = el("button", { type: "button", className: "quiet name", "aria-pressed": String(name === current) }, el("bdi", {}, name));
  if (name === usual) choose.append(el("small", {}, t("usual")));
  choose.addEventListener("click", () => finish(name));
  const is = favourites.has(name);
  const star = el("button", { type: "button", className: "quiet star", "aria-pressed": String(is), "aria-label": t("Favourite: {name}", { name }) }, is ? "★" : "☆");
  star.addEventListener("click", () => favour(name, !is));
  return el("li", { dataset: { model: name } }, choose, star);
}

function favour(name, wanted) {
  if (wanted) favourites.add(name);
  else favourites.delete(name);
  remember(FAVOURITES, favourites.size ? JSON.stringify([...favourites]) : "");
  draw();
}

function finish(name) {
  done(name);
  dialog.close();
}

field.addEventListener("input", draw);
dialog.addEventListener("close", () => done(null)); // after a choice this changes nothing
dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const all = [field, ...list.querySelectorAll(".name")];
  const at = all.indexOf(document.activeElement);
  if (event.key === "Enter" && at === 0) {
    event.preventDefault();
    all[1]?.click(); // the first that was found
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || at < 0) return;
  event.preventDefault();
  all[Math.min(Math.max(at + step, 0), all.length - 1)].focus();
});
