/** The parts of a body on the page: text, what the model thought, what it called. */

import { el, soon } from "./dom.js";
import { Markdown } from "./markdown.js";

/** Text as it was written, growing. */
class Plain {
  constructor(root) {
    this.node = root.appendChild(document.createTextNode(""));
  }

  append(text) {
    this.node.appendData(text);
  }
}

export class Parts {
  /** `root` is the element to fill; a person's own words are shown as they were typed. */
  constructor(root, { rich }) {
    this.root = root;
    this.rich = rich;
    this.clear();
  }

  /** Begin again with a whole body. */
  reset(body, live) {
    this.clear();
    body.parts.forEach((part, index) => this.append({ ...part, part: index }, live));
    this.flush();
    if (!live) this.settle();
  }

  clear() {
    this.root.replaceChildren();
    this.views = [];
    this.painting = false;
  }

  /** Take in a piece; it is shown with the next paint. */
  append({ part, kind, text, meta }, live = true) {
    if (!this.views[part]) {
      this.settle();
      this.views[part] = this.#view(kind, meta, live);
    }
    this.views[part].waiting += text;
    if (this.painting) return;
    this.painting = true;
    soon(() => this.flush());
  }

  /** Show what waits. */
  flush() {
    this.painting = false;
    for (const view of this.views) {
      if (!view?.waiting) continue;
      view.shown.append(view.waiting);
      view.waiting = "";
    }
  }

  /** What was thought has been thought: fold it, unless somebody wanted it open. */
  settle() {
    const details = this.views.at(-1)?.details;
    if (!details) return;
    details.dataset.live = "false";
    if (!details.dataset.touched) details.open = false;
  }

  #view(kind, meta, live) {
    const element = el("div", { className: `part ${kind}`, dir: "auto" });
    if (kind === "text") {
      this.root.append(element);
      return { waiting: "", shown: this.rich ? new Markdown(element) : new Plain(element) };
    }
    const details = folded(kind, meta, element, live);
    this.root.append(details);
    return { waiting: "", details, shown: new Plain(element) };
  }
}

/** A part that can be folded away. */
function folded(kind, meta, element, live) {
  const label = kind === "tool_call" ? `Called ${meta?.name ?? "a tool"}` : "Thoughts";
  const touched = () => (details.dataset.touched = "true");
  const summary = el("summary", { onclick: touched }, label);
  const details = el("details", { className: `aside ${kind}`, open: live }, summary, element);
  details.dataset.live = live;
  return details;
}
