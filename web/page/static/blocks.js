/**
 * Blocks on the page. A finished block is inserted once and never touched again. The open block is
 * patched: only nodes that differ are replaced, so a selection, the focus, a touch and a table's
 * horizontal scroll position survive.
 *
 * The HTML comes sanitised from the server. This is the only place where HTML becomes elements, and
 * the page's policy lets nothing in it run or load.
 */

import { el, soon } from "./dom.js";
import { n, t } from "./t.js";

/** Blocks in one container: the browser skips the layout of containers that are far away. */
const RUN = 32;

/** Characters from which on a cell gets a wider column. */
const LONG = 16;

/** The only Trusted Types policy that the page allows. */
const policy = globalThis.trustedTypes?.createPolicy("blocks", { createHTML: (html) => html });
const trusted = (html) => policy?.createHTML(html) ?? html;

export class Blocks {
  /**
   * `root`: the element to fill; `painted(block, element)` is called for each block that is drawn;
   * `thought()`: for how many seconds the model thought, null if that is not known.
   */
  constructor(root, painted = () => {}, thought = () => null) {
    this.root = root;
    this.painted = painted;
    this.thought = thought;
    root.addEventListener("scroll", scrollTogether, true);
    this.clear();
  }

  /**
   * Hide the blocks of a `body` that a continuation shows again, those from `position` on; null: none
   * any more. Returns the characters that are hidden.
   */
  yieldFrom(position, { blocks }, joins) {
    let hidden = 0;
    let last = null;
    for (const { n, start } of blocks) {
      const element = this.shown[n]?.element;
      if (!element) continue;
      element.hidden = position !== null && start >= position;
      if (element.hidden) hidden += element.textContent.length;
      else last = element;
    }
    last?.classList.toggle("joined", position !== null ? joins : last.nextElementSibling?.classList.contains("joins") ?? false);
    return hidden;
  }

  clear() {
    this.root.replaceChildren();
    this.shown = [];
    this.parts = [];
    this.waiting = new Map();
    this.painting = false;
  }

  /** Show finished blocks and the open one at the next paint. */
  show(blocks, open) {
    for (const block of blocks) this.waiting.set(block.n, block);
    if (open) this.waiting.set(open.n, open);
    if (this.painting || !this.waiting.size) return;
    this.painting = true;
    soon(() => this.flush());
  }

  /** Draw what waits now. */
  flush() {
    this.painting = false;
    for (const block of this.waiting.values()) this.#put(block);
    this.waiting.clear();
  }

  /** The answer has ended: fold the reasoning, no block is open. */
  settle() {
    this.flush();
    this.#fold();
    for (const block of this.root.querySelectorAll(".block.open")) block.classList.remove("open");
  }

  #put(block) {
    const finished = block.text !== undefined;
    const shown = (this.shown[block.n] ??= this.#place(block));
    shown.element.classList.toggle("open", !finished);
    const same = shown.html === block.html;
    if (!same) keepingSelection(shown.element, () => patch(shown.element, elementsOf(block)));
    shown.html = block.html;
    if (finished) shown.element.dataset.end = block.end;
    if (!same || finished) this.painted(block, shown.element);
  }

  /** Create a block's element in its part. */
  #place({ part, kind, meta, joins, start }) {
    if (!this.parts[part]) {
      this.#fold();
      this.parts[part] = this.#part(kind, meta);
    }
    const element = el("div", { className: "block", dir: "auto", dataset: { start } });
    const run = this.#run(this.parts[part], joins);
    if (joins) {
      element.classList.add("joins");
      run.lastElementChild?.classList.add("joined");
    }
    run.append(element);
    return { element, html: null };
  }

  /** The container of the next block; blocks that join stay together. */
  #run(part, joins) {
    const last = part.lastElementChild;
    if (last && (joins || last.childElementCount < RUN)) return last;
    return part.appendChild(el("div", { className: "run" }));
  }

  #part(kind, meta) {
    const part = el("div", { className: `part ${kind}` });
    this.root.append(kind === "text" ? part : folded(kind, meta, part));
    return part;
  }

  /** Fold reasoning when another part begins, unless a person opened it. */
  #fold() {
    const details = this.root.lastElementChild;
    if (details?.tagName !== "DETAILS") return;
    details.dataset.writing = "false";
    this.nameThoughts();
    if (!details.dataset.touched) details.open = false;
  }

  /** Say how long it thought: of thoughts that an answer begins with, not of later ones. */
  nameThoughts() {
    const first = this.root.firstElementChild;
    if (first?.matches(".reasoning[data-writing=false]")) first.firstChild.textContent = thoughtFor(this.thought());
  }
}

/** The summary of thoughts that have ended. */
function thoughtFor(seconds) {
  if (seconds === null) return t("Thoughts");
  if (seconds < 60) return n(Math.max(1, Math.round(seconds)), "Thought for {n} second", "Thought for {n} seconds");
  return n(Math.round(seconds / 60), "Thought for {n} minute", "Thought for {n} minutes");
}

/** A part that can be folded. */
function folded(kind, meta, part) {
  const label = kind === "tool_call" ? t("Called {tool}", { tool: meta?.name ?? t("a tool") }) : t("Thoughts");
  const touched = () => (details.dataset.touched = "true");
  const summary = el("summary", { onclick: touched }, label);
  const details = el("details", { className: `aside ${kind}`, open: true }, summary, part);
  details.dataset.writing = "true";
  return details;
}

/** What the kinds of callouts are called. */
const KINDS = () => ({ note: t("Note"), tip: t("Tip"), important: t("Important"), warning: t("Warning"), caution: t("Caution") });

/**
 * A block's elements, with a head for code (language, Copy), keyboard scrolling for wide elements,
 * wider columns for long cells, and names for callouts and boxes.
 */
function elementsOf({ html, joins }) {
  const made = document.createElement("template");
  made.innerHTML = trusted(html);
  for (const wide of made.content.querySelectorAll("pre.code, .table, .math:is(.shown, .wide)")) {
    const code = wide.tagName === "PRE";
    const formula = wide.matches(".math");
    if (code && !joins) wide.before(headOf(wide));
    wide.tabIndex = 0;
    wide.setAttribute("role", formula ? "group" : "region");
    wide.setAttribute("aria-label", code ? t("Code") : formula ? t("Formula") : t("Table"));
  }
  for (const quote of made.content.querySelectorAll("[data-callout]")) {
    quote.prepend(el("p", { className: "kind" }, KINDS()[quote.dataset.callout]));
  }
  for (const box of made.content.querySelectorAll(".box")) {
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", box.textContent === "☑" ? t("Done") : t("To do"));
  }
  for (const note of made.content.querySelectorAll("sup.footnote, .footnote > sup")) {
    note.tabIndex = 0;
    note.setAttribute("role", "link");
    note.setAttribute("aria-label", t("Footnote {label}", { label: note.textContent }));
  }
  if (made.content.querySelector("[data-tex], [data-note]")) import("./rich.js");
  for (const cell of made.content.querySelectorAll(":is(td, th)")) {
    cell.classList.toggle("long", cell.textContent.length > LONG);
    if (!cell.classList.length) cell.removeAttribute("class");
  }
  return made.content;
}

/** Make the children of `shown` equal to those of `made`; equal nodes are not touched. */
function patch(shown, made) {
  let old = shown.firstChild;
  for (const one of [...made.childNodes]) {
    const next = old?.nextSibling ?? null;
    if (!old) shown.append(one);
    else if (!alike(old, one)) old.replaceWith(one);
    else if (one.nodeType === Node.ELEMENT_NODE) patch(old, one);
    else if (old.data !== one.data) setText(old, one.data);
    old = next;
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
}

/** Change what is in an element; a selection there stays where it was in the text. */
function keepingSelection(shown, change) {
  const selection = getSelection();
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection;
  const inside = (node) => shown.contains(node);
  // The cheap question first: the other one lays the page out.
  if ((!inside(anchorNode) && !inside(focusNode)) || selection.isCollapsed) return void change();
  const ends = [[anchorNode, anchorOffset], [focusNode, focusOffset]];
  const places = ends.map(([node, offset]) => (inside(node) ? lengthBefore(shown, node, offset) : null));
  change();
  if (selection.anchorNode === anchorNode && selection.anchorOffset === anchorOffset && selection.focusNode === focusNode && selection.focusOffset === focusOffset) return;
  const points = places.map((place, index) => (place === null ? ends[index] : pointAt(shown, place)));
  selection.setBaseAndExtent(...points.flat());
}

/** The characters of text in an element before a point in it. */
function lengthBefore(shown, node, offset) {
  const range = document.createRange();
  range.setStart(shown, 0);
  range.setEnd(node, offset);
  return range.toString().length;
}

/** The point after so many characters of text in an element. */
function pointAt(shown, place) {
  const texts = document.createTreeWalker(shown, NodeFilter.SHOW_TEXT);
  let left = place;
  let node;
  while ((node = texts.nextNode())) {
    if (left <= node.length) return [node, left];
    left -= node.length;
  }
  return [shown, shown.childNodes.length];
}

/** Whether a node only needs its content patched to become the other. */
function alike(old, one) {
  if (old.nodeType !== one.nodeType || old.nodeName !== one.nodeName) return false;
  if (one.nodeType !== Node.ELEMENT_NODE) return true;
  const names = one.getAttributeNames();
  return names.length === old.getAttributeNames().length && names.every((name) => old.getAttribute(name) === one.getAttribute(name));
}

/** Append where possible: a selection in the text survives. */
function setText(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function headOf(code) {
  const copy = el("button", { type: "button", className: "copy-code quiet" }, t("Copy"));
  copy.setAttribute("aria-label", t("Copy the code"));
  return el("div", { className: "code-head" }, el("span", {}, code.dataset.language ?? ""), copy);
}

/** All elements of a long code, which is spread over blocks that join. */
function codeElements(block) {
  let first = block;
  while (first?.classList.contains("joins")) first = beside(first, "previous");
  first ??= block; // the answer that it continues is not here
  const all = [[...first.querySelectorAll("pre.code")].at(-1)];
  for (let next = beside(first, "next"); next?.classList.contains("joins"); next = beside(next, "next")) {
    all.push(next.querySelector("pre.code"));
  }
  return all.filter(Boolean);
}

/** The block that one may join, "previous" or "next": of the same run, or of a continued answer. */
function beside(block, which) {
  const side = `${which}ElementSibling`;
  const near = block[side];
  if (near && !near.hidden) return near;
  const answer = block.closest(".message");
  if (!answer.classList.contains(which === "next" ? "continues" : "continued")) return null;
  const found = [...(answer[side]?.[side]?.querySelectorAll(".part.text .block:not([hidden])") ?? [])];
  return (which === "next" ? found[0] : found.at(-1)) ?? null;
}

/** The code below a Copy button. */
export function codeBelow(head) {
  const block = head.closest(".block");
  const codes = head.parentElement === block ? codeElements(block) : [head.nextElementSibling];
  return codes.map((code) => code.textContent).join("");
}

/** Scroll all blocks of one long code sideways together. */
function scrollTogether({ target }) {
  if (!target.matches("pre.code") || target.scrollLeft === target.placed) return; // set below
  for (const code of codeElements(target.closest(".block"))) {
    code.scrollLeft = target.scrollLeft;
    code.placed = code.scrollLeft;
  }
}
