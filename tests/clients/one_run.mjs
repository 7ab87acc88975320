/**
 * Clients of five dialects that follow one answer, as they are on npm: `node one_run.mjs`.
 *
 * Reads a JSON list of {client, url, message, conversation} from standard input; each url is a link
 * that cuts. Writes one line of JSON for each: {client, text} or {client, failed}. What a client
 * leaves to its user after a cut (come back with the last id, offset or number) is done here.
 */
import { fetchServerSentEvents, ChatClient } from "@tanstack/ai-client";
import { stream as durableStream } from "@durable-streams/client";
import { AbstractChat, DefaultChatTransport } from "ai";
import { EventSource } from "eventsource-5";
import OpenAI from "openai";
import { createOutliveFetch } from "./outlive-fetch.js";

/** Milliseconds between two tries. */
const SOON = 20;
/** Milliseconds after which TanStack's client has given a join up, or its answer has ended. */
const GIVEN_UP = 3000;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const until = async (ready) => {
  while (!ready()) await sleep(SOON);
};
const textOf = (parts) =>
  parts.filter(({ type }) => type === "text").map(({ text, content }) => text ?? content).join("");

const CLIENTS = {
  EventSource: ({ url, message }) =>
    new Promise((resolve) => {
      let text = "";
      const source = new EventSource(`${url}/api/messages/${message}/stream`);
      source.addEventListener("delta", ({ data }) => {
        const { kind, text: piece } = JSON.parse(data);
        if (kind === "text") text += piece;
      });
      source.addEventListener("end", () => {
        source.close();
        resolve(text);
      });
    }),

  async useChat({ url, conversation }) {
    const transport = new DefaultChatTransport({ api: `${url}/api/chat`, fetch: createOutliveFetch() });
    const state = {
      messages: [],
      status: "ready",
      error: undefined,
      pushMessage: (message) => (state.messages = [...state.messages, message]),
      popMessage: () => (state.messages = state.messages.slice(0, -1)),
      replaceMessage: (index, message) =>
        (state.messages = state.messages.with(index, structuredClone(message))),
      snapshot: (value) => structuredClone(value),
    };
    class Chat extends AbstractChat {}
    const chat = new Chat({ id: conversation, transport, state });
    await chat.resumeStream();
    if (chat.error) throw chat.error;
    return textOf(chat.messages.at(-1).parts);
  },

  /** A join that has no event for two seconds is given up in silence: its user reloads the page. */
  async TanStack({ url, message, conversation }) {
    for (;;) {
      const errors = [];
      const client = new ChatClient({
        connection: fetchServerSentEvents(`${url}/ag-ui`, { reconnect: { delayMs: SOON } }),
        threadId: conversation,
        persistence: true,
        onError: (error) => errors.push(error),
      });
      client.attach();
      let idle = 0;
      await until(() => errors.length || (idle = client.getIsLoading() ? 0 : idle + SOON) > GIVEN_UP);
      client.dispose();
      if (errors.length) throw errors[0];
      const read = textOf(client.getMessages().filter(({ role }) => role === "assistant").at(-1)?.parts ?? []);
      const { status, text } = await (await fetch(`${url}/api/messages/${message}`)).json();
      if (status === "DONE" && read === text) return read;
      if (!read.startsWith(text) && !text.startsWith(read)) throw new Error(`not a beginning: ${read}`);
    }
  },

  /** A torn response is fatal to it: its user goes on at the last offset. */
  async "Durable Streams"({ url, message }) {
    const items = [];
    let [offset, closed] = ["-1", false];
    while (!closed) {
      try {
        const read = await durableStream({
          url: `${url}/streams/${message}`, live: "sse", json: true, offset, warnOnHttp: false,
        }); // prettier-ignore
        read.subscribeJson((batch) => {
          items.push(...batch.items);
          ({ offset, streamClosed: closed } = batch);
        });
        await read.closed;
      } catch {
        await sleep(SOON);
      }
    }
    return items.map(({ type, delta }) => (type === "text-delta" ? delta : "")).join("");
  },

  async "openai, Responses"({ url, message }) {
    const api = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" });
    let [text, after, ended] = ["", undefined, false];
    while (!ended) {
      try {
        const asked = { stream: true, ...(after !== undefined && { starting_after: after }) };
        for await (const event of await api.responses.retrieve(`resp_${message}`, asked)) {
          after = event.sequence_number;
          if (event.type === "response.output_text.delta") text += event.delta;
          ended ||= event.type === "response.completed";
        }
      } catch (error) {
        if (error.status) throw error;
        await sleep(SOON);
      }
    }
    return text;
  },
};

process.on("unhandledRejection", () => {}); // two of these packages leave one after a cut
let input = "";
for await (const piece of process.stdin) input += piece;
await Promise.all(
  JSON.parse(input).map(async ({ client, ...more }) => {
    const found = await CLIENTS[client](more).then(
      (text) => ({ text }),
      (error) => ({ failed: String(error?.stack ?? error) }),
    );
    process.stdout.write(`${JSON.stringify({ client, ...found })}\n`);
  }),
);
process.exit(0);
