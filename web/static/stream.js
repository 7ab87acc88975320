/**
 * Following an answer to its end, whatever happens on the way.
 *
 * EventSource comes back by itself and sends the last id it saw. Everything it does not survive
 * (a 404, a proxy's 502, a block that does not fit) is answered the same way: read the blocks
 * again and go on behind them.
 */

import { glance, showMessage, showBlocks } from "./api.js";
import { Body } from "./body.js";
import { pause, trouble } from "./connection.js";

const OPEN = ["SENDING", "STREAMING"];
/** Milliseconds: how often to look after a silent stream; sooner while nothing has come at all. */
const LOOK_AFTER = 20_000;
const LOOK_FIRST = 2_000;
/** Milliseconds a connection must hold to count as one. */
const STEADY = 300;

/** Whether a message in this status is still being written. */
export const isOpen = (status) => OPEN.includes(status);

/** All blocks of a message that are finished, behind those that are here. */
export async function readOn(id, body, signal, after = body.position) {
  let page;
  for (let next = after; next !== null; next = page.next) {
    page = await showBlocks(id, next, signal);
    if (!signal?.aborted) body.take({ blocks: page.blocks });
  }
  return page;
}

export class Follower {
  /**
   * `on.grown(frame)`: the body has grown; `on.reread(body)`: it was replaced;
   * `on.status(status)`; `on.end(end)`: it ended so, and the body is as good as it gets.
   */
  constructor(id, body, on) {
    this.id = id;
    this.body = body;
    this.on = on;
    this.over = new AbortController();
    this.heard = performance.now();
    this.looking = false;
    this.look = setInterval(() => this.#look(), LOOK_FIRST);
    this.open();
  }

  /** Connect anew, from where we stand. */
  open() {
    if (this.over.signal.aborted) return;
    this.resting = false;
    this.source?.close();
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
    if (always || this.source.readyState !== EventSource.OPEN) this.open();
  }

  /** Hold no connection until somebody pokes. */
  rest() {
    this.source.close();
    this.resting = true;
    trouble(this, false);
  }

  /** Leave; the answer is written on. */
  close() {
    this.over.abort();
    this.source.close();
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
    this.#good();
    this.on.grown(frame);
  }

  async #end(event) {
    this.source.close();
    let end;
    try {
      end = JSON.parse(event.data);
    } catch {
      this.#reread();
      return;
    }
    if (await this.body.proves(end)) this.#finish(end);
    else this.#reread();
  }

  /** What we have is not to be trusted: take the blocks as the server tells them, and go on. */
  async #reread() {
    this.source.close();
    const { signal } = this.over;
    try {
      await pause(300, signal);
      const body = new Body();
      const { status } = await readOn(this.id, body, signal);
      if (signal.aborted) return;
      this.body = body;
      this.on.reread(body);
      if (!isOpen(status)) this.#finish(await showMessage(this.id, signal));
      else if (!this.resting) this.open();
    } catch (error) {
      if (!signal.aborted) this.#finish({ status: "GONE", error: { message: error.message } });
    }
  }

  /** Silence is ordinary, but a dead connection is silent too. */
  async #look() {
    if (this.looking || this.resting || (this.body.covered && performance.now() - this.heard < LOOK_AFTER)) return;
    this.looking = true;
    try {
      const { status, blocks } = await glance(this.id, this.body.position, this.over.signal);
      this.heard = performance.now();
      this.on.status(status);
      if (!isOpen(status) || blocks.length) this.poke({ always: true });
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
