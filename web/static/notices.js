/**
 * What goes on in all conversations: the current state, and then every change.
 *
 * A browser has six connections for all its tabs, so one tab listens and tells the others. Whoever
 * holds the lock is that tab; when it goes, the next one takes over. A connection begins with the
 * state of everything, so nobody can have missed anything.
 */

import { pause, trouble } from "./connection.js";

const NAME = "outlive.notices";
/** Milliseconds in which the listening tab answers, or it is frozen and another one takes its place. */
const ANSWER = 2_500;

export class Notices {
  /** `on.state()`: all of it is new; `on.change(changes, { first })`: first: in the tab that listens. */
  constructor(on) {
    this.on = on;
    this.entries = new Map();
    this.next = null;
    this.known = false;
    this.name = Math.random();
    this.others = globalThis.BroadcastChannel ? new BroadcastChannel(NAME) : null;
    this.others?.addEventListener("message", ({ data }) => this.#told(data));
    this.begin();
  }

  /** Take part; again after `end`. */
  begin() {
    if (this.over && !this.over.signal.aborted) return;
    this.over = new AbortController();
    const { signal } = this.over;
    if (!navigator.locks || !this.others) return void this.#listen(signal);
    this.#queue(signal, {});
    this.others.postMessage({ hello: this.name });
    this.answered = false;
    this.waiting = setTimeout(() => this.answered || this.#queue(signal, { steal: true }), ANSWER);
  }

  /** Hold nothing: the page may be frozen now. */
  end() {
    this.over.abort();
    clearTimeout(this.waiting);
    this.source?.close();
    this.source = null;
    trouble(this, false);
  }

  /** Connect anew: the old connection may be dead. */
  again() {
    if (this.over.signal.aborted) this.begin();
    else if (this.source) this.#connect();
  }

  /** Wait for our turn to listen, or take it. */
  #queue(signal, how) {
    const options = how.steal ? how : { signal };
    navigator.locks
      .request(NAME, options, () => (signal.aborted ? undefined : this.#listen(signal)))
      .catch(() => {
        if (signal.aborted) return;
        this.source?.close(); // another tab took our place
        this.source = null;
        trouble(this, false);
        this.#queue(signal, {});
      });
  }

  /** Listen until we leave. */
  #listen(signal) {
    this.answered = true;
    this.#connect();
    return new Promise((resolve) => signal.addEventListener("abort", resolve));
  }

  #connect() {
    this.source?.close();
    const source = new EventSource("/api/notices");
    this.source = source;
    source.addEventListener("state", ({ data }) => this.#state(JSON.parse(data)));
    source.addEventListener("change", ({ data }) => this.#change(JSON.parse(data).changes));
    source.onopen = () => trouble(this, false);
    source.onerror = async () => {
      trouble(this, true);
      if (source.readyState !== EventSource.CLOSED) return;
      await pause(2_000, this.over.signal);
      if (this.source === source && !this.over.signal.aborted) this.#connect();
    };
  }

  #state(state) {
    this.#set(state);
    this.#tell({ state: this.#all() });
  }

  #change(changes) {
    this.#tell({ changes });
    this.#apply(changes, true);
  }

  #told({ hello, state, changes, to = this.name }) {
    if (hello && this.source && this.known) this.#tell({ state: this.#all(), to: hello });
    if (this.source || to !== this.name) return;
    this.answered ||= Boolean(state);
    if (state) this.#set(state);
    if (changes && this.known) this.#apply(changes, false);
  }

  #tell(message) {
    this.others?.postMessage(message);
  }

  #all() {
    return { conversations: [...this.entries.values()], next: this.next };
  }

  /** The newest of them; older ones that have been added stay, if nothing is missing in between. */
  #set({ conversations, next }) {
    const before = [...this.entries.values()];
    const last = conversations.at(-1)?.updated_at;
    this.entries = new Map(conversations.map((entry) => [entry.id, entry]));
    const older = before.filter(({ id, updated_at: at }) => at <= last && !this.entries.has(id));
    if (next && older.length && before.some(({ updated_at: at }) => at >= last)) this.add(older, this.next);
    else this.next = next;
    this.known = true;
    this.on.state();
  }

  #apply(changes, first) {
    for (const { what, id, conversation } of changes) {
      if (what.includes("deleted")) this.entries.delete(id ?? conversation.id);
      else this.entries.set(conversation.id, conversation);
    }
    this.on.change(changes, { first });
  }

  /** More of them, older. */
  add(entries, next) {
    for (const entry of entries) if (!this.entries.has(entry.id)) this.entries.set(entry.id, entry);
    this.next = next;
  }

  /** Newest question first. */
  get sorted() {
    return [...this.entries.values()].sort((one, other) => other.updated_at.localeCompare(one.updated_at));
  }
}
