/**
 * Stored in the browser, so that nothing typed is lost: drafts, and questions that are being sent.
 *
 * A question is stored with its Idempotency-Key. The next page that opens sends it again with the
 * same key, so it is asked once, however often it is sent.
 */

const OUT = "outlive.out.";
const DRAFT = "outlive.draft.";

/** The browser's storage; where it is forbidden, this page's memory. */
const memory = new Map();
const store = {
  get: (name) => attempt(() => localStorage.getItem(name)) ?? memory.get(name) ?? null,
  set(name, value) {
    memory.set(name, value);
    attempt(() => localStorage.setItem(name, value));
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
 * files (how many there are in attachments.js), carried (parts of the question that this one replaces)}. */
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

/** Store what is being typed. */
export function keepDraft(conversation, text) {
  const name = DRAFT + (conversation ?? "new");
  if (text) store.set(name, text);
  else store.remove(name);
}
