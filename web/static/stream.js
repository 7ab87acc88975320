/**
 * Following a message to its end, whatever happens on the way.
 *
 * EventSource comes back by itself and sends the last id it saw. Everything it does not survive
 * (a 404, a proxy's 502, a frame that does not fit) is answered the same way: read the message
 * and go on from the position it carries.
 */

import { glance, showMessage } from "./api.js";
import { Body } from "./body.js";
import { pause, trouble } from "./connection.js";

const OPEN = ["SENDING", "STREAMING"];
/** How often to look after a silent stream; sooner while nothing has come at all. */
const LOOK_AFTER = 20_000;
const LOOK_FIRST = 2_000;
/** So long a connection must hold to count as one. */
const STEADY = 300;

/** Whether a message in this status is still being written. */
export const isOpen = (status) => OPEN.includes(status);

export class Follower {
  /**
   * `on.delta(delta)`: the body has grown; `on.reread(body)`: it was replaced;
   * `on.status(status)`; `on.end(end)`: it ended so, and the body is as good as it gets.
   */
  constructor(id, body, on) {
    this.id = id;
    this.body = body;
    this.on = on;
    this.over = new AbortController();
    this.heard = performance.now();
    this.look = setInterval(() => this.#look(), LOOK_FIRST);
    this.open();
  }

  /** Connect anew, from where we stand. */
  open() {
    if (this.over.signal.aborted) return;
    this.resting = false;
    this.source?.close();
    const source = new EventSource(`/api/messages/${this.id}/stream?after=${this.body.position}`);
    this.source = source;
    source.addEventListener("delta", (event) => this.#delta(event));
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

  #delta(event) {
    let delta;
    try {
      delta = JSON.parse(event.data);
      this.body.append(delta, Number(event.lastEventId));
    } catch {
      this.#reread();
      return;
    }
    this.heard = performance.now();
    this.#good();
    this.on.delta(delta);
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

  /** What we have is not to be trusted: take the message as the server tells it, and go on. */
  async #reread() {
    this.source.close();
    const { signal } = this.over;
    try {
      await pause(300, signal);
      const message = await showMessage(this.id, signal);
      if (signal.aborted) return;
      this.body = new Body(message);
      this.on.reread(this.body);
      if (!isOpen(message.status)) this.#finish(message);
      else if (!this.resting) this.open();
    } catch (error) {
      if (!signal.aborted) this.#finish({ status: "GONE", error: { message: error.message } });
    }
  }

  /** Silence is ordinary, but a dead connection is silent too. */
  async #look() {
    if (this.resting) return;
    if (this.body.position && performance.now() - this.heard < LOOK_AFTER) return;
    try {
      const message = await glance(this.id, this.over.signal);
      this.heard = performance.now();
      this.on.status(message.status);
      if (!isOpen(message.status) || message.position > this.body.position) this.poke({ always: true });
    } catch {
      // EventSource is at it
    }
  }

  #finish(end) {
    if (this.over.signal.aborted) return;
    this.close();
    this.on.end(end);
  }
}
