/**
 * Nothing typed is lost: drafts, and questions that the server has not answered yet.
 *
 * A question on its way is kept here with its Idempotency-Key. Whoever opens the page next sends
 * it again under the same key, so that it is asked once, however often it was sent.
 */

const OUT = "outlive.out.";
const DRAFT = "outlive.draft.";

/** The browser's storage; without one (it may be forbidden) a page's own memory. */
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

/** What a step gives, or undefined if it may not be taken. */
function attempt(step) {
  try {
    return step();
  } catch {
    return undefined;
  }
}

/** Keep a question until it is answered: {key, conversation, parent, content, wanted, system}. */
export const keep = (entry) => store.set(OUT + entry.key, JSON.stringify(entry));

/** It has been answered, or refused. */
export const drop = (entry) => store.remove(OUT + entry.key);

/** A question as it is kept now; null if somebody has sent it meanwhile. */
export const kept = (key) => attempt(() => JSON.parse(store.get(OUT + key))) ?? null;

/** All questions on their way. */
export function waiting() {
  const keys = store.names().filter((name) => name.startsWith(OUT));
  return keys.map((name) => kept(name.slice(OUT.length))).filter(Boolean);
}

/** Do something for a question that only one tab may do at a time. */
export function alone(key, task) {
  return navigator.locks ? navigator.locks.request(OUT + key, task) : task();
}

/** Whether some tab is doing that. */
export async function taken(key) {
  const held = (await navigator.locks?.query())?.held ?? [];
  return held.some(({ name }) => name === OUT + key);
}

/** Small choices that a browser remembers. */
export const recall = (name) => store.get(name);
export const remember = (name, value) => (value ? store.set(name, value) : store.remove(name));

export const draft = (conversation) => store.get(DRAFT + (conversation ?? "new")) ?? "";

/** Keep what somebody is typing. */
export function keepDraft(conversation, text) {
  const name = DRAFT + (conversation ?? "new");
  if (text) store.set(name, text);
  else store.remove(name);
}
