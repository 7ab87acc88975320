/**
 * Blocks on the page: a finished one is put there once and never touched again.
 *
 * Their HTML is the server's, sanitised there; this is the only place where HTML becomes elements,
 * and the page's policy lets nothing in it run or load.
 */

import { el, soon } from "./dom.js";

/** Blocks that stand together: what is far away is not laid out, a run at a time. */
const RUN = 32;

/** What says to the browser that this is the one place: the page's policy lets no other make elements of text. */
const policy = globalThis.trustedTypes?.createPolicy("blocks", { createHTML: (html) => html });
const trusted = (html) => policy?.createHTML(html) ?? html;

export class Blocks {
  /** `root` is the element to fill; `painted(block, element)` hears of everything put there. */
  constructor(root, painted = () => {}) {
    this.root = root;
    this.painted = painted;
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
    if (!same) shown.element.innerHTML = trusted(block.html);
    shown.html = block.html;
    if (!same || finished) this.painted(block, shown.element);
    if (!same && !block.joins) dress(shown.element);
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

/** Code says its language, and can be copied. */
function dress(element) {
  for (const code of element.querySelectorAll("pre.code")) {
    const copy = el("button", { type: "button", className: "copy-code quiet" }, "Copy");
    copy.setAttribute("aria-label", "Copy the code");
    const head = el("div", { className: "code-head" }, el("span", {}, code.dataset.language ?? ""), copy);
    code.before(head);
    code.tabIndex = 0; // it scrolls sideways: by keyboard, too
    code.setAttribute("role", "region");
    code.setAttribute("aria-label", "Code");
  }
}

/** The code that a Copy button stands above: of a block, and of those that go on with it. */
export function codeBelow(head) {
  let text = head.nextElementSibling.textContent;
  const block = head.parentElement.closest(".block");
  if (head.parentElement !== block) return text;
  for (let next = block.nextElementSibling; next?.classList.contains("joins"); next = next.nextElementSibling) {
    text += next.querySelector("pre.code")?.textContent ?? "";
  }
  return text;
}
