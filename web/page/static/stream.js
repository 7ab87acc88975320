/**
 * Follow an answer to its end through every failure.
 *
 * EventSource reconnects by itself with the last id. Everything that it gives up on (a 404, a proxy's
 * 502, a block that does not fit) is handled in one way: read the blocks after those that are here,
 * then stream from there. Finished blocks never change, so none is loaded twice, unless the end proves
 * that the text here is wrong.
 *
 * No timeout is on a whole transfer. A silent stream is opened again only if the server has text that
 * it did not bring, and less and less often while that does not help: on a weak link the next frame
 * may be on its way.
 */

import { getBlocks, getMessage, openBlocks, pollStatus } from "./api.js";
import { Body, Gap } from "./body.js";
import { trouble } from "./connection.js";
import { pause } from "./outlive.js";

const OPEN = ["SENDING", "STREAMING"];
/** Milliseconds between polls for a silent stream, and before any text has come. */
const POLL = 20_000;
const POLL_FIRST = 2_000;
/** Milliseconds of silence before a stream that misses text is opened again, at first and at most. */
const PATIENCE = 8_000;
const PATIENCE_MAX = 128_000;
/** Milliseconds after which an open connection counts as good. */
const STEADY = 300;

/** Whether a message in this status is still being written. */
export const isOpen = (status) => OPEN.includes(status);

/** Page reads that wait, and whether one is running. */
const waiting = [];
let busy = false;

/**
 * One page read at a time, so that questions and Stop always find a free connection. The last one
 * goes first: it is for the answer furthest down, which is visible.
 */
async function inTurn(read) {
  if (busy) await new Promise((resolve) => waiting.push(resolve));
  busy = true;
  try {
    return await read();
  } finally {
    busy = waiting.length > 0; // handed on
    waiting.pop()?.();
  }
}

/** Read the finished blocks of a message that are not in `body` yet. */
export async function readBlocks(id, body, signal, after = body.position) {
  let page;
  for (let next = after; next !== null; next = page.next) {
    page = await inTurn(() => getBlocks(id, next, signal));
    if (!signal?.aborted) body.take({ blocks: page.blocks });
  }
  return page;
}

export class Follower {
  /**
   * `on.frame(frame)`: the body has grown; `on.reread(body, from)`: its blocks from this number on are
   * new; `on.status(status)`; `on.end(end)`: the answer has ended, nothing more comes.
   *
   * It is paused until `setMode`.
   */
  constructor(id, body, on) {
    this.id = id;
    this.body = body;
    this.on = on;
    this.closed = new AbortController();
    /** "stream"; "wait": until it is our turn; "pause": the page is hidden. */
    this.mode = "pause";
    this.source = null;
    this.lastFrame = performance.now();
    this.patience = PATIENCE;
    this.polling = false;
    this.reading = false;
    this.timer = setInterval(() => this.#poll(), POLL_FIRST);
  }

  /** "stream", "wait" or "pause". */
  setMode(mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    if (mode === "stream") return void (this.reading || this.open());
    this.#close();
    trouble(this, false);
  }

  #close() {
    this.source?.close();
    this.source = null;
  }

  /** Connect, from the position of the body. */
  open() {
    if (this.closed.signal.aborted) return;
    this.#close();
    this.lastFrame = performance.now();
    const source = openBlocks(this.id, this.body.position);
    this.source = source;
    source.addEventListener("blocks", (event) => this.#frame(event));
    source.addEventListener("end", (event) => this.#end(event));
    source.onopen = () => setTimeout(() => source.readyState === EventSource.OPEN && this.#good(), STEADY);
    source.onerror = () => {
      trouble(this, true);
      if (source.readyState === EventSource.CLOSED) this.#reread();
    };
  }

  /** The network or the page is back: connect now. */
  poke({ always = false } = {}) {
    if (this.mode !== "stream" || this.reading) return;
    if (always || this.source?.readyState !== EventSource.OPEN) this.open();
  }

  /** The notices say that it has ended: poll if the stream does not say so soon. */
  hasEnded() {
    this.endExpected = true;
  }

  /** Close; the answer is still written. */
  close() {
    this.closed.abort();
    this.#close();
    clearInterval(this.timer);
    trouble(this, false);
  }

  #good() {
    if (!this.closed.signal.aborted) trouble(this, false);
  }

  #frame(event) {
    let frame;
    try {
      frame = JSON.parse(event.data);
      this.body.take(frame);
    } catch {
      this.#reread();
      return;
    }
    this.lastFrame = performance.now();
    this.patience = PATIENCE;
    this.#good();
    this.on.frame(frame);
  }

  async #end(event) {
    this.#close();
    let end;
    try {
      end = JSON.parse(event.data);
    } catch {
      this.#reread();
      return;
    }
    if (await this.body.proves(end)) this.#finish(end);
    else this.#reread(new Body());
  }

  /** The stream failed: read the blocks after those of `body`, then stream again. */
  async #reread(body = this.body) {
    if (this.reading) return;
    this.reading = true;
    this.#close();
    const { signal } = this.closed;
    let from = body === this.body ? body.blocks.length : 0;
    try {
      await pause(300, signal);
      const { status } = await readBlocks(this.id, body, signal).catch((error) => {
        if (!(error instanceof Gap)) throw error;
        [body, from] = [new Body(), 0];
        return readBlocks(this.id, body, signal);
      });
      if (signal.aborted) return;
      body.open = null; // perhaps finished by now
      this.body = body;
      this.on.reread(body, from);
      this.reading = false;
      if (!isOpen(status)) this.#finish(await getMessage(this.id, signal));
      else if (this.mode === "stream") this.open();
    } catch (error) {
      if (!signal.aborted) this.#finish({ status: "GONE", error: { code: error.code, message: error.message } });
    } finally {
      this.reading = false;
    }
  }

  /** Silence is normal, but a dead connection is silent, too. */
  async #poll() {
    const silent = performance.now() - this.lastFrame;
    if (this.polling || this.reading || this.mode !== "stream") return;
    if (this.body.covered && !this.endExpected && silent < POLL) return;
    this.polling = true;
    try {
      const { status, position } = await pollStatus(this.id, this.closed.signal);
      this.on.status(status);
      const missed = !isOpen(status) || (position ?? Infinity) > this.body.covered;
      if (this.mode === "stream" && missed && silent >= this.patience) {
        this.patience = Math.min(2 * this.patience, PATIENCE_MAX);
        this.open();
      }
    } catch {
      // EventSource retries
    } finally {
      this.polling = false;
    }
  }

  #finish(end) {
    if (this.closed.signal.aborted) return;
    this.close();
    this.on.end(end);
  }
}
