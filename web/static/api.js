/** The calls of the native face, each retried until there is an answer. */

import { pause, trouble } from "./connection.js";

/** Milliseconds: a request that takes longer will never be answered. */
const LIMIT = 20_000;

/** What went wrong, in a sentence a person can read. Status 0: nobody answered. */
export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }

  /** Whether the same request may succeed a moment later. */
  get passing() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

/** A key that makes a request safe to repeat. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One request. Raises Problem. */
async function once(method, path, { body, key, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const limit = AbortSignal.timeout(LIMIT);
  const either = signal ? (AbortSignal.any?.([signal, limit]) ?? signal) : limit;
  const sent = { method, headers, signal: either, body: body && JSON.stringify(body), cache: "no-store" };
  try {
    const response = await fetch(`/api${path}`, sent);
    if (response.status === 204) return null;
    if (response.ok) return await response.json();
    throw await problemOf(response);
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The server cannot be reached.");
  }
}

/** A refusal as a Problem, whoever refused. */
async function problemOf(response) {
  const said = await response.json().catch(() => ({}));
  return new Problem(response.status, said.code, said.detail || `The server answered ${response.status}.`);
}

/** A request, repeated until it is answered. Only for what is safe to repeat. */
async function persist(method, path, options = {}) {
  const source = Symbol(path);
  try {
    for (let wait = 400; ; wait = Math.min(wait * 2, 5000)) {
      try {
        return await once(method, path, options);
      } catch (error) {
        if (!error.passing) throw error;
      }
      trouble(source, true);
      await pause(wait, options.signal);
    }
  } finally {
    trouble(source, false);
  }
}

/** `?name=value&…` of what is given. */
function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// Conversations
export const createConversation = (fields, key) => persist("POST", "/conversations", { body: fields, key });
export const changeConversation = (id, fields) => persist("PATCH", `/conversations/${id}`, { body: fields });
export const deleteConversation = (id) => persist("DELETE", `/conversations/${id}`);
export const undelete = (id) => persist("POST", `/conversations/${id}/undelete`);
export const seen = (id, message) => persist("POST", `/conversations/${id}/seen`, { body: { message_id: message } });
export const sidebar = (limit, cursor) => persist("GET", `/sidebar${query({ limit, cursor })}`);
export const search = (q, signal) => persist("GET", `/search${query({ q, limit: 30 })}`, { signal });
export const models = () => persist("GET", "/models");

/** A branch: its newest `limit` turns, or those before the cursor `before`. */
export const turns = (id, { leaf, before, limit }, signal) =>
  persist("GET", `/conversations/${id}/turns${query({ leaf, before, limit })}`, { signal });

// Messages; `wanted` is {model?, options?}
export const ask = (conversation, content, parent, key, wanted) =>
  persist("POST", `/conversations/${conversation}/messages`, { body: { content, parent_id: parent, ...wanted }, key });
export const retry = (id, wanted) => persist("POST", `/messages/${id}/retry`, { body: wanted, key: newKey() });
export const goOn = (id, wanted) => persist("POST", `/messages/${id}/continue`, { body: wanted, key: newKey() });
export const stop = (id) => persist("POST", `/messages/${id}/stop`, { body: {}, key: newKey() });
export const showMessage = (id, signal) => persist("GET", `/messages/${id}`, { signal });
export const showBlocks = (id, after, signal) => persist("GET", `/messages/${id}/blocks${query({ after })}`, { signal });
export const glance = (id, after, signal) => once("GET", `/messages/${id}/blocks${query({ after })}`, { signal });
