/**
 * Blocks on the page: a finished one is put there once and never touched again. Of the one that is
 * written only what is new is put there, so that a selection, the focus, a finger on it and how far
 * a table was scrolled sideways stay.
 *
 * Their HTML is the server's, sanitised there; this is the only place where HTML becomes elements,
 * and the page's policy lets nothing in it run or load.
 */

import { el, soon } from "./dom.js";

/** Blocks that stand together: what is far away is not laid out, a run at a time. */
const RUN = 32;

/** Characters of a cell that want a wider column. */
const LONG = 16;

/** What says to the browser that this is the one place: the page's policy lets no other make elements of text. */
const policy = globalThis.trustedTypes?.createPolicy("blocks", { createHTML: (html) => html });
const trusted = (html) => policy?.createHTML(html) ?? html;

export class Blocks {
  /** `root` is the element to fill; `painted(block, element)` hears of everything put there. */
  constructor(root, painted = () => {}) {
    this.root = root;
    this.painted = painted;
    root.addEventListener("scroll", together, true);
    this.clear();
  }

  clear() {
    this.root.replaceChildren();
    this.shown = [];
    this.parts = [];
    this.waiting = new Map();
    this.painting = false;
  }

  /** Show these blocks, and this one as the open one, with the next paint. */
  show(blocks, open) {
    for (const block of blocks) this.waiting.set(block.n, block);
    if (open) this.waiting.set(open.n, open);
    if (this.painting || !this.waiting.size) return;
    this.painting = true;
    soon(() => this.flush());
  }

  /** Put what waits into the page. */
  flush() {
    this.painting = false;
    for (const block of this.waiting.values()) this.#put(block);
    this.waiting.clear();
  }

  /** It has ended: what was thought has been thought. */
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
    if (!same) renew(shown.element, dressed(block));
    shown.html = block.html;
    if (!same || finished) this.painted(block, shown.element);
  }

  /** A new block's element, in its part. */
  #place({ part, kind, meta, joins }) {
    if (!this.parts[part]) {
      this.#fold();
      this.parts[part] = this.#part(kind, meta);
    }
    const element = el("div", { className: "block", dir: "auto" });
    const run = this.#run(this.parts[part], joins);
    if (joins) {
      element.classList.add("joins");
      run.lastElementChild?.classList.add("joined");
    }
    run.append(element);
    return { element, html: null };
  }

  /** Where the next block belongs; what is one thing is not taken apart. */
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

  /** What was thought is folded away when something else begins, unless somebody wanted it open. */
  #fold() {
    const details = this.root.lastElementChild;
    if (details?.tagName !== "DETAILS") return;
    details.dataset.live = "false";
    if (!details.dataset.touched) details.open = false;
  }
}

/** A part that can be folded away. */
function folded(kind, meta, part) {
  const label = kind === "tool_call" ? `Called ${meta?.name ?? "a tool"}` : "Thoughts";
  const touched = () => (details.dataset.touched = "true");
  const summary = el("summary", { onclick: touched }, label);
  const details = el("details", { className: `aside ${kind}`, open: true }, summary, part);
  details.dataset.live = "true";
  return details;
}

/**
 * A block's elements. Code says its language, and can be copied; what scrolls sideways does so by
 * keyboard, too; a cell with more than a few words is not as narrow as its longest one.
 */
function dressed({ html, joins }) {
  const made = document.createElement("template");
  made.innerHTML = trusted(html);
  for (const wide of made.content.querySelectorAll("pre.code, .table")) {
    const code = wide.tagName === "PRE";
    if (code && !joins) wide.before(headOf(wide));
    wide.tabIndex = 0;
    wide.setAttribute("role", "region");
    wide.setAttribute("aria-label", code ? "Code" : "Table");
  }
  for (const cell of made.content.querySelectorAll(":is(td, th)")) {
    cell.classList.toggle("long", cell.textContent.length > LONG);
    if (!cell.classList.length) cell.removeAttribute("class");
  }
  return made.content;
}

/** Make what `shown` holds the same as `made`, and touch nothing that is the same already. */
function renew(shown, made) {
  let old = shown.firstChild;
  for (const one of [...made.childNodes]) {
    const next = old?.nextSibling ?? null;
    if (!old) shown.append(one);
    else if (!alike(old, one)) old.replaceWith(one);
    else if (one.nodeType === Node.ELEMENT_NODE) renew(old, one);
    else if (old.data !== one.data) say(old, one.data);
    old = next;
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
}

/** Whether one node can become the other by what is in it. */
function alike(old, one) {
  if (old.nodeType !== one.nodeType || old.nodeName !== one.nodeName) return false;
  if (one.nodeType !== Node.ELEMENT_NODE) return true;
  const names = one.getAttributeNames();
  return names.length === old.getAttributeNames().length && names.every((name) => old.getAttribute(name) === one.getAttribute(name));
}

/** Change a text where it differs: a selection in the rest of it stays. */
function say(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function headOf(code) {
  const copy = el("button", { type: "button", className: "copy-code quiet" }, "Copy");
  copy.setAttribute("aria-label", "Copy the code");
  return el("div", { className: "code-head" }, el("span", {}, code.dataset.language ?? ""), copy);
}

/** All of a long code: it stands in several blocks that join. */
function joined(block) {
  let first = block;
  while (first.classList.contains("joins")) first = first.previousElementSibling;
  const all = [[...first.querySelectorAll("pre.code")].at(-1)];
  for (let next = first.nextElementSibling; next?.classList.contains("joins"); next = next.nextElementSibling) {
    all.push(next.querySelector("pre.code"));
  }
  return all.filter(Boolean);
}

/** The code that a Copy button stands above. */
export function codeBelow(head) {
  const block = head.closest(".block");
  const codes = head.parentElement === block ? joined(block) : [head.nextElementSibling];
  return codes.map((code) => code.textContent).join("");
}

/** What is one code scrolls sideways as one. */
function together({ target }) {
  if (!target.matches("pre.code") || target.scrollLeft === target.placed) return; // we have moved it
  for (const code of joined(target.closest(".block"))) {
    code.scrollLeft = target.scrollLeft;
    code.placed = code.scrollLeft;
  }
}
