/**
 * What goes on in all conversations: the current state, and then every change.
 *
 * One tab of the browser listens and tells the others (see tabs.js). A connection begins with the
 * state of everything, so nobody can have missed anything.
 */

import { pause, trouble } from "./connection.js";
import { Tabs } from "./tabs.js";

export class Notices {
  /**
   * `on.state()`: all of it is new; `on.change(changes, { first })`: first: in the tab that listens;
   * `on.turn()`: whether this tab may stream an answer may have changed.
   */
  constructor(on) {
    this.on = on;
    this.entries = new Map();
    this.next = null;
    this.known = false;
    this.source = null;
    this.tabs = new Tabs({
      lead: () => this.#connect(),
      yield: () => this.#disconnect(),
      heard: (message) => this.#told(message),
      greeted: (to) => this.tabs.leads && this.known && this.tabs.tell({ state: this.#all(), to }),
      turn: () => on.turn(),
    });
    this.begin();
  }

  /** Take part; again after `end`. */
  begin() {
    this.tabs.begin();
    this.tabs.check();
  }

  /** Hold nothing: the page may be frozen now. */
  end() {
    this.tabs.end();
  }

  /** We slept: the old connection may be dead, and so may be the tab that led. */
  again() {
    if (this.tabs.leads) this.#connect();
    else this.begin();
  }

  #disconnect() {
    this.source?.close();
    this.source = null;
    trouble(this, false);
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
      await pause(2_000);
      if (this.source === source) this.#connect();
    };
  }

  #state(state) {
    this.#set(state);
    this.tabs.tell({ state: this.#all() });
  }

  #change(changes) {
    this.tabs.tell({ changes });
    this.#apply(changes, true);
  }

  #told({ state, changes }) {
    if (this.source) return;
    if (state) this.#set(state);
    if (changes && this.known) this.#apply(changes, false);
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
