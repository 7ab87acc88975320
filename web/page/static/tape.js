/**
 * The tape of an answer: it is written once more, as fast or faster, with what happened meanwhile.
 *
 * It draws copies of the blocks in a window of its own, so the thread does not move. What it knows
 * are the times of the saves. Between two of them the text grows evenly, but only in the last stretch
 * before the later one: a save follows the first new text within a second.
 */

import { getTape } from "./api.js";
import { button, el } from "./dom.js";
import { sheet } from "./sheet.js";
import { n, t } from "./t.js";
import { deviceName } from "./device-name.js";

const SPEEDS = [1, 2, 5, 10, 20];
/** Milliseconds that a replay takes at the speed that is chosen at first, if one is fast enough. */
const COMFORTABLE = 12_000;
/** Milliseconds in which the text of a save has come, at least. */
const GATHERED = 1000;
/** Blocks before the position that are drawn: the window shows the last ones. */
const BLOCKS = 30;
/** Milliseconds between two pictures with reduced motion. */
const CALM = 1000;

/** The position that an answer had reached after so many milliseconds. Pure. */
export function positionAt(samples, ms, gathered = GATHERED) {
  let low = 0;
  let high = samples.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle][0] <= ms) low = middle + 1;
    else high = middle;
  }
  const [from, before] = samples[low - 1] ?? [0, 0];
  if (low === samples.length) return before;
  const [to, after] = samples[low];
  const begun = Math.max(from, to - gathered);
  return ms <= begun ? before : Math.round(before + ((after - before) * (ms - begun)) / (to - begun));
}

/** What happened, in order, as [milliseconds, words]. Pure. */
export function happened(tape) {
  const found = [[0, tape.continues ? t("went on") : t("asked")]];
  const here = [];
  let away = false;
  let interrupted = false;
  for (const { ms, kind, device } of tape.marks) {
    if (kind === "taken") found.push([ms, interrupted ? t("went on") : t("begun")]);
    if (kind === "lost") found.push([ms, t("worker died")]);
    if (kind === "released") found.push([ms, t("worker stopped")]);
    interrupted ||= kind === "lost" || kind === "released";
    if (kind === "joined" && !here.includes(device)) {
      // The first one is where it was asked.
      if (here.length) found.push([ms, t("{device} joined", { device: deviceName(device) })]);
      else if (away) found.push([ms, t("you came back: {device}", { device: deviceName(device) })]);
      here.push(device);
    }
    if (kind === "left" && here.includes(device)) {
      here.splice(here.indexOf(device), 1);
      away = !here.length;
      found.push([ms, here.length ? t("{device} left", { device: deviceName(device) }) : t("you left")]);
    }
  }
  if (interrupted && tape.started !== null) found.push([tape.started, t("went on")]);
  if (tape.first_text !== null) found.push([tape.first_text, t("first word")]);
  if (tape.ended !== null) found.push([tape.ended, endOf(tape)]);
  return found.sort((one, other) => one[0] - other[0]);
}

function endOf({ status, error_code: code }) {
  if (status === "CANCELLED") return t("stopped");
  if (status === "DONE") return t("complete");
  return code === "worker_lost" ? t("worker died") : t("failed");
}

/** Minutes and seconds, in whole seconds. */
const clock = (ms) => `${Math.floor(ms / 60_000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, "0")}`;

/** Open the tape of an answer's view in place of the button that was pressed. */
export async function open(view, pressed) {
  const place = pressed.parentElement;
  pressed.disabled = true;
  const [tape] = await Promise.all([getTape(view.message.id).catch((problem) => problem), sheet("tape")]);
  if (!place.isConnected) return;
  if (!tape.samples?.length) {
    const none = tape.samples ? t("Nothing was written, so there is nothing to replay.") : t("This answer was written before the times were recorded.");
    place.classList.remove("opened");
    place.replaceChildren(el("p", { role: "status" }, tape instanceof Error ? tape.message : none));
    return;
  }
  const player = new Player(view, tape);
  place.replaceChildren(player.element);
  player.begin();
}

class Player {
  constructor(view, tape) {
    this.view = view;
    this.samples = tape.samples.map(({ ms, position }) => [ms, position]);
    const last = this.samples.at(-1);
    /** How long it took; what was rescued after the last save appears at the end. */
    this.whole = Math.max(tape.ended ?? 0, last[0], 1);
    if (last[1] < tape.length) this.samples.push([this.whole, tape.length]);
    const steps = this.samples.slice(1).map(([ms], at) => ms - this.samples[at][0]);
    this.gathered = Math.max(GATHERED, steps.sort((a, b) => a - b)[steps.length >> 1] ?? 0);
    this.marks = happened(tape);
    this.at = this.whole;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : 0;
    this.#build();
  }

  #build() {
    this.screen = el("div", { className: "screen", ariaHidden: "true", inert: true }, el("div", { className: "shown" }));
    this.play = button(t("Play"), () => (this.playing ? this.#pause() : this.#start()), { className: "play" });
    this.slider = el("input", {
      type: "range",
      min: 0,
      max: this.whole,
      step: Math.max(1, Math.round(this.whole / 200)),
      value: this.whole,
      "aria-label": t("Time"),
      oninput: () => this.#seek(Number(this.slider.value)),
    });
    this.slider.max = Math.ceil(this.whole / this.slider.step) * this.slider.step;
    const first = SPEEDS.find((speed) => this.whole / speed <= COMFORTABLE) ?? SPEEDS.at(-1);
    const options = SPEEDS.map((speed) => el("option", { value: speed, selected: speed === first }, `${speed}×`));
    this.speed = el("select", { "aria-label": t("Speed") }, ...options);
    this.time = el("span", { className: "time" });
    const track = el("div", { className: "track" }, this.slider, el("div", { className: "ticks", ariaHidden: "true" }, ...this.marks.map(([ms]) => this.#tick(ms))));
    const list = el("ol", { className: "marks", "aria-label": t("What happened") }, ...this.marks.map((mark) => el("li", {}, this.#chip(mark))));
    this.element = el("section", { className: "player", "aria-label": t("How it was written") },
      this.screen, el("div", { className: "controls" }, this.play, track, this.time, this.speed), list);
  }

  #tick(ms) {
    const tick = el("i");
    tick.style.insetInlineStart = `${(100 * ms) / this.whole}%`;
    return tick;
  }

  #chip([ms, words]) {
    const chip = button("", () => this.#seek(ms), {});
    chip.append(el("time", {}, clock(ms)), ` ${words}`);
    return chip;
  }

  begin() {
    this.#draw();
    this.play.focus({ preventScroll: true });
  }

  #start() {
    if (this.at >= this.whole) this.at = 0;
    this.playing = true;
    this.play.textContent = t("Pause");
    let before = performance.now();
    let drawn = -Infinity;
    const step = (now) => {
      if (!this.playing || !this.element.isConnected) return;
      this.at = Math.min(this.whole, this.at + (now - before) * Number(this.speed.value));
      before = now;
      if (now - drawn >= this.calm || this.at >= this.whole) {
        drawn = now;
        this.#draw();
      }
      if (this.at >= this.whole) this.#pause();
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #pause() {
    this.playing = false;
    this.play.textContent = t("Play");
  }

  #seek(ms) {
    this.at = Math.min(ms, this.whole);
    this.#draw();
  }

  #draw() {
    const position = positionAt(this.samples, this.at, this.gathered);
    this.slider.value = this.at;
    this.time.textContent = `${clock(this.at)} / ${clock(this.whole)}`;
    this.element.dataset.position = position;
    const past = this.marks.findLast(([ms]) => ms <= this.at);
    const characters = n(position, "{n} character", "{n} characters");
    const said = t("{time} of {whole}, {characters}", { time: clock(this.at), whole: clock(this.whole), characters });
    this.slider.setAttribute("aria-valuetext", past ? `${said}, ${past[1]}` : said);
    [...this.element.querySelectorAll(".marks button")].forEach((chip, index) => chip.classList.toggle("past", this.marks[index][0] <= this.at));
    this.#write(position);
  }

  /** Draw the last blocks before a position, the one at the position in part. */
  #write(position) {
    const { body, blocks } = this.view;
    const last = body.blocks.findLastIndex(({ start }) => start < position);
    const first = Math.max(0, last - BLOCKS + 1);
    const shown = this.screen.firstChild;
    if (this.first !== first || this.last > last) shown.replaceChildren();
    let next = shown.childElementCount ? this.last : first;
    if (shown.childElementCount) shown.lastElementChild.remove(); // it may have been shown in part
    for (; next <= last; next += 1) {
      const { start, end, kind } = body.blocks[next];
      const copy = blocks.shown[next].element.cloneNode(true);
      for (const odd of copy.querySelectorAll("button, [id], [tabindex]")) {
        if (odd.tagName === "BUTTON") odd.remove();
        else for (const name of ["id", "tabindex"]) odd.removeAttribute(name);
      }
      if (end > position) cut(copy, (position - start) / (end - start));
      shown.append(el("div", { className: `part ${kind}` }, copy));
    }
    [this.first, this.last] = [first, last];
    this.screen.scrollTop = this.screen.scrollHeight;
  }
}

/** Leave this share of an element's text, and what is around it. */
function cut(element, share) {
  let room = Math.round(element.textContent.length * share);
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const gone = [];
  while (walker.nextNode()) {
    const { currentNode: text } = walker;
    if (room <= 0) gone.push(text);
    else if (text.length > room) text.data = text.data.slice(0, room);
    room -= text.length;
  }
  for (const text of gone) {
    let node = text;
    while (node.parentNode !== element && node.parentNode && node.parentNode.childNodes.length === 1) node = node.parentNode;
    node.remove();
  }
}
