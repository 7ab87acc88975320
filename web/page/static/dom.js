/** Elements without HTML strings: text of people and models becomes text nodes. */

import { t } from "./t.js";

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** What this service is called. */
export const NAME = document.querySelector("meta[name=application-name]").content;

/** A new element; `props` are properties, or attributes where there is no such property. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A small button. */
export function button(label, onclick, props = {}) {
  return el("button", { type: "button", className: "quiet", onclick, ...props }, label);
}

/** Copy a text, or what a promise brings; the button shows whether that worked. */
export async function copyFor(pressed, text) {
  const worked = await copyText(await text).catch(() => false);
  pressed.textContent = worked ? t("Copied") : t("Not copied");
  setTimeout(() => (pressed.textContent = t("Copy")), 1500);
}

/** Copy a text. Where there is no clipboard for pages (plain HTTP from another machine), or it refuses, as from a field. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const field = el("textarea", { className: "unseen", value: text, readOnly: true });
    (focused?.closest("dialog") ?? document.body).append(field); // a dialog keeps the focus
    field.select();
    const worked = document.execCommand("copy");
    field.remove();
    focused?.focus({ preventScroll: true });
    return worked;
  }
}

/** An icon from the page's symbols. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Run before the next paint; on a hidden page, which does not paint, after a while. */
export function soon(task) {
  if (document.hidden) setTimeout(task, 250);
  else requestAnimationFrame(task);
}
