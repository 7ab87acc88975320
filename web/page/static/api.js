/**
 * The calls of the native face, each retried until there is an answer.
 *
 * A limit is on silence, never on the whole: what arrives, in either direction, renews the patience,
 * so a long text up or down a weak link is sent once. (XMLHttpRequest, because fetch does not say how
 * far a body has been sent.)
 */

import { pause, trouble } from "./connection.js";

/** Milliseconds without a byte after which a request will never be answered; more with each attempt. */
const SILENCE = 20_000;
const SILENCE_MAX = 80_000;
/** Bytes a second of a weak link: what was handed to the system may take so long to leave it, unseen. */
const WEAK = 4_000;
/** Milliseconds: a timer later than that has slept, and proves nothing. */
const SLEPT = 2_000;

/** A position that no body reaches. */
const BEYOND = 999_999_999_999_999;

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

/**
 * One request. Raises Problem, also after `silence` milliseconds in which nothing came or went;
 * `sent(part, whole)` hears how many bytes of the body have been sent.
 */
function once(method, path, { body, key, signal, sent, silence = SILENCE } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const data = body === undefined ? null : JSON.stringify(body);
    const limit = silence + (data ? new Blob([data]).size / WEAK : 0) * 1000;
    let timer, due;
    const wait = (milliseconds) => {
      clearTimeout(timer);
      due = Date.now() + milliseconds;
      timer = setTimeout(() => (Date.now() - due > SLEPT ? wait(SLEPT) : request.abort()), milliseconds);
    };
    const alive = () => wait(limit);
    const leave = () => {
      reject(new DOMException("Nobody wants it any more.", "AbortError"));
      request.abort();
    };
    request.onprogress = request.onreadystatechange = alive;
    request.upload.onprogress = ({ loaded, total }) => (alive(), sent?.(loaded, total));
    request.onloadend = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", leave);
      try {
        resolve(answerOf(request));
      } catch (problem) {
        reject(problem);
      }
    };
    request.open(method, `/api${path}`);
    request.setRequestHeader("Accept", "application/json");
    if (data) request.setRequestHeader("Content-Type", "application/json");
    if (key) request.setRequestHeader("Idempotency-Key", key);
    if (signal?.aborted) return void leave();
    signal?.addEventListener("abort", leave);
    alive();
    request.send(data);
  });
}

/** What a request that is over was answered. Raises Problem. */
function answerOf({ status, responseText }) {
  if (status === 204) return null;
  let said = null;
  try {
    said = JSON.parse(responseText);
  } catch {
    // cut short, or somebody else's page
  }
  if (!status || (status < 300 && !said)) throw new Problem(0, "unreachable", "The server cannot be reached.");
  if (status < 300) return said;
  throw new Problem(status, said?.code, said?.detail || `The server answered ${status}.`);
}

/** A request, repeated until it is answered. Only for what is safe to repeat. */
async function persist(method, path, options = {}) {
  const source = Symbol(path);
  let silence = SILENCE;
  try {
    for (let wait = 400; ; wait = Math.min(wait * 2, 5000)) {
      const begun = Date.now();
      try {
        return await once(method, path, { ...options, silence });
      } catch (error) {
        if (!error.passing) throw error;
      }
      if (Date.now() - begun >= silence) silence = Math.min(2 * silence, SILENCE_MAX);
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
export const ask = (conversation, content, parent, key, wanted, sent) =>
  persist("POST", `/conversations/${conversation}/messages`, { body: { content, parent_id: parent, ...wanted }, key, sent });
export const retry = (id, wanted) => persist("POST", `/messages/${id}/retry`, { body: wanted, key: newKey() });
export const goOn = (id, wanted) => persist("POST", `/messages/${id}/continue`, { body: wanted, key: newKey() });
export const stop = (id) => persist("POST", `/messages/${id}/stop`);
export const showMessage = (id, signal) => persist("GET", `/messages/${id}`, { signal });
export const showBlocks = (id, after, signal) => persist("GET", `/messages/${id}/blocks${query({ after })}`, { signal });
/** Only how a message stands: its blocks would be in the way of a stream that brings them. */
export const glance = (id, signal) => once("GET", `/messages/${id}/blocks${query({ after: BEYOND })}`, { signal });
