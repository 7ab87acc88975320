/**
 * Light or dark: as the system has it, or as the person chose. A cookie keeps the choice, because
 * the server writes it into the page (see views.py): so nothing flashes, and no script runs first.
 */

import { announce } from "./announcer.js";
import { byId } from "./dom.js";
import { t } from "./t.js";

/** Seconds that the browser remembers it: a year. */
const KEPT = 31_536_000;

/** The next choice. The first press changes what is seen, the third goes back to the system's. */
export function open() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const other = system === "dark" ? "light" : "dark";
  const next = { "": other, [other]: system, [system]: "" }[root.dataset.theme ?? ""];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  document.cookie = `outlive_theme=${next}; path=/; samesite=lax; max-age=${next ? KEPT : 0}`;
  const paper = getComputedStyle(document.body).backgroundColor;
  document.querySelector("meta[name=color-scheme]").content = next || "light dark";
  for (const meta of document.querySelectorAll("meta[name=theme-color]")) meta.content = paper;
  const words = { "": t("As the system has it"), light: t("Light"), dark: t("Dark") }[next];
  byId("theme").title = words;
  announce(words);
}
