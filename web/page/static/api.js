/**
 * The calls of the native API, each repeated until there is a response.
 *
 * A timeout is on silence, never on a whole request: every byte in either direction restarts it, so a
 * long text is sent once even over a weak link. (XMLHttpRequest, because fetch does not report the
 * progress of an upload.)
 */

import { pause, trouble } from "./connection.js";

/** Milliseconds without a byte after which a request is given up; doubled with each attempt. */
const SILENCE = 20_000;
const SILENCE_MAX = 80_000;
/** Bytes per second of a weak link: at this rate the system sends what it has buffered, unseen. */
const WEAK = 4_000;
/** Milliseconds by which a timer is late if the page slept: then it proves no silence. */
const SLEPT = 2_000;

/** A position after the end of every body. */
const BEYOND = 999_999_999_999_999;

/** A failure, with a message for people. Status 0: no response. */
export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }

  /** Whether the same request may succeed a moment later. */
  get temporary() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

/** An Idempotency-Key. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Send one request. Throws Problem, also after `silence` milliseconds without a byte;
 * `sent(part, whole)` is called with the bytes of the body that have been sent.
 */
function send(method, path, { body, key, signal, sent, silence = SILENCE } = {}) {
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
    const restart = () => wait(limit);
    const cancel = () => {
      reject(new DOMException("The request was cancelled.", "AbortError"));
      request.abort();
    };
    request.onprogress = request.onreadystatechange = restart;
    request.upload.onprogress = ({ loaded, total }) => (restart(), sent?.(loaded, total));
    request.onloadend = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      try {
        resolve(parsed(request));
      } catch (problem) {
        reject(problem);
      }
    };
    request.open(method, `/api${path}`);
    request.setRequestHeader("Accept", "application/json");
    if (data) request.setRequestHeader("Content-Type", "application/json");
    if (key) request.setRequestHeader("Idempotency-Key", key);
    if (signal?.aborted) return void cancel();
    signal?.addEventListener("abort", cancel);
    restart();
    request.send(data);
  });
}

/** The document of a finished request. Throws Problem. */
function parsed({ status, responseText }) {
  if (status === 204) return null;
  let data = null;
  try {
    data = JSON.parse(responseText);
  } catch {
    // cut short, or not from our server
  }
  if (!status || (status < 300 && !data)) throw new Problem(0, "unreachable", "The server cannot be reached.");
  if (status < 300) return data;
  throw new Problem(status, data?.code, data?.detail || `The server answered ${status}.`);
}

/** Repeat a request until there is a response. Only for requests that are safe to repeat. */
async function call(method, path, options = {}) {
  const source = Symbol(path);
  let silence = SILENCE;
  try {
    for (let wait = 400; ; wait = Math.min(wait * 2, 5000)) {
      const begun = Date.now();
      try {
        return await send(method, path, { ...options, silence });
      } catch (error) {
        if (!error.temporary) throw error;
      }
      if (Date.now() - begun >= silence) silence = Math.min(2 * silence, SILENCE_MAX);
      trouble(source, true);
      await pause(wait, options.signal);
    }
  } finally {
    trouble(source, false);
  }
}

/** `?name=value&…`, without empty values. */
function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// Conversations
export const createConversation = (fields, key) => call("POST", "/conversations", { body: fields, key });
export const changeConversation = (id, fields) => call("PATCH", `/conversations/${id}`, { body: fields });
export const deleteConversation = (id) => call("DELETE", `/conversations/${id}`);
export const undelete = (id) => call("POST", `/conversations/${id}/undelete`);
export const markSeen = (id, message) => call("POST", `/conversations/${id}/seen`, { body: { message_id: message } });
export const listConversations = (limit, cursor) => call("GET", `/sidebar${query({ limit, cursor })}`);
export const search = (q, signal) => call("GET", `/search${query({ q, limit: 30 })}`, { signal });
export const listModels = () => call("GET", "/models");

/** A branch: its newest `limit` turns, or those before the cursor `before`. */
export const getTurns = (id, { leaf, before, limit }, signal) =>
  call("GET", `/conversations/${id}/turns${query({ leaf, before, limit })}`, { signal });

// Messages; `wanted`: {model?, options?}
export const ask = (conversation, content, parent, key, wanted, sent) =>
  call("POST", `/conversations/${conversation}/messages`, { body: { content, parent_id: parent, ...wanted }, key, sent });
export const retry = (id, wanted) => call("POST", `/messages/${id}/retry`, { body: wanted, key: newKey() });
export const continueAnswer = (id, wanted) => call("POST", `/messages/${id}/continue`, { body: wanted, key: newKey() });
export const stop = (id) => call("POST", `/messages/${id}/stop`);
export const getMessage = (id, signal) => call("GET", `/messages/${id}`, { signal });
export const getBlocks = (id, after, signal) => call("GET", `/messages/${id}/blocks${query({ after })}`, { signal });
/** A message's status without blocks: those come by its stream. */
export const pollStatus = (id, signal) => send("GET", `/messages/${id}/blocks${query({ after: BEYOND })}`, { signal });
