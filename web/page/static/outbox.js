/**
 * Stored in the browser, so that nothing typed is lost: drafts, and questions that are being sent.
 *
 * A question is stored with its Idempotency-Key. The next page that opens sends it again with the
 * same key, so it is asked once, however often it is sent.
 */

const OUT = "outlive.out.";
const DRAFT = "outlive.draft.";
const EDIT = "outlive.edit.";
const SYSTEM = "outlive.system.";

/** The browser's storage; where it is forbidden, this page's memory. */
const memory = new Map();
const store = {
  get: (name) => attempt(() => localStorage.getItem(name)) ?? memory.get(name) ?? null,
  /** Whether it is there after a reload, too. */
  set(name, value) {
    memory.set(name, value);
    return attempt(() => (localStorage.setItem(name, value), true)) ?? false;
  },
  remove(name) {
    memory.delete(name);
    attempt(() => localStorage.removeItem(name));
  },
  names: () => attempt(() => Object.keys(localStorage)) ?? [...memory.keys()],
};

/** What `step` returns, or undefined if it throws. */
function attempt(step) {
  try {
    return step();
  } catch {
    return undefined;
  }
}

/** Store a question until there is a response: {key, conversation, parent, content, wanted, system,
 * files (how many there are in attachments.js), carried (parts of the question that this one replaces), line}. */
export const keep = (entry) => store.set(OUT + entry.key, JSON.stringify(entry));

/** Remove a question that was accepted or refused. */
export const drop = (entry) => store.remove(OUT + entry.key);

/** A stored question; null if another tab has sent it. */
export const kept = (key) => attempt(() => JSON.parse(store.get(OUT + key))) ?? null;

/** All stored questions. */
export function waiting() {
  const keys = store.names().filter((name) => name.startsWith(OUT));
  return keys.map((name) => kept(name.slice(OUT.length))).filter(Boolean);
}

/** Run a task for a question in one tab at a time. */
export function exclusive(key, task) {
  return navigator.locks ? navigator.locks.request(OUT + key, task) : task();
}

/** Whether a tab is running a task for it. */
export async function locked(key) {
  const held = (await navigator.locks?.query())?.held ?? [];
  return held.some(({ name }) => name === OUT + key);
}

/** Small settings that the browser remembers. */
export const recall = (name) => store.get(name);
export const remember = (name, value) => (value ? store.set(name, value) : store.remove(name));

/** Remove everything. */
export function clear() {
  store.names().filter((name) => name.startsWith("outlive.")).forEach(store.remove);
  attempt(() => indexedDB.deleteDatabase("outlive")); // the files of drafts
}

export const draft = (conversation) => store.get(DRAFT + (conversation ?? "new")) ?? "";

/** Store a text, or remove it; whether it is kept. */
function put(name, text) {
  if (text) return store.set(name, text);
  store.remove(name);
  return true;
}

/** Store what is being typed; whether it is kept. */
export const keepDraft = (conversation, text) => put(DRAFT + (conversation ?? "new"), text);

/** The text of an open editor, by the id of its question; null: it is closed. */
export const edit = (id) => store.get(EDIT + id);
export const keepEdit = (id, text) => put(EDIT + id, text);

/** Instructions: typed and not saved (`typed`), or of a conversation that does not exist yet. */
export const system = (conversation, typed) => store.get(SYSTEM + (typed ? "typed." : "") + (conversation ?? "new"));
export const keepSystem = (conversation, typed, text) => put(SYSTEM + (typed ? "typed." : "") + (conversation ?? "new"), text);
