/** The menu at Retry: the models with which an answer can be asked for again. Loaded when it is first opened. */

import { listModels } from "./api.js";
import { button, el } from "./dom.js";
import { sheet } from "./sheet.js";
import { t } from "./t.js";

await sheet("dialogs");

/** Open it at a button, or close it; `choose(model)` is called with the name of one. */
export async function toggle(opener, current, choose) {
  const open = opener.parentElement.querySelector(".menu");
  if (open) return void open.close();
  const menu = el("div", { className: "menu", role: "menu", "aria-label": t("Ask another model") }, el("p", {}, t("Loading the models")));
  const closed = new AbortController();
  const options = { signal: closed.signal };
  menu.close = ({ focus = false } = {}) => {
    closed.abort();
    menu.remove();
    opener.setAttribute("aria-expanded", "false");
    if (focus) opener.focus();
  };
  opener.setAttribute("aria-expanded", "true");
  opener.after(menu);
  addEventListener("pointerdown", ({ target }) => menu.contains(target) || target === opener || menu.close(), { ...options, capture: true });
  menu.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !menu.contains(relatedTarget) && relatedTarget !== opener && menu.close(), options);
  menu.addEventListener("keydown", (event) => move(event, menu), options);
  const found = await listModels().catch(() => null);
  if (closed.signal.aborted) return;
  const names = found ? [...new Set([found.default, ...found.items.map(({ id }) => id)])].filter((name) => name && name !== current) : [];
  const pick = (name) => () => {
    menu.close({ focus: true });
    choose(name);
  };
  if (names.length) menu.replaceChildren(...names.map((name) => button(name, pick(name), { role: "menuitem", dir: "auto" })));
  else menu.replaceChildren(el("p", {}, found ? t("There is no other model.") : t("The models cannot be read now.")));
  menu.querySelector("button")?.focus();
  menu.scrollIntoView({ block: "nearest" });
}

function move(event, menu) {
  const { key } = event;
  const all = [...menu.querySelectorAll("button")];
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[key];
  if (key === "Escape") {
    event.stopPropagation();
    menu.close({ focus: true });
  } else if (to !== undefined && all.length) {
    event.preventDefault();
    all[(to + all.length) % all.length].focus();
  }
}
