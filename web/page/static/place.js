/**
 * Where a person was, and what is new since.
 *
 * A place is a position of a message's body, kept on the server for all devices: the first line on the
 * screen, or the end while the end is followed. With it goes the end of the branch at that moment. Who
 * comes back is where they were; if the text has grown past that end, a line says "New since you left"
 * there, and nothing scrolls until they do.
 *
 * Positions inside a block are found by the share of its text, in both directions: the text that is
 * shown is not the Markdown that positions count.
 */

import { getPlace, putPlace } from "./api.js";
import { el } from "./dom.js";
import { t } from "./t.js";

/** Milliseconds between two reports of a place; and from arriving to what counts as having read. */
const EVERY = 4_000;
const SETTLED = 4_000;
/** Pixels from the pane's top to the line that is being read; the share of the pane above what is new. */
const EDGE = 20;
const ABOVE = 0.22;
/** Pixels in which the first line is looked for, and the step. */
const REACH = 160;
const STEP = 10;
/** Hits that are marked. */
const MARKED = 500;
const STORED = "outlive.place";
/** What changes when an answer ends, and when it is proved. */
const WATCHED = { subtree: true, attributeFilter: ["data-status", "data-proof"] };

/** A question's text, or an answer's finished and open blocks, by their beginnings. */
const piecesOf = (element) => [...element.querySelectorAll(".block[data-start], .user .part.text")];

/** The end of a message's text, as far as it is known here. */
export function endOf({ body, message }) {
  return body ? Math.max(body.covered, message.length ?? 0) : [...(message.text ?? "")].length;
}

export class Places {
  /** `thread`: the open conversation; `pane` scrolls, by `scroll`. */
  constructor(pane, thread, scroll) {
    this.pane = pane;
    this.thread = thread;
    this.scroll = scroll;
    this.id = null;
    this.line = null;
    /** Milliseconds by which the server's clock is ahead. */
    this.ahead = 0;
    /** Whether the tab is hidden, and was reported to be left. */
    this.away = document.hidden;
    setInterval(() => this.keep(), EVERY);
    for (const event of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(event, () => (this.touched = true), { capture: true, passive: true });
    addEventListener("pagehide", () => this.keep({ leaving: true }));
    document.addEventListener("visibilitychange", () => this.#visible());
  }

  // --- arriving

  /** Where the person was in a conversation, by the server or by this tab; null: not known. */
  async find(id) {
    const asked = Date.now();
    const found = await getPlace(id).catch(() => null);
    if (found) this.ahead = Date.parse(found.now) - (asked + Date.now()) / 2;
    const mine = stored(id); // the report may still be on its way
    const place = [found?.place, mine].filter(Boolean).sort((one, other) => Date.parse(one.read_at) - Date.parse(other.read_at)).at(-1);
    return place ? { ...place, restarted: found?.restarted ?? [] } : null;
  }

  /** The conversation is shown: be where the person was (`place`), or at `target`, which a link names. */
  arrive(id, place, target) {
    this.leave();
    this.id = id;
    this.place = place;
    this.arrived = performance.now();
    this.touched = !place; // nothing to lose
    if (place && this.#mayHaveNews(place.end)) {
      this.marking = new MutationObserver(() => this.#mark());
      this.marking.observe(this.thread.root, { ...WATCHED, childList: true });
      this.#mark();
    }
    if (target) this.show(target);
    else if (place && place.position >= place.end.position && place.message_id === place.end.message_id) this.#showNews();
    else if (place) this.scroll.hold(this.#finder(place, () => EDGE));
  }

  /** Another conversation is going to be shown, or none. */
  leave() {
    this.keep({ leaving: true });
    this.seen();
    this.id = null;
    this.place = null;
    CSS.highlights?.delete("found");
  }

  /** What was new is not any more. */
  seen() {
    this.marking?.disconnect();
    this.marking = null;
    this.atNews = false;
    this.line?.remove();
    this.line = null;
  }

  /** Show a position, and mark these words there. */
  show({ words, ...target }) {
    const find = this.#finder(target, () => this.pane.clientHeight * ABOVE, words);
    this.scroll.hold(() => {
      const top = find();
      if (top !== null && !find.shown) {
        find.shown = true;
        const piece = this.#piece(target);
        piece?.classList.add("linked");
        setTimeout(() => piece?.classList.remove("linked"), 2500);
      }
      return top;
    });
  }

  /** Be at the end as it was; at what is new as soon as there is something. */
  #showNews() {
    if (!this.marking) return this.scroll.down();
    const news = () => (this.line?.isConnected ? Math.max(0, this.#topOf(this.line) - this.pane.clientHeight * ABOVE) : this.pane.scrollHeight);
    this.atNews = true;
    return this.scroll.hold(news);
  }

  /** What a hidden tab shows is read by nobody. */
  #visible() {
    if (document.hidden) this.keep({ leaving: true });
    this.away = document.hidden;
  }

  // --- what is new

  /** Whether there is text after this end, or may be soon. */
  #mayHaveNews({ message_id: id, position }) {
    const views = [...this.thread.views.values()];
    const at = views.findIndex(({ message }) => message.id === id);
    return at >= 0 && (at < views.length - 1 || views[at].open || endOf(views[at]) > position);
  }

  /** Draw the line above the first block with new text, once there is one. */
  #mark() {
    if (!this.place || this.line?.isConnected) return void this.#fill();
    const { message_id: id, position } = this.place.end;
    const views = [...this.thread.views.values()];
    const at = views.findIndex(({ message }) => message.id === id);
    if (at < 0) return;
    const view = views[at];
    if (view.open && (view.body.covered === position || view.message.status === "SENDING")) {
      const { atNews } = this;
      this.seen(); // all that comes now comes while one is here
      if (atNews && this.scroll.anchor) this.scroll.down();
      return;
    }
    const element = view.body ? piecesOf(view.element).find(({ dataset }) => Number(dataset.end ?? view.body.covered) > position) : null;
    let before = element?.closest(".aside") ?? element;
    while (before?.classList.contains("joins")) before = before.previousElementSibling;
    if (!before && !view.open && endOf(view) <= position) before = views[at + 1]?.element;
    if (!before) return;
    this.line ??= el("section", { className: "news", "aria-label": t("New since you left") }, el("p", {}, t("New since you left")));
    before.closest(".run")?.classList.add("near");
    before.before(this.line);
    this.marking.disconnect();
    this.marking.observe(this.thread.root, WATCHED);
    this.#fill();
  }

  async #fill() {
    const { line, place } = this;
    if (!line?.isConnected) return;
    const { fill } = await import("./away.js");
    if (line === this.line && place) fill(line, place, [...this.thread.views.values()]);
  }

  // --- positions and pixels

  /** The block, or question, that has a position. */
  #piece({ message_id: id, position }) {
    const view = this.thread.views.get(id);
    return view ? piecesOf(view.element).findLast(({ dataset }) => Number(dataset.start ?? 0) <= position) : null;
  }

  /** The end of a block's text, or of a question's. */
  #endOf(piece) {
    const view = this.thread.views.get(piece.closest(".message").dataset.id);
    return Number(piece.dataset.end ?? view.body?.covered ?? endOf(view));
  }

  /** A function that finds how far to scroll for a position to be `above()` pixels below the top; null: it is not there yet. */
  #finder(target, above, words) {
    let found, width;
    return () => {
      if (!found?.element.isConnected || width !== this.pane.clientWidth) {
        const piece = this.#piece(target);
        const view = this.thread.views.get(target.message_id);
        if (!piece || (this.#endOf(piece) <= target.position && (view.open || view.body?.covered < view.message.length))) return null;
        piece.closest(".run")?.classList.add("near"); // not estimated: what is measured is true
        const range = this.#rangeAt(piece, target.position, words);
        const [line, box] = [range.getBoundingClientRect(), piece.getBoundingClientRect()];
        if (!box.height) piece.closest("details")?.setAttribute("open", "");
        found = { element: piece, down: line.height ? line.top - box.top : 0 };
        width = this.pane.clientWidth;
      }
      return Math.max(0, this.#topOf(found.element) + found.down - above());
    };
  }

  #topOf(element) {
    return element.getBoundingClientRect().top - this.pane.getBoundingClientRect().top + this.pane.scrollTop;
  }

  /** The character at a position; or the first of these words in its block, with all of them marked. */
  #rangeAt(piece, position, words) {
    const [start, end] = [Number(piece.dataset.start ?? 0), this.#endOf(piece)];
    const hits = words?.length ? markAll(piece, words) : [];
    if (hits.length) return hits[0];
    const length = piece.textContent.length;
    let at = Math.min(length - 1, Math.floor(((position - start) / Math.max(1, end - start)) * length + 1e-6));
    const range = document.createRange();
    range.selectNode(piece);
    const texts = document.createTreeWalker(piece, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { currentNode: node } = texts;
      if (at < node.length) {
        range.setStart(node, Math.max(0, at));
        range.setEnd(node, Math.max(0, at) + 1);
        break;
      }
      at -= node.length;
    }
    return range;
  }

  /** The position of the first line on the screen. */
  #firstLine() {
    const pane = this.pane.getBoundingClientRect();
    const x = pane.left + pane.width / 2;
    for (let y = pane.top + EDGE; y < Math.min(pane.top + REACH, pane.bottom); y += STEP) {
      const piece = document.elementFromPoint(x, y)?.closest(".block[data-start], .user .part.text");
      if (!piece || !this.pane.contains(piece)) continue;
      const box = piece.getBoundingClientRect();
      const [left, top] = [getComputedStyle(piece).direction === "rtl" ? box.right - 2 : box.left + 2, Math.max(y, box.top + 2)];
      const caret = document.caretPositionFromPoint?.(left, top) ?? document.caretRangeFromPoint?.(left, top);
      const [node, offset] = [caret?.offsetNode ?? caret?.startContainer, caret?.offset ?? caret?.startOffset];
      return this.#pointIn(piece, node, offset);
    }
    return null;
  }

  /** The position of a place in the text of a block, or of a question. */
  #pointIn(piece, node, offset) {
    const [start, end] = [Number(piece.dataset.start ?? 0), this.#endOf(piece)];
    let share = 0;
    if (node && piece.contains(node)) {
      const above = document.createRange();
      above.setStart(piece, 0);
      above.setEnd(node, offset);
      share = above.toString().length / Math.max(1, piece.textContent.length);
    }
    const position = Math.min(end, start + Math.ceil(share * (end - start) - 1e-6));
    return { message_id: piece.closest(".message").dataset.id, position };
  }

  /** Where the selected text begins; null: none is selected. */
  get selected() {
    const selection = getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return null;
    const { startContainer: node, startOffset: offset } = selection.getRangeAt(0);
    const piece = (node.parentElement ?? node).closest?.(".block[data-start], .user .part.text");
    return piece && this.pane.contains(piece) ? this.#pointIn(piece, node, offset) : null;
  }

  /** Where the person is now, and where the text ends. */
  get now() {
    const last = [...this.thread.views.values()].at(-1);
    if (!last) return null;
    const end = { message_id: last.message.id, position: endOf(last) };
    const at = this.scroll.atEnd ? end : this.#firstLine();
    return at && { ...at, end };
  }

  // --- keeping it

  /** Report the place, if it is another one, or the last one. */
  keep({ leaving = false } = {}) {
    if (!this.id || this.away || (document.hidden && !leaving)) return;
    if (!this.touched && performance.now() - this.arrived < SETTLED) return;
    const { now } = this;
    const key = JSON.stringify(now);
    if (!now || (key === this.kept && !(leaving && Date.now() - this.keptAt > EVERY))) return;
    [this.kept, this.keptAt] = [key, Date.now()];
    const place = { ...now, read_at: new Date(Date.now() + this.ahead).toISOString() };
    store(this.id, place);
    putPlace(this.id, place);
  }
}

/** The last place of this tab: a reload may be faster than its report. */
function store(id, place) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify({ user: document.body.dataset.user, id, place }));
  } catch {
    // no storage
  }
}

function stored(id) {
  try {
    const found = JSON.parse(sessionStorage.getItem(STORED));
    return found?.id === id && found.user === document.body.dataset.user ? found.place : null;
  } catch {
    return null;
  }
}

/** Mark all of these words in the message of `piece`; those in it. */
function markAll(piece, words) {
  const pattern = new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "gi");
  const ranges = [];
  const texts = document.createTreeWalker(piece.closest(".body"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode() && ranges.length < MARKED) {
    for (const { index, 0: word } of texts.currentNode.data.matchAll(pattern)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, index);
      range.setEnd(texts.currentNode, index + word.length);
      ranges.push(range);
    }
  }
  if (globalThis.Highlight) CSS.highlights.set("found", new Highlight(...ranges));
  return ranges.filter(({ startContainer }) => piece.contains(startContainer));
}
