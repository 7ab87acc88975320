// @ts-check
/**
 * Ask an Outlive service, and read its answers through every cut.
 *
 * One module without dependencies, for browsers and Node 18. Types: outlive.d.ts.
 *
 *     import { Outlive } from "./outlive.js";
 *
 *     const outlive = new Outlive({ url: "https://outlive.example", token: () => myToken() });
 *     const answer = await outlive.ask("Why is the sky blue?");
 *     for await (const { kind, text } of answer) if (kind === "text") show(text);
 *
 * A position is an integer that the server gives (the id of a frame) and that is only echoed: it
 * counts code points, which is not what the length of a string counts here.
 */

/** Milliseconds for which a call is repeated, and for which a stream may bring nothing. */
const PATIENCE = 60_000;
const STREAM_PATIENCE = 300_000;
/** Milliseconds between two tries, at first and at most; and until a stream is opened again, unless the server says. */
const PAUSE = 400;
const PAUSE_MAX = 5_000;
const RETRY = 1_000;
/** Milliseconds without a byte after which a call is given up, at first and at most; and a stream. */
const SILENCE = 20_000;
const SILENCE_MAX = 80_000;
const SILENCE_STREAM = 45_000;
/** Milliseconds after which a connection that brought nothing was a good one: its heartbeats came. */
const STEADY = 5_000;
/** No response, too slow, not ready: the same may succeed a moment later. */
const TEMPORARY = [0, 408, 502, 503, 504];

/**
 * @typedef {Record<string, any>} Json
 * @typedef {{start: number, part: number, kind: string, text: string, meta?: Json | null}} Delta A piece of an answer.
 * @typedef {{kind: string, text: string, meta: Json | null}} Part
 * @typedef {{status: string, finish_reason: string | null, length: number | null, sha256: string | null,
 *   usage: Json | null, error: {code: string, message: string} | null}} End How an answer ended.
 * @typedef {{id: string, conversation_id: string, parent_id: string | null, role: string, status: string, text: string,
 *   parts: Part[], position: number} & Json} Message
 * @typedef {{items: Json[], next: string | null}} Page
 * @typedef {{id: string, user: string | null, created_at: string, expires_at: string | null, readers: number | null,
 *   token?: string | null, path?: string}} Share Who may read a conversation: a user, or (null) whoever has the link.
 * @typedef {{status: number, headers: {get(name: string): string | null | undefined}, text: string}} Whole A response.
 * @typedef {{signal?: AbortSignal, [more: string]: any}} CallOptions What else is given to the transport.
 * @typedef {{model?: string, options?: Json, key?: string, signal?: AbortSignal, onCut?: () => void}} AnswerOptions
 *   `key`: an Idempotency-Key of your own; `onCut`: called before each pause after a cut.
 */

/** A request that failed. `status` 0: there was no response. `retryAfter`: seconds, if the service said so. `limit`: what was exceeded, likewise. */
export class OutliveError extends Error {
  /** @param {number} status @param {string | undefined} code @param {string} message @param {number | null} [retryAfter] */
  constructor(status, code, message, retryAfter = null) {
    super(message);
    this.name = "OutliveError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
    /** @type {number | null} */
    this.limit = null;
  }

  /** Whether the same request may succeed a moment later. */
  get temporary() {
    return TEMPORARY.includes(this.status);
  }

  /**
   * Whether to try again within so many milliseconds: the service is not ready, or we were too fast and it says how
   * long to wait. Who waits for ever is not made to wait for that.
   * @param {number} left
   */
  passes(left) {
    if (this.code === "rate_limited") return left < Infinity && 1000 * (this.retryAfter ?? 0) <= left;
    return this.temporary && left >= 0;
  }
}

/** What was read is not the answer that is stored: read the message again. */
export class ProofMismatch extends Error {}

/** An Idempotency-Key. (`randomUUID` is only there on secure origins.) */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}

/** The number of Unicode code points. @param {string} text */
export function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** Whether a text is exactly what an end's length and sha256 say. @param {string} content @param {Pick<End, "length" | "sha256">} end */
export async function proves(content, { length, sha256 }) {
  return codePoints(content) === length && (await digest(new TextEncoder().encode(content))) === sha256;
}

/** SHA-256 as hexadecimal digits. Plain HTTP has no SubtleCrypto. @param {Uint8Array<ArrayBuffer>} bytes */
async function digest(bytes) {
  const subtle = globalThis.crypto?.subtle;
  return hex(subtle ? new Uint8Array(await subtle.digest("SHA-256", bytes)) : sha256(bytes));
}

/** @param {Uint8Array} bytes */
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** SHA-256 (FIPS 180-4). @param {Uint8Array} bytes */
export function sha256(bytes) {
  const { k, h } = constants();
  const padded = new Uint8Array((((bytes.length + 8) >> 6) + 1) << 6);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 0x20000000));
  view.setUint32(padded.length - 4, bytes.length << 3);
  const w = new Int32Array(64);
  /** @param {number} x @param {number} n */
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) w[i] = view.getInt32(block + 4 * i);
      else {
        const [x, y] = [w[i - 15], w[i - 2]];
        w[i] =
          w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
      }
    }
    let [a, b, c, d, e, f, g, z] = h;
    for (let i = 0; i < 64; i++) {
      const one = (z + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [z, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, z].forEach((value, i) => (h[i] = (h[i] + value) | 0));
  }
  const result = new DataView(new ArrayBuffer(32));
  h.forEach((value, i) => result.setInt32(4 * i, value));
  return new Uint8Array(result.buffer);
}

/** The fractions of the roots of the first primes: cube roots of 64, square roots of 8. */
function constants() {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  /** @param {number} root */
  const fraction = (root) => ((root % 1) * 0x100000000) | 0;
  return { k: primes.map((n) => fraction(Math.cbrt(n))), h: primes.slice(0, 8).map((n) => fraction(Math.sqrt(n))) };
}

/** Server-Sent Events: bytes in any pieces in, events out. Lines end at CR, LF and CRLF. */
export class EventDecoder {
  #text = new TextDecoder();
  /** @type {string[]} */
  #rest = [];
  #event = "";
  #id = "";
  /** @type {string[] | null} */
  #data = null;
  /** Milliseconds after which the server wants us back. @type {number | null} */
  retry = null;

  /** @param {Uint8Array} bytes @returns {{event: string, data: string, id: string}[]} */
  feed(bytes) {
    let text = this.#text.decode(bytes, { stream: true });
    if (!/[\r\n]/.test(text) && !this.#rest.at(-1)?.endsWith("\r")) {
      if (text) this.#rest.push(text);
      return [];
    }
    text = this.#rest.join("") + text;
    const held = text.endsWith("\r") ? "\r" : ""; // its LF may follow
    const lines = text.slice(0, text.length - held.length).split(/\r\n|\n|\r/);
    this.#rest = [lines.pop() + held];
    return lines.flatMap((line) => this.#line(line));
  }

  /** @param {string} line */
  #line(line) {
    if (!line) return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") (this.#data ??= []).push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id") this.#id = value;
    else if (name === "retry" && /^\d{1,5}$/.test(value)) this.retry = Number(value);
    return [];
  }

  #dispatch() {
    const found = this.#data && [{ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id }];
    this.#event = this.#id = "";
    this.#data = null;
    return found ?? [];
  }
}

/**
 * Wait about this long; shorter if `signal` aborts or the browser is online again.
 * @param {number} milliseconds @param {AbortSignal} [signal] @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", end);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds * (0.5 + Math.random()));
    globalThis.addEventListener?.("online", end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}

/** Aborts what is silent for too long. */
class Watch {
  #control = new AbortController();
  #milliseconds;
  #outer;
  /** @type {any} */
  #timer;
  #abort = () => this.#control.abort(this.#outer?.reason);

  /** @param {number} milliseconds @param {AbortSignal} [outer] */
  constructor(milliseconds, outer) {
    this.#milliseconds = milliseconds;
    this.#outer = outer;
    if (outer?.aborted) this.#abort();
    outer?.addEventListener("abort", this.#abort);
    this.restart();
  }

  get signal() {
    return this.#control.signal;
  }

  restart() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#control.abort(), this.#milliseconds);
  }

  /** Nothing more is read. */
  close() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
    this.#control.abort();
  }
}

/** No response. @type {Whole} */
const NOTHING = { status: 0, headers: new Map(), text: "" };

/** A call by `fetch`. @param {string} url @param {any} init @returns {Promise<Whole>} */
async function byFetch(url, { silence, signal, ...init }) {
  const watch = new Watch(silence, signal);
  try {
    const response = await fetch(url, { ...init, signal: watch.signal });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } finally {
    watch.close();
  }
}

/** The exception for a response that is not what was asked for. @param {Whole} response */
function refusal({ status, headers, text }) {
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    // cut short, or not from Outlive
  }
  if (status < 300) return new OutliveError(0, "unreachable", "The server cannot be reached.");
  const after = headers.get("Retry-After");
  const seconds = after && /^\d{1,9}$/.test(after) ? Number(after) : null;
  const error = new OutliveError(status, document?.code, document?.detail || `The server answered ${status}.`, seconds);
  error.limit = document?.limit ?? null;
  return error;
}

/**
 * An answer that is being read: iterate over its deltas, or `read` it. Leaving it does not stop it.
 *
 * Iterating throws OutliveError (it was deleted, say; or nothing came for too long), and
 * ProofMismatch at the end if what came is not the whole answer.
 */
export class Answer {
  #outlive;
  #options;
  #question;
  #signal = new AbortController();
  /** @type {Delta[]} */
  #deltas = [];
  #steps;
  #position = 0;
  #lastId = "";

  /**
   * @param {Outlive} outlive
   * @param {{id?: string, question?: {path: string, body: Json, key: string}}} subject
   * @param {AnswerOptions} options
   */
  constructor(outlive, { id, question }, options) {
    this.#outlive = outlive;
    this.#question = question;
    this.#options = options;
    /** Its id, for `follow`, `stop`, `retry`, `continue`. */
    this.id = id ?? "";
    /** The question and the answer as they were accepted. @type {{user: Message, assistant: Message} | null} */
    this.asked = null;
    /** All parts as far as they have been read. @type {Part[]} */
    this.parts = [];
    /** How it ended. @type {End | null} */
    this.end = null;
    this.#steps = this.#read();
  }

  /** The text as far as it has been read, without reasoning and tool calls. */
  get text() {
    return this.parts.map(({ kind, text }) => (kind === "text" ? text : "")).join("");
  }

  /** Read to the end. @returns {Promise<this>} */
  async read() {
    for await (const _ of this);
    return this;
  }

  /** Leave; the answer is still written. */
  close() {
    this.#signal.abort();
  }

  /** @returns {AsyncIterableIterator<Delta>} */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      const next = this.#deltas.shift();
      if (next) yield next;
      else if ((await this.#steps.next()).done) return;
    }
  }

  /** Read until the question is accepted. */
  async begin() {
    while (!this.id) await this.#steps.next();
    return this;
  }

  /** One step for each piece of a response. */
  async *#read() {
    const { patience, streamPatience } = this.#outlive;
    const begun = Date.now();
    let [good, wait, retry] = [begun, PAUSE, RETRY];
    const outer = this.#options.signal;
    const leave = () => this.#signal.abort();
    outer?.addEventListener("abort", leave);
    if (outer?.aborted) leave();
    const { signal } = this.#signal;
    try {
      while (!this.end && !signal.aborted) {
        const before = [this.id, this.#position].join();
        const watch = new Watch(SILENCE_STREAM, signal);
        const decoder = new EventDecoder();
        let [failure, opened] = [new OutliveError(0, "unreachable", "The stream was cut."), 0];
        try {
          const [method, path, init] = this.#request();
          const response = await this.#outlive.open(method, path, { ...init, signal: watch.signal });
          if (response.status === 200 && response.body && isA(response, "text/event-stream")) {
            opened = Date.now();
            const reader = response.body.getReader();
            for (let piece; !this.end && !(piece = await reader.read()).done; ) {
              watch.restart();
              for (const event of decoder.feed(piece.value)) this.#take(event);
              yield;
            }
          } else {
            const { status, headers } = response;
            const text = await response.text();
            if (!this.id && status === 202) this.#accept(JSON.parse(text));
            else failure = refusal({ status, headers, text });
          }
        } catch {
          // cut, silent, or damaged: read again from the last good position
        } finally {
          watch.close();
        }
        if (this.end || signal.aborted) break;
        retry = decoder.retry ?? retry;
        const now = Date.now();
        const moved = [this.id, this.#position].join() !== before;
        if (moved || (opened && now - opened >= STEADY)) good = now;
        const left = (this.id ? good + streamPatience : begun + patience) - now;
        if (!failure.passes(left) && !(this.id && failure.status === 429 && left >= 0)) throw failure;
        if (moved && !opened) continue; // accepted without a stream: read that now
        this.#options.onCut?.();
        await pause(Math.max(this.id ? 1.5 * retry : wait, 1000 * (failure.retryAfter ?? 0)), signal);
        wait = Math.min(2 * wait, PAUSE_MAX);
      }
    } finally {
      outer?.removeEventListener("abort", leave);
    }
    outer?.throwIfAborted?.();
    if (!this.end) return; // closed
    if (!(await proves(this.parts.map(({ text }) => text).join(""), this.end)))
      throw new ProofMismatch("What was read does not match the answer's length and sha256.");
  }

  /** @returns {[string, string, Json]} */
  #request() {
    const headers = { Accept: "text/event-stream" };
    if (!this.id && this.#question) {
      const { path, body, key } = this.#question;
      return ["POST", path, { headers: { ...headers, "Idempotency-Key": key }, body }];
    }
    const after = this.#lastId ? `?after=${encodeURIComponent(this.#lastId)}` : "";
    return ["GET", `/api/messages/${encodeURIComponent(this.id)}/stream${after}`, { headers }];
  }

  /** @param {{event: string, data: string, id: string}} event */
  #take({ event, data, id }) {
    if (event === "accepted") this.#accept(JSON.parse(data));
    else if (event === "end") this.end = JSON.parse(data);
    else if (event === "delta") {
      this.#grow(JSON.parse(data));
      this.#lastId = id;
    }
  }

  /** @param {{user: Message, assistant: Message}} asked */
  #accept(asked) {
    this.asked = asked;
    this.id = asked.assistant.id;
  }

  /** Grow by what is new. Throws at a gap. @param {Delta} delta */
  #grow({ start, part, kind, text, meta = null }) {
    if (start > this.#position) throw new RangeError("text is missing");
    const known = this.#position - start;
    const characters = known ? [...text] : null; // positions count code points
    const length = characters ? characters.length : codePoints(text);
    if (length <= known && !(meta && !text && start === this.#position && part === this.parts.length)) return;
    const fresh = characters ? characters.slice(known).join("") : text;
    const last = this.parts[part];
    if (last ? part !== this.parts.length - 1 || last.kind !== kind : part !== this.parts.length)
      throw new RangeError("an impossible part");
    if (last) last.text += fresh;
    else this.parts.push({ kind, text: fresh, meta });
    this.#deltas.push({ start: this.#position, part, kind, text: fresh, meta });
    this.#position = start + length;
  }
}

/** @param {Response} response @param {string} type */
const isA = (response, type) => (response.headers.get("Content-Type") ?? "").startsWith(type);

/** The service at one address. */
export class Outlive {
  #url;
  #headers;
  #token;
  #transport;

  /**
   * @param {object} [options]
   * @param {string} [options.url] its address; by default that of the page
   * @param {string | (() => string | Promise<string>)} [options.token] a credential, or what gives one for each request
   * @param {Record<string, string>} [options.headers] sent with each request, like `Outlive-User`
   * @param {number} [options.patience] milliseconds for which a call is repeated
   * @param {number} [options.streamPatience] milliseconds for which a stream may bring nothing
   * @param {(url: string, init: any) => Promise<Whole>} [options.transport] how calls (not streams) are made, if not by `fetch`
   * @param {(source: object, is: boolean) => void} [options.onTrouble] told when a call fails for now, and when that is over
   */
  constructor({ url = "", token, headers = {}, patience = PATIENCE, streamPatience = STREAM_PATIENCE, transport = byFetch, onTrouble } = {}) {
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
    this.#headers = headers;
    this.#transport = transport;
    this.patience = patience;
    this.streamPatience = streamPatience;
    this.onTrouble = onTrouble;
  }

  /**
   * Ask; resolves as soon as the question is accepted. Without `conversation` in a new one; `parent` is the answer
   * below which to ask, null for another root, by default the newest.
   * @param {string} content @param {AnswerOptions & {conversation?: string, parent?: string | null, system?: string}} [options]
   */
  async ask(content, { conversation, parent, system, ...more } = {}) {
    const place = conversation ?? (await this.createConversation({ system }, more)).id;
    const fields = parent === undefined ? {} : { parent_id: parent };
    return this.#answer(`${conversationAt(place)}/messages`, { content, ...fields }, more);
  }

  /** Have the same question answered again, beside an answer that has ended. @param {string} id @param {AnswerOptions} [options] */
  retry(id, options = {}) {
    return this.#answer(`${message(id)}/retry`, {}, options);
  }

  /** Have an incomplete answer continued. @param {string} id @param {AnswerOptions} [options] */
  continue(id, options = {}) {
    return this.#answer(`${message(id)}/continue`, {}, options);
  }

  /** Read an answer from its beginning. @param {string} id @param {AnswerOptions} [options] */
  follow(id, options = {}) {
    return new Answer(this, { id }, options);
  }

  /** Stop an answer; what was written is kept. @param {string} id @param {CallOptions} [options] @returns {Promise<Message>} */
  stop(id, options) {
    return this.call("POST", `${message(id)}/stop`, options);
  }

  /** A message as it is now. @param {string} id @param {CallOptions} [options] @returns {Promise<Message>} */
  message(id, options) {
    return this.call("GET", message(id), options);
  }

  /** A new conversation. @param {{title?: string, system?: string}} [fields] @param {CallOptions} [options] @returns {Promise<Json>} */
  createConversation(fields = {}, { signal, key = newKey() } = {}) {
    return this.call("POST", "/api/conversations", { signal, body: fields, key });
  }

  /** The newest conversations. @param {{limit?: number, cursor?: string}} [query] @param {CallOptions} [options] @returns {Promise<Page>} */
  conversations(query = {}, options) {
    return this.call("GET", `/api/conversations${queryOf(query)}`, options);
  }

  /** A conversation with one branch. @param {string} id @param {{leaf?: string, limit?: number, before?: string}} [query] @param {CallOptions} [options] @returns {Promise<Json>} */
  conversation(id, query = {}, options) {
    return this.call("GET", `${conversationAt(id)}${queryOf(query)}`, options);
  }

  /** Conversations with all these words. @param {string} q @param {{limit?: number, cursor?: string}} [query] @param {CallOptions} [options] @returns {Promise<Page>} */
  search(q, query = {}, options) {
    return this.call("GET", `/api/search${queryOf({ q, ...query })}`, options);
  }

  /** The models that can be asked. @param {CallOptions} [options] @returns {Promise<Json>} */
  models(options) {
    return this.call("GET", "/api/models", options);
  }

  /**
   * On a page of the service: begin a session with an account, whose cookie the browser keeps. Tried once.
   * @param {string} login @param {string} password @param {CallOptions} [options] @returns {Promise<null>}
   */
  signIn(login, password, options) {
    return this.callOnce("POST", "/api/sign-in", { ...options, body: { login, password } });
  }

  /** End this session, or those of all browsers. @param {{everywhere?: boolean}} [fields] @param {CallOptions} [options] @returns {Promise<null>} */
  signOut({ everywhere = false } = {}, options) {
    return this.call("POST", "/api/sign-out", { ...options, body: { everywhere } });
  }

  /**
   * Give the user of this session another password; their other sessions end. Tried once.
   * @param {string} current @param {string} fresh @param {CallOptions} [options] @returns {Promise<null>}
   */
  changePassword(current, fresh, options) {
    return this.callOnce("POST", "/api/user/password", { ...options, body: { current, new: fresh } });
  }

  /** The tokens used today and this month (UTC), and the budgets. @param {CallOptions} [options] @returns {Promise<Json>} */
  usage(options) {
    return this.call("GET", "/api/usage", options);
  }

  /**
   * Let a user, or without one whoever has the link, read a conversation. The link's `token` is one for this client,
   * and `path` a page of the service. Tried once: repeated it would be a second share.
   * @param {string} id @param {{user?: string, days?: number}} [fields] @param {CallOptions} [options] @returns {Promise<Share>}
   */
  share(id, fields = {}, options) {
    return this.callOnce("POST", `${conversationAt(id)}/shares`, { ...options, body: fields });
  }

  /** The shares of a conversation. @param {string} id @param {CallOptions} [options] @returns {Promise<Share[]>} */
  async shares(id, options) {
    return (await this.call("GET", `${conversationAt(id)}/shares`, options)).items;
  }

  /** Revoke a share. @param {string} id @param {CallOptions} [options] @returns {Promise<null>} */
  revokeShare(id, options) {
    return this.call("DELETE", `/api/shares/${encodeURIComponent(id)}`, options);
  }

  /** The conversations that others share. @param {CallOptions} [options] @returns {Promise<Json[]>} */
  async shared(options) {
    return (await this.call("GET", "/api/shared", options)).items;
  }

  /**
   * Everything of the user, to be saved: as JSON lines ("jsonl") or Markdown ("markdown"). Rejects if it was cut.
   * @param {string} [format] @param {CallOptions} [options] @returns {Promise<Blob>}
   */
  async exportAll(format = "jsonl", options) {
    const response = await this.open("GET", `/api/export${queryOf({ format })}`, { ...options });
    if (response.status !== 200) {
      const { status, headers } = response;
      throw refusal({ status, headers, text: await response.text() });
    }
    const all = await response.blob();
    const last = (await all.slice(-200).text()).trimEnd().split("\n").at(-1) ?? "";
    if (!/^\{"type": ?"end"|This is the end of the export\.$/.test(last))
      throw new OutliveError(0, "unreachable", "The export was cut.");
    return all;
  }

  /** @param {string} path @param {Json} fields @param {AnswerOptions} options */
  #answer(path, fields, { model, options, key = newKey(), ...more }) {
    const body = { ...fields, ...(model ? { model } : {}), ...(options ? { options } : {}) };
    return new Answer(this, { question: { path, body, key } }, more).begin();
  }

  /**
   * Any call, repeated until there is a response; its JSON, null for a 204. Only for what may be repeated:
   * what creates something takes a `key`. Throws OutliveError.
   * @param {string} method @param {string} path @param {CallOptions} [options] @returns {Promise<any>}
   */
  async call(method, path, { key, ...more } = {}) {
    const source = {};
    const begun = Date.now();
    let silence = SILENCE;
    try {
      for (let wait = PAUSE; ; wait = Math.min(wait * 2, PAUSE_MAX)) {
        const tried = Date.now();
        /** @type {OutliveError} */
        let failure;
        try {
          return await this.callOnce(method, path, { key, silence, ...more });
        } catch (error) {
          if (!(error instanceof OutliveError) || !error.passes(begun + this.patience - Date.now())) throw error;
          failure = error;
        }
        if (Date.now() - tried >= silence) silence = Math.min(2 * silence, SILENCE_MAX);
        this.onTrouble?.(source, true);
        await pause(Math.max(wait, 1000 * (failure.retryAfter ?? 0)), more.signal);
        more.signal?.throwIfAborted?.();
      }
    } finally {
      this.onTrouble?.(source, false);
    }
  }

  /** The same, tried once. @param {string} method @param {string} path @param {CallOptions} [options] @returns {Promise<any>} */
  async callOnce(method, path, { key, silence = SILENCE, ...more } = {}) {
    const headers = key ? { "Idempotency-Key": key } : {};
    /** @type {Whole} */
    let response;
    try {
      response = await this.#transport(...(await this.#request(method, path, { headers, silence, ...more })));
      if (response.status === 204) return null;
      if (response.status >= 200 && response.status < 300) return JSON.parse(response.text);
    } catch (error) {
      if (more.signal?.aborted) throw error;
      response = NOTHING;
    }
    throw refusal(response);
  }

  /** A response that is read as it comes. @param {string} method @param {string} path @param {Json} init */
  async open(method, path, init) {
    return fetch(...(await this.#request(method, path, init)));
  }

  /** @param {string} method @param {string} path @param {Json} init @returns {Promise<[string, any]>} */
  async #request(method, path, { headers, body, ...more }) {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    const csrf = method !== "GET" && !token && csrfToken(this.#url);
    const sent = {
      Accept: "application/json",
      ...(csrf ? { "Outlive-CSRF": csrf } : {}),
      ...this.#headers,
      ...headers,
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    };
    const data = body === undefined ? undefined : JSON.stringify(body);
    return [this.#url + path, { ...more, method, headers: sent, body: data, cache: "no-store" }];
  }
}

/**
 * On a page of the service itself: the CSRF token of the session that its cookie names, which changes need.
 * @param {string} url
 */
function csrfToken(url) {
  const { document, location } = globalThis;
  if (!document || (url && new URL(url, location.href).origin !== location.origin)) return null;
  return document.cookie.match(/(?:^|; )(?:__Host-)?outlive_csrf=([0-9a-f]{64})/)?.[1];
}

/** @param {string} id */
const message = (id) => `/api/messages/${encodeURIComponent(id)}`;
/** @param {string} id */
const conversationAt = (id) => `/api/conversations/${encodeURIComponent(id)}`;

/** `?name=value&…`, without empty values. @param {Json} values */
export function queryOf(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
