/**
 * A little Markdown, without losing a character.
 *
 * Whatever is rendered, the `textContent` of the result is the source, exactly: the signs that
 * Markdown hides (stars, fences, the newlines between blocks) stay in the page as hidden marks.
 * Only elements and text nodes are made, so nothing in an answer can become markup or a script.
 */

import { el } from "./dom.js";

const FENCE = /^[ \t]*(`{3,}|~{3,})[^`\n]*$/;
const HEADING = /^(#{1,6}[ \t]+)(?=\S)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*\r?\n$/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])([ \t]+)(?=\S)/;
const INLINE =
  /(`)([^`\n]{1,2000})`|(\*\*)([^*\n]{1,2000})\*\*|(?<![\w*])(\*)([^*\s](?:[^*\n]{0,2000}[^*\s])?)\*(?![\w*])/g;

/** A growing text as blocks: only the last one is ever made again. */
export class Markdown {
  constructor(root) {
    this.root = root;
    this.tail = "";
    this.shown = null;
  }

  /** Show more text. */
  append(text) {
    this.tail += text;
    this.shown?.remove();
    for (const block of blocks(this.tail)) {
      this.tail = block.text;
      this.shown = render(block);
      this.root.append(this.shown);
    }
  }
}

/** Cut a text into blocks; joined they are the text. */
function* blocks(text) {
  for (let at = 0; at < text.length; ) {
    const start = at;
    const first = lineAt(text, at);
    const type = typeOf(first);
    at += first.length;
    if (type === "fence") at = behindFence(text, at, first.trim().match(/^(`+|~+)/)[0]);
    if (type === "text" || type === "list") at = behindLines(text, at, type);
    while (at < text.length && isBlank(lineAt(text, at))) at += lineAt(text, at).length;
    yield { type, text: text.slice(start, at) };
  }
}

/** The line that starts at `at`, its newline included. */
function lineAt(text, at) {
  const end = text.indexOf("\n", at);
  return text.slice(at, end < 0 ? text.length : end + 1);
}

const isBlank = (line) => !/[^ \t\r\n]/.test(line);

/** What a block that starts with this line is. */
function typeOf(line) {
  if (isBlank(line)) return "blank";
  if (RULE.test(line)) return "rule";
  if (FENCE.test(line.trimEnd())) return "fence";
  if (HEADING.test(line)) return "heading";
  return ITEM.test(line) ? "list" : "text";
}

/** Where a fenced block ends: behind its closing line, or nowhere yet. */
function behindFence(text, at, fence) {
  while (at < text.length) {
    const line = lineAt(text, at);
    at += line.length;
    const bare = line.trim();
    if (bare.startsWith(fence) && !bare.replaceAll(fence[0], "")) break;
  }
  return at;
}

/** Where a paragraph or a list ends: at a blank line, or where something else begins. */
function behindLines(text, at, type) {
  while (at < text.length) {
    const line = lineAt(text, at);
    const next = typeOf(line);
    if (next !== "text" && !(next === "list" && (type === "list" || /^[ \t]*\d{2}/.test(line)))) break;
    at += line.length;
  }
  return at;
}

/** A block as an element. */
function render({ type, text }) {
  if (type === "blank") return mark(text);
  if (type === "rule") return el("div", { className: "rule" }, mark(text));
  if (type === "fence") return fenced(text);
  if (type === "list") return list(text);
  if (type === "heading") {
    const [sign] = text.match(HEADING);
    const level = Math.min(sign.trim().length + 2, 6);
    return prose(el(`h${level}`, { dir: "auto" }, mark(sign)), text.slice(sign.length));
  }
  return prose(el("p", { dir: "auto" }), text);
}

/** Fill an element with a text and hide the newlines at its end. */
function prose(element, text) {
  const end = text.match(/[ \t\r\n]*$/).index;
  element.append(...inline(text.slice(0, end)));
  if (end < text.length) element.append(mark(text.slice(end)));
  return element;
}

/** A fenced block: its two fences hidden, the rest as it is. */
function fenced(text) {
  const open = lineAt(text, 0);
  const rest = text.slice(open.length);
  const close = rest.match(/(?:^|\n)([ \t]*(?:`{3,}|~{3,})\s*)$/);
  const end = close ? rest.length - close[1].length : rest.length;
  const code = el("code", {}, rest.slice(0, end));
  const copy = el("button", { type: "button", className: "copy-code", "aria-label": "Copy the code" });
  return el("pre", {}, mark(open), code, copy, mark(rest.slice(end)));
}

/** A list, flat, its items indented by depth; numbers are shown as they were written. */
function list(text) {
  const items = [];
  for (let at = 0, line; at < text.length; at += line.length) {
    line = lineAt(text, at);
    if (ITEM.test(line)) items.push(line);
    else items[items.length - 1] += line;
  }
  return el("ul", {}, ...items.map(item));
}

/** An item: its indentation is depth, its bullet is drawn. */
function item(text) {
  const li = el("li", { dir: "auto" });
  const [whole, indent, sign, space] = text.match(ITEM);
  const numbered = /\d/.test(sign);
  li.className = numbered ? "numbered" : "bullet";
  li.dataset.depth = Math.min(Math.floor(indent.replaceAll("\t", "    ").length / 2), 4);
  if (numbered) li.replaceChildren(mark(indent), el("span", { className: "number" }, sign), mark(space));
  else li.replaceChildren(mark(whole));
  return prose(li, text.slice(whole.length));
}

/** Code, bold and emphasis within a line. */
function* inline(text) {
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, tick, code, stars, bold, star, emphasis] = found;
    const sign = tick ?? stars ?? star;
    const inner = tick ? [code] : inline(bold ?? emphasis);
    yield text.slice(at, found.index);
    yield el(tick ? "code" : stars ? "strong" : "em", {}, mark(sign), ...inner, mark(sign));
    at = found.index + whole.length;
  }
  yield text.slice(at);
}

/** Signs that are there and not shown. */
const mark = (text) => el("span", { className: "mark" }, text);
