/** Announcements for screen readers: an answer's state and its sentences, never token by token. */

import { byId, el } from "./dom.js";

/** Milliseconds between two announcements. */
const INTERVAL = 700;
/** Announcements that stay in the page. */
const KEPT = 8;

const sentences = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "sentence" }) : null;
let waiting = [];
let timer = null;

/** Announce a text. */
export function announce(text) {
  if (!text.trim()) return;
  waiting.push(text.trim());
  timer ??= setTimeout(speak, 0);
}

function speak() {
  const root = byId("announce");
  root.append(el("p", {}, waiting.join(" ")));
  while (root.children.length > KEPT) root.firstChild.remove();
  waiting = [];
  timer = setTimeout(() => {
    timer = null;
    if (waiting.length) speak();
  }, INTERVAL);
}

/** Announces a growing text sentence by sentence. */
export class Narrator {
  #announced = 0;

  /** Its first block begins with this many characters that were announced before. */
  skip(characters) {
    this.#announced = characters;
  }

  /** `text`: all of a block so far; `ended`: it will not grow; `quiet`: skip it silently. */
  narrate(text, { ended, quiet }) {
    const fresh = text.slice(this.#announced);
    const whole = ended ? fresh : fresh.slice(0, endOfSentences(fresh));
    if (ended) this.#announced = 0;
    else this.#announced += whole.length;
    if (!quiet) announce(whole);
  }
}

/** Where the last sentence ends that another one follows. */
function endOfSentences(text) {
  if (!sentences) return text.search(/[.!?]\s[^.!?]*$/) + 1;
  let end = 0;
  for (const { index } of sentences.segment(text)) end = index;
  return end;
}
