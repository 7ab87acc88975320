/**
 * A stream of events that is opened with a header, which EventSource cannot send: as much of
 * EventSource as the page uses. It does not connect again; its user does.
 */

import { EventDecoder } from "./outlive.js";

export class LinkStream extends EventTarget {
  /** `open(signal)`: the response, as a promise. */
  constructor(open) {
    super();
    this.readyState = EventSource.CONNECTING;
    this.closed = new AbortController();
    this.onopen = this.onerror = null;
    this.#read(open);
  }

  close() {
    this.readyState = EventSource.CLOSED;
    this.closed.abort();
  }

  async #read(open) {
    const { signal } = this.closed;
    try {
      const response = await open(signal);
      if (response.status === 200 && !signal.aborted) {
        this.readyState = EventSource.OPEN;
        this.onopen?.();
        const decoder = new EventDecoder();
        const reader = response.body.getReader();
        for (let piece; !(piece = await reader.read()).done; ) {
          for (const { event, data } of decoder.feed(piece.value)) this.dispatchEvent(new MessageEvent(event, { data }));
        }
      }
    } catch {
      // cut: as if it had ended
    }
    if (signal.aborted) return;
    this.readyState = EventSource.CLOSED;
    this.onerror?.();
  }
}
