/** What listeners hear: how an answer stands, and its sentences; politely, never token by token. */

import { byId, el } from "./dom.js";

/** Milliseconds between two utterances. */
const PACE = 700;
/** Utterances that stay in the page. */
const KEPT = 8;

const sentences = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "sentence" }) : null;
let waiting = [];
let timer = null;

/** Say something once. */
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
  }, PACE);
}

/** Reads a growing text aloud, sentence by sentence. */
export class Narrator {
  #said = 0;

  /** All of a block's text so far; `over`: it will not grow any more; `quiet`: only go on behind it. */
  hear(text, { over, quiet }) {
    const fresh = text.slice(this.#said);
    const whole = over ? fresh : fresh.slice(0, endOfSentences(fresh));
    if (over) this.#said = 0;
    else this.#said += whole.length;
    if (!quiet) announce(whole);
  }
}

/** Where the last sentence ends behind which another one has begun. */
function endOfSentences(text) {
  if (!sentences) return text.search(/[.!?]\s[^.!?]*$/) + 1;
  let end = 0;
  for (const { index } of sentences.segment(text)) end = index;
  return end;
}
