/**
 * A drop-in `fetch` for the AI SDK's chat transports: a response that breaks goes on where it was.
 *
 *     import { createOutliveFetch } from "https://your-outlive/static/outlive-fetch.js";
 *     const transport = new DefaultChatTransport({ api: "/api/chat", fetch: createOutliveFetch() });
 *
 * What it does, and `useChat` alone does not:
 *
 * - A response that was cut is continued from the last event that was read, without a gap and
 *   without a repeat. The chat sees one response. It waits while the page is hidden or offline.
 * - A question whose response never began is sent again under the same Idempotency-Key, so it is
 *   asked once.
 * - `stop()` reaches the server. By itself the client only closes its response.
 *
 * It has no dependencies and needs no build. It is the only file: copy it if you like.
 */

/**
 * @typedef {object} OutliveFetchOptions
 * @property {typeof fetch} [fetch] what sends requests; by default that of the page
 * @property {number} [giveUpAfter] milliseconds without a byte, while the page is shown, after
 *   which a response breaks as it would without this file; by default five minutes
 */

const RUN = "Outlive-Message-Id";
const CONVERSATION = "Outlive-Conversation-Id";
/** Milliseconds before the first and at most before any other attempt. */
const FIRST_DELAY = 100;
const LONGEST_DELAY = 5_000;
/** Milliseconds in which another request for the same chat says that an abort was no stop. */
const REPLACED_WITHIN = 100;
/** Milliseconds for which a question is sent again that may not have arrived. */
const ASKING = 30_000;
/** Statuses after which the same request may succeed: of a question, and of the rest of an answer. */
const PASSING = [502, 503, 504];
const PASSING_FOR_REST = [408, 425, 429, 500, ...PASSING];

/**
 * Make a `fetch` for `DefaultChatTransport` or `HttpChatTransport`.
 * @param {OutliveFetchOptions} [options]
 * @returns {typeof fetch}
 */
export function createOutliveFetch(options = {}) {
  const send = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  const giveUpAfter = options.giveUpAfter ?? 300_000;
  /** The newest request of each chat's stream, by its address. @type {Map<string, symbol>} */
  const newest = new Map();

  return async function outliveFetch(input, init = {}) {
    const method = (init.method ?? "GET").toUpperCase();
    const url = new URL(input instanceof Request ? input.url : String(input), baseAddress());
    const resumes = method === "GET" && url.pathname.endsWith("/stream");
    if (input instanceof Request || !(resumes || method === "POST")) return send(input, init);

    const request = Symbol(url.href);
    if (resumes) newest.set(url.href, request);
    const headers = new Headers(init.headers);
    if (method === "POST" && !headers.has("Idempotency-Key")) {
      headers.set("Idempotency-Key", randomId());
    }
    const { signal, ...rest } = init;
    signal?.throwIfAborted();
    // The server has to learn of a stop, so what it names is read first: our own signal ends the
    // request, not the caller's.
    const ours = new AbortController();
    const run = new Run(send, { ...rest, method, headers, signal: ours.signal }, url, giveUpAfter);

    const isStop = async () => {
      if (!resumes) return true;
      await pause(REPLACED_WITHIN);
      return newest.get(url.href) === request;
    };
    const aborted = new Promise((_, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    aborted.catch(() => {});
    const begun = run.begin();
    signal?.addEventListener(
      "abort",
      async () => {
        const stops = await isStop();
        // It may not have begun: a question that was sent is answered.
        const response = await begun.catch(() => undefined);
        ours.abort();
        if (stops && response?.ok && response.status !== 204) await run.stop().catch(() => {});
      },
      { once: true },
    );
    const response = await Promise.race([begun, aborted]);
    if (!response.ok || !response.body || !run.id) return response;
    return new Response(run.body(response.body, signal ?? undefined), {
      status: response.status,
      statusText: response.statusText,
      headers: response.headers,
    });
  };
}

/** `createOutliveFetch()` with the page's own `fetch`. */
export const outliveFetch = createOutliveFetch();

/** One answer, read over as many responses as it takes. */
class Run {
  /**
   * @param {typeof fetch} send
   * @param {RequestInit & {headers: Headers}} init the first request
   * @param {URL} url where that goes
   * @param {number} giveUpAfter
   */
  constructor(send, init, url, giveUpAfter) {
    this.send = send;
    this.init = init;
    this.url = url;
    this.giveUpAfter = giveUpAfter;
    /** The answer and its conversation, as the server names them. */
    this.id = "";
    this.conversation = "";
    /** The id of the last event that was passed on. */
    this.last = "";
    this.ended = false;
  }

  /** The first response; a question that may not have arrived is sent again. */
  async begin() {
    const attempt = () => this.send(this.url.href, this.init);
    const response = await this.persist(attempt, PASSING, Math.min(ASKING, this.giveUpAfter));
    this.id = response.headers.get(RUN) ?? "";
    this.conversation = response.headers.get(CONVERSATION) ?? "";
    return response;
  }

  /**
   * Try until a response comes that another attempt would not change.
   * @param {() => Promise<Response>} attempt
   * @param {number[]} passing statuses that may pass
   * @param {number} milliseconds for how long
   */
  async persist(attempt, passing, milliseconds) {
    let delay = FIRST_DELAY;
    let deadline = Date.now() + milliseconds;
    for (;;) {
      try {
        const response = await attempt();
        if (!passing.includes(response.status) || Date.now() > deadline) return response;
        await response.body?.cancel();
        delay = Math.max(delay, 1_000 * Number(response.headers.get("Retry-After") ?? 0));
      } catch (error) {
        if (this.init.signal?.aborted || Date.now() > deadline) throw error;
      }
      await pause(delay * (0.5 + Math.random() / 2));
      const hidden = await untilShown();
      deadline += hidden;
      delay = hidden ? FIRST_DELAY : Math.min(2 * delay, LONGEST_DELAY);
    }
  }

  /** The rest of the answer; undefined if there is none. */
  async reconnect() {
    if (!this.last) {
      // Nothing was passed on, so the request may be repeated: a question has its key.
      const response = await this.begin();
      if (!response.ok || !response.body) throw new Error(await response.text());
      return response.body;
    }
    const url = this.address("stream");
    url.searchParams.set("message", this.id);
    url.searchParams.set("after", this.last);
    const headers = new Headers(this.init.headers);
    for (const name of ["Content-Type", "Idempotency-Key"]) headers.delete(name);
    const { body, ...rest } = this.init;
    const attempt = () => this.send(url.href, { ...rest, method: "GET", headers });
    const response = await this.persist(attempt, PASSING_FOR_REST, this.giveUpAfter);
    if (response.status === 204) return undefined;
    if (!response.ok || !response.body) throw new Error(await response.text());
    return response.body;
  }

  /** Stop the answer on the server. */
  async stop() {
    const headers = new Headers(this.init.headers);
    headers.delete("Idempotency-Key");
    headers.set("Content-Type", "application/json");
    await this.send(this.address("stop").href, {
      method: "POST",
      headers,
      credentials: this.init.credentials,
      body: JSON.stringify({ messageId: this.id }),
      keepalive: true,
    });
  }

  /** @param {"stream" | "stop"} what */
  address(what) {
    const url = new URL(this.url);
    const api =
      this.init.method === "POST" ? url.pathname.replace(/\/$/, "") : url.pathname.replace(/\/[^/]*\/stream$/, "");
    url.pathname = `${api}/${this.conversation}/${what}`;
    return url;
  }

  /**
   * The events of the answer as one body.
   * @param {ReadableStream<Uint8Array>} first
   * @param {AbortSignal} [signal] the caller's
   */
  body(first, signal) {
    /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
    let reader = first.getReader();
    let events = new Events();
    /** When anything was passed on last, and how many connections have brought nothing since. */
    let progress = Date.now();
    let empty = 0;
    /** After a cut. @param {unknown} error */
    const connect = async (error) => {
      if (Date.now() - progress > this.giveUpAfter) throw error ?? new TypeError("network error");
      if (empty > 0) await pause(Math.min(FIRST_DELAY * 2 ** empty, LONGEST_DELAY));
      progress += await untilShown();
      empty += 1;
      events = new Events();
      return (await this.reconnect())?.getReader();
    };
    return new ReadableStream({
      start: (controller) => {
        signal?.addEventListener("abort", () => controller.error(signal.reason), { once: true });
      },
      pull: async (controller) => {
        for (;;) {
          let chunk, broken;
          try {
            chunk = await reader?.read();
          } catch (error) {
            broken = error;
          }
          if (signal?.aborted) return;
          if (chunk === undefined || chunk.done) {
            if (!this.ended) reader = await connect(broken);
            if (signal?.aborted) return;
            if (this.ended || reader === undefined) return controller.close();
            continue; // what there was of an unfinished event is sent again
          }
          const whole = events.feed(chunk.value);
          this.last = events.last || this.last;
          this.ended ||= events.ended;
          if (whole.length) {
            progress = Date.now();
            empty = 0;
            return controller.enqueue(whole);
          }
        }
      },
      cancel: (reason) => reader?.cancel(reason),
    });
  }
}

/** Bytes of events: passes on those up to the last one that has an id, which it knows. */
class Events {
  /** @type {Uint8Array} */
  rest = new Uint8Array();
  last = "";
  /** The end of the answer has come: another response has nothing more. */
  ended = false;

  /**
   * @param {Uint8Array} chunk
   * @returns {Uint8Array}
   */
  feed(chunk) {
    const bytes = new Uint8Array(this.rest.length + chunk.length);
    bytes.set(this.rest);
    bytes.set(chunk, this.rest.length);
    // All that we are sent is ASCII, so a character is a byte.
    const text = new TextDecoder("latin1").decode(bytes);
    let end = 0;
    for (const { 0: event, index } of text.matchAll(/[^]*?\n\n/g)) {
      const id = /^id: (.*)$/m.exec(event)?.[1];
      const isDone = event.includes("data: [DONE]\n");
      if (id === undefined && !isDone) continue;
      this.last = id ?? this.last;
      this.ended ||= isDone || /^data: \{"type":"(finish|error)"/m.test(event);
      end = index + event.length;
    }
    this.rest = bytes.slice(end);
    return bytes.subarray(0, end);
  }
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Wait while the page is hidden or offline; for how many milliseconds it was. */
async function untilShown() {
  const since = Date.now();
  const { document: page } = globalThis;
  while (page?.visibilityState === "hidden" || (page && globalThis.navigator?.onLine === false)) {
    await new Promise((resolve) => {
      const woken = () => {
        page.removeEventListener("visibilitychange", woken);
        globalThis.removeEventListener("online", woken);
        resolve(undefined);
      };
      page.addEventListener("visibilitychange", woken);
      globalThis.addEventListener("online", woken);
    });
  }
  return Date.now() - since;
}

/** What relative addresses are relative to; outside of a page there are none. */
function baseAddress() {
  return globalThis.location?.href;
}

/** `crypto.randomUUID` is there for secure pages only. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
