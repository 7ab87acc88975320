/**
 * The calls that the page makes, each repeated until there is a response.
 *
 * A timeout is on silence, never on a whole request: every byte in either direction restarts it, so a
 * long text is sent once even over a weak link. (XMLHttpRequest, because fetch does not report the
 * progress of an upload.)
 */

import { trouble } from "./connection.js";
import { newKey, Outlive, queryOf as query } from "./outlive.js";

export { newKey };

/** Bytes per second of a weak link: at this rate the system sends what it has buffered, unseen. */
const WEAK = 4_000;
/** Milliseconds by which a timer is late if the page slept: then it proves no silence. */
const SLEPT = 2_000;

/** A position after the end of every body. */
const BEYOND = 999_999_999_999_999;

/** On the page of a link: its secret, which is the fragment of the address. No browser sends that anywhere. */
export const link = location.pathname === "/s" ? location.hash.slice(1) : "";

/** There is no session, or not any more: sign in, and come back to this page. */
function signIn() {
  dispatchEvent(new Event("sessionend"));
  const why = document.body.dataset.user ? "&problem=ended" : "";
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}${why}${location.hash}`);
}

/**
 * One request, which is given up after `silence` milliseconds without a byte; `sent(part, whole)` is
 * called with the bytes of the body that have been sent. Without a session it never ends, as the page
 * is left for the sign-in page: a question that is being sent stays stored.
 */
function transport(url, { method, headers, body, signal, sent, silence }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const limit = silence + (body ? new Blob([body]).size / WEAK : 0) * 1000;
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
      const { status, responseText } = request;
      if (status === 401 && !link) return void signIn();
      resolve({ status, headers: { get: (name) => request.getResponseHeader(name) }, text: responseText });
    };
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (signal?.aborted) return void cancel();
    signal?.addEventListener("abort", cancel);
    restart();
    request.send(body ?? null);
  });
}

const outlive = new Outlive({ transport, token: link, patience: Infinity, onTrouble: trouble });
const call = (method, path, options) => outlive.call(method, `/api${path}`, options);

/** End this session, or those of all browsers. */
export const signOut = (everywhere) => outlive.signOut({ everywhere });
/** Change the password; other browsers are signed out. */
export const changePassword = (current, fresh) => outlive.changePassword(current, fresh);
/** Delete all that the user has; `confirm`: the words that the server wants to read. */
export const deleteEverything = (confirm) => outlive.callOnce("POST", "/api/user/delete", { body: { confirm } });

// Conversations
export const createConversation = (fields, key) => outlive.createConversation(fields, { key });
export const changeConversation = (id, fields) => call("PATCH", `/conversations/${id}`, { body: fields });
export const deleteConversation = (id) => call("DELETE", `/conversations/${id}`);
export const undelete = (id) => call("POST", `/conversations/${id}/undelete`);
export const markSeen = (id, message) => call("POST", `/conversations/${id}/seen`, { body: { message_id: message } });
export const getPlace = (id) => outlive.callOnce("GET", `/api/conversations/${id}/place`);
/** Report where the person is; also from a page that is being left, and without a reply. */
export function putPlace(id, place) {
  const headers = { "Content-Type": "application/json" };
  fetch(`/api/conversations/${id}/place`, { method: "PUT", keepalive: true, headers, body: JSON.stringify(place) }).catch(() => {});
}
export const listConversations = (limit, cursor) => call("GET", `/sidebar${query({ limit, cursor })}`);
export const search = (q, signal) => outlive.search(q, { limit: 30 }, { signal });
export const listModels = () => outlive.models();

/** A branch: its newest `limit` turns, or those before the cursor `before`. */
export const getTurns = (id, { leaf, before, limit }, signal) =>
  call("GET", `/conversations/${id}/turns${query({ leaf, before, limit })}`, { signal });

// Messages; `wanted`: {model?, options?}
export const ask = (conversation, content, parent, key, wanted, sent, parts) => {
  const body = { ...(content ? { content } : {}), ...(parts?.length ? { parts } : {}), parent_id: parent, ...wanted };
  return call("POST", `/conversations/${conversation}/messages`, { body, key, sent });
};
export const getLine = (id, signal) => call("GET", `/conversations/${id}/line`, { signal });
export const putInLine = (id, content, key, wanted, sent) => call("POST", `/conversations/${id}/line`, { body: { content, ...wanted }, key, sent });
export const changeInLine = (id, one, content) => call("PATCH", `/conversations/${id}/line/${one}`, { body: { content } });
export const takeOutOfLine = (id, one) => call("DELETE", `/conversations/${id}/line/${one}`);
export const sendFromLine = (id, one) => outlive.callOnce("POST", `/api/conversations/${id}/line/${one}/send`, { body: {} });
export const retry = (id, wanted) => call("POST", `/messages/${id}/retry`, { body: wanted, key: newKey() });
export const continueAnswer = (id, wanted) => call("POST", `/messages/${id}/continue`, { body: wanted, key: newKey() });
export const stop = (id) => outlive.stop(id);
export const getMessage = (id, signal) => outlive.message(id, { signal });
/** Where this device is reading; where the user's other devices are. */
export const reportDevice = (body, signal) => outlive.callOnce("POST", "/api/devices", { body, signal });
export const getTape = (id) => call("GET", `/messages/${id}/tape`);
export const getBlocks = (id, after, signal) => call("GET", `/messages/${id}/blocks${query({ after })}`, { signal });
/** The stream of a message's blocks. EventSource sends no header, so the page of a link brings another class. */
let LinkStream = null;
export const useLinkStream = (its) => (LinkStream = its);
export function openBlocks(id, after) {
  const path = `/api/messages/${id}/blocks/stream?after=${after}`;
  return link ? new LinkStream((signal) => outlive.open("GET", path, { headers: { Accept: "text/event-stream" }, signal })) : new EventSource(path);
}
/** A message's status without blocks: those come by its stream. */
export const pollStatus = (id, signal) =>
  outlive.callOnce("GET", `/api/messages/${id}/blocks${query({ after: BEYOND })}`, { signal });

/**
 * A stored file as a data URL (of another type, if one is given). A reader by a link needs it, as the
 * browser asks for images and downloads without the link's secret.
 */
export async function readFile(address, type = "") {
  const response = await fetch(address, { headers: link ? { Authorization: `Bearer ${link}` } : {} });
  if (!response.ok) throw new Error(response.statusText);
  const file = new Blob([await response.blob()], { type: type || response.headers.get("Content-Type") });
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// Browsers that are notified
export const subscribe = (fields) => outlive.callOnce("POST", "/api/push", { body: fields });
export const listSubscriptions = () => call("GET", "/push");
export const unsubscribe = (id) => call("DELETE", `/push/${id}`);

// Shares
export const share = (id, fields) => outlive.callOnce("POST", `/api/conversations/${id}/shares`, { body: fields });
export const listShares = (id) => call("GET", `/conversations/${id}/shares`);
export const revokeShare = (id) => call("DELETE", `/shares/${id}`);
export const listShared = () => call("GET", "/shared");
