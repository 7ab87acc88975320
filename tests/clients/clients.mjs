/**
 * Stock clients from npm, each as its own documentation shows it: `node clients.mjs`.
 *
 * Reads a JSON list of {client, url} from standard input and follows every url until the stream has
 * ended for good. Writes one line of JSON for each: what it read.
 */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const { EventSource: EventSource3 } = await import("eventsource-3");
const { EventSource: EventSource4 } = await import("eventsource-4");
const { EventSource: EventSource5 } = await import("eventsource-5");
const { EventSource: Undici6 } = await import("undici-6");
const { EventSource: Undici7 } = await import("undici-7");
const { createEventSource } = await import("eventsource-client");

// fetch-event-source is made for browsers and asks for these.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = require("@microsoft/fetch-event-source");

/** What one reader knows: the text, where it stands, and the ends that it got. */
class Reading {
  text = "";
  position = 0;
  ends = [];
  /** Frames that did not start where the reader stood. */
  elsewhere = 0;

  /** A position counts code points. Two lines: eventsource 1 and 2 keep unfinished data over a cut. */
  delta(data) {
    for (const line of data.split("\n")) {
      const { start, text } = JSON.parse(line);
      const characters = [...text];
      if (start !== this.position) this.elsewhere += 1;
      this.text += characters.slice(Math.max(0, this.position - start)).join("");
      this.position = start + characters.length;
    }
  }

  end(data) {
    this.ends.push(JSON.parse(data));
  }
}

/** Everything that looks like a browser's EventSource. It comes back after the end and gets a 204. */
function follow(Kind, url, reading) {
  return new Promise((resolve) => {
    const source = new Kind(url);
    source.addEventListener("delta", ({ data }) => reading.delta(data));
    source.addEventListener("end", ({ data }) => reading.end(data));
    // Closed for good; some set readyState only after they have reported the error.
    source.addEventListener("error", () => setImmediate(() => source.readyState === 2 && resolve()));
  });
}

const CLIENTS = {
  "eventsource 1.1.2": (url, reading) => follow(require("eventsource-1"), url, reading),
  "eventsource 2.0.2": (url, reading) => follow(require("eventsource-2"), url, reading),
  "eventsource 3.0.7": (url, reading) => follow(EventSource3, url, reading),
  "eventsource 4.1.1": (url, reading) => follow(EventSource4, url, reading),
  "eventsource 5.1.5": (url, reading) => follow(EventSource5, url, reading),
  "undici 6": (url, reading) => follow(Undici6, url, reading),
  "undici 7": (url, reading) => follow(Undici7, url, reading),
  "Node's own": (url, reading) => follow(globalThis.EventSource, url, reading),

  "eventsource-client": async (url, reading) => {
    const source = createEventSource(url);
    for await (const { event, data } of source) {
      if (event === "delta") reading.delta(data);
      if (event === "end") {
        reading.end(data);
        source.close();
        return;
      }
    }
  },

  "fetch-event-source": (url, reading) => {
    const control = new AbortController();
    return fetchEventSource(url, {
      signal: control.signal,
      onmessage({ event, data }) {
        if (event === "delta") reading.delta(data);
        if (event === "end") {
          reading.end(data);
          control.abort();
        }
      },
      onclose() {
        throw new Error("the response ended, the answer did not: come back");
      },
      onerror() {}, // or it would give up after the first cut
    });
  },
};

let input = "";
for await (const line of createInterface({ input: process.stdin })) input += line;
await Promise.all(
  JSON.parse(input).map(async ({ client, url }) => {
    const reading = new Reading();
    let failure = null;
    try {
      await CLIENTS[client](url, reading);
    } catch (error) {
      failure = String(error);
    }
    process.stdout.write(`${JSON.stringify({ client, url, ...reading, failure })}\n`);
  }),
);
process.exit(0);
