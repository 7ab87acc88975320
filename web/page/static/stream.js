/**
 * Following an answer to its end, whatever happens on the way.
 *
 * EventSource comes back by itself and sends the last id it saw. Everything it does not survive
 * (a 404, a proxy's 502, a block that does not fit) is answered the same way: read the blocks
 * after those that are here, and go on from there. Finished blocks never change, so none is
 * downloaded twice, unless the end proves that what is here is not what was written.
 *
 * No limit is on the whole of a transfer: a weak link needs its time. A stream that is silent is
 * opened anew only if the server has something that it did not bring, and less and less often while
 * that does not help: the next frame may be on its way.
 */

import { glance, showMessage, showBlocks } from "./api.js";
import { Body, Gap } from "./body.js";
import { pause, trouble } from "./connection.js";

const OPEN = ["SENDING", "STREAMING"];
/** Milliseconds: how often to look after a silent stream; sooner while nothing has come at all. */
const LOOK_AFTER = 20_000;
const LOOK_FIRST = 2_000;
/** Milliseconds of silence before a stream that missed something is opened anew, and at most. */
const PATIENCE = 8_000;
const PATIENCE_MAX = 128_000;
/** Milliseconds a connection must hold to count as one. */
const STEADY = 300;

/** Whether a message in this status is still being written. */
export const isOpen = (status) => OPEN.includes(status);

/** Reads that wait, and whether one is under way. */
const waiting = [];
let busy = false;

/**
 * Read one page at a time, whatever is opened: questions and Stop always find a free connection.
 * The last one to come is the first: it is further down, where somebody looks.
 */
async function inTurn(read) {
  if (busy) await new Promise((resolve) => waiting.push(resolve));
  busy = true;
  try {
    return await read();
  } finally {
    busy = waiting.length > 0; // it is handed on
    waiting.pop()?.();
  }
}

/** All blocks of a message that are finished, after those that are here. */
export async function readOn(id, body, signal, after = body.position) {
  let page;
  for (let next = after; next !== null; next = page.next) {
    page = await inTurn(() => showBlocks(id, next, signal));
    if (!signal?.aborted) body.take({ blocks: page.blocks });
  }
  return page;
}

export class Follower {
  /**
   * `on.grown(frame)`: the body has grown; `on.reread(body, from)`: it has other blocks from this number on;
   * `on.status(status)`; `on.end(end)`: it ended so, and the body is as good as it gets.
   *
   * It rests until `flow` says otherwise.
   */
  constructor(id, body, on) {
    this.id = id;
    this.body = body;
    this.on = on;
    this.over = new AbortController();
    /** "live": streaming; "wait": for our turn to; "rest": nobody looks. */
    this.mode = "rest";
    this.source = null;
    this.heard = performance.now();
    this.patience = PATIENCE;
    this.looking = false;
    this.reading = false;
    this.look = setInterval(() => this.#look(), LOOK_FIRST);
  }

  /** Stream, wait or rest, as "live", "wait", "rest". */
  flow(mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    if (mode === "live") return void (this.reading || this.open());
    this.#close();
    trouble(this, false);
  }

  #close() {
    this.source?.close();
    this.source = null;
  }

  /** Connect anew, from where we stand. */
  open() {
    if (this.over.signal.aborted) return;
    this.#close();
    this.heard = performance.now();
    const source = new EventSource(`/api/messages/${this.id}/blocks/stream?after=${this.body.position}`);
    this.source = source;
    source.addEventListener("blocks", (event) => this.#grown(event));
    source.addEventListener("end", (event) => this.#end(event));
    source.onopen = () => setTimeout(() => source.readyState === EventSource.OPEN && this.#good(), STEADY);
    source.onerror = () => {
      trouble(this, true);
      if (source.readyState === EventSource.CLOSED) this.#reread();
    };
  }

  /** The network or the page is back: do not wait for the browser's own pause. */
  poke({ always = false } = {}) {
    if (this.mode !== "live" || this.reading) return;
    if (always || this.source?.readyState !== EventSource.OPEN) this.open();
  }

  /** The notices say that it has ended: if the stream does not say so soon, look. */
  hasEnded() {
    this.told = true;
  }

  /** Leave; the answer is written on. */
  close() {
    this.over.abort();
    this.#close();
    clearInterval(this.look);
    trouble(this, false);
  }

  #good() {
    if (!this.over.signal.aborted) trouble(this, false);
  }

  #grown(event) {
    let frame;
    try {
      frame = JSON.parse(event.data);
      this.body.take(frame);
    } catch {
      this.#reread();
      return;
    }
    this.heard = performance.now();
    this.patience = PATIENCE;
    this.#good();
    this.on.grown(frame);
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

  /** The stream is of no use: ask for the blocks after those of `body`, and go on from there. */
  async #reread(body = this.body) {
    if (this.reading) return;
    this.reading = true;
    this.#close();
    const { signal } = this.over;
    let from = body === this.body ? body.blocks.length : 0;
    try {
      await pause(300, signal);
      const { status } = await readOn(this.id, body, signal).catch((error) => {
        if (!(error instanceof Gap)) throw error;
        [body, from] = [new Body(), 0];
        return readOn(this.id, body, signal);
      });
      if (signal.aborted) return;
      body.open = null; // it may be finished; the stream brings it again
      this.body = body;
      this.on.reread(body, from);
      this.reading = false;
      if (!isOpen(status)) this.#finish(await showMessage(this.id, signal));
      else if (this.mode === "live") this.open();
    } catch (error) {
      if (!signal.aborted) this.#finish({ status: "GONE", error: { message: error.message } });
    } finally {
      this.reading = false;
    }
  }

  /** Silence is ordinary, but a dead connection is silent too. */
  async #look() {
    const silent = performance.now() - this.heard;
    if (this.looking || this.reading || this.mode !== "live") return;
    if (this.body.covered && !this.told && silent < LOOK_AFTER) return;
    this.looking = true;
    try {
      const { status, position } = await glance(this.id, this.over.signal);
      this.on.status(status);
      const missed = !isOpen(status) || (position ?? Infinity) > this.body.covered;
      if (this.mode === "live" && missed && silent >= this.patience) {
        this.patience = Math.min(2 * this.patience, PATIENCE_MAX);
        this.open();
      }
    } catch {
      // EventSource is at it
    } finally {
      this.looking = false;
    }
  }

  #finish(end) {
    if (this.over.signal.aborted) return;
    this.close();
    this.on.end(end);
  }
}
