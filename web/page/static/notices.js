/**
 * The state of all conversations, and every change of it.
 *
 * One tab of the browser has the connection and passes everything on (see tabs.js). A connection
 * begins with the whole state, so no change can be missed.
 */

import { listConversations } from "./api.js";
import { trouble } from "./connection.js";
import { pause } from "./outlive.js";
import { Tabs } from "./tabs.js";

export class Notices {
  /**
   * `on.state()`: the whole state is new; `on.change(changes, { first })`, `first` in the tab that has
   * the connection; `on.turn()`: whether this tab may stream an answer may have changed.
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
      message: (message) => this.#message(message),
      greeted: (to) => this.tabs.leads && this.known && this.tabs.send({ state: this.#all(), to }),
      turn: () => on.turn(),
    });
    this.begin();
  }

  /** Take part; again after `end`. */
  begin() {
    this.tabs.begin();
    this.tabs.check();
  }

  /** Close everything: the page may be frozen now. */
  end() {
    this.tabs.end();
  }

  /** The page slept: the connection, or the leading tab, may be gone. */
  reconnect() {
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
      if (this.source === source) await listConversations(1).catch(() => null); // the session may have ended
      if (this.source === source) this.#connect();
    };
  }

  #state(state) {
    this.#set(state);
    this.tabs.send({ state: this.#all() });
  }

  #change(changes) {
    this.tabs.send({ changes });
    this.#apply(changes, true);
  }

  #message({ state, changes }) {
    if (this.source) return;
    if (state) this.#set(state);
    if (changes && this.known) this.#apply(changes, false);
  }

  #all() {
    return { conversations: [...this.entries.values()], next: this.next };
  }

  /** Replace the newest entries; older ones stay, if there is no gap between. */
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

  /** Add older entries. */
  add(entries, next) {
    for (const entry of entries) if (!this.entries.has(entry.id)) this.entries.set(entry.id, entry);
    this.next = next;
  }

  /** By newest question. */
  get sorted() {
    return [...this.entries.values()].sort((one, other) => other.updated_at.localeCompare(one.updated_at));
  }
}
