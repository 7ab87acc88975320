/**
 * Clients of Durable Streams, as they are on npm: `node durable.mjs`.
 *
 * Reads a JSON list of {name, do, ...} from standard input, does all of it at once, and writes one
 * line of JSON for each: {name, found} or {name, failed}. Before those it writes {begun: true}, when
 * all reads have had their first response.
 */
import { stream } from "@durable-streams/client";
import { createDurableChatTransport } from "@durable-streams/aisdk-transport";
import * as ai6 from "ai-6";
import * as ai7 from "ai";

const AI = { 6: ai6, 7: ai7 };

let unbegun = 0;

/** Something that has begun when the function was called some times. */
function beginning(times) {
  unbegun += 1;
  return () => {
    times -= 1;
    if (times === 0 && !--unbegun) process.stdout.write('{"begun":true}\n');
  };
}

/** `fetch` that notes the status and the way of each read. */
function noting(requests) {
  const begun = beginning(1);
  return async (input, init) => {
    const response = await fetch(input, init);
    begun();
    const live = new URL(String(input)).searchParams.get("live") ?? "catch-up";
    requests.push(`${live} ${response.status}`);
    return response;
  };
}

const readOf = (json, items) =>
  json
    ? {
        text: items.map((chunk) => chunk.delta ?? "").join(""),
        types: items.map((chunk) => chunk.type),
      }
    : { text: items.join("") };

const DO = {
  /** Follows a stream to its end. */
  async read({ url, live, json }) {
    const requests = [];
    const items = [];
    const response = await stream({ url, live, json, fetch: noting(requests), warnOnHttp: false });
    for await (const item of json ? response.jsonStream() : response.textStream()) items.push(item);
    return { ...readOf(json, items), closed: response.streamClosed, requests };
  },

  /** The same, but it is left after some batches, and gone on with at its offset. */
  async leave({ url, live, json, batches }) {
    const requests = [];
    const fetch = noting(requests);
    const items = [];
    let [offset, closed, parts] = ["-1", false, 0];
    while (!closed) {
      const leave = new AbortController();
      const response = await stream({
        url, live, json, offset, fetch, signal: leave.signal, warnOnHttp: false,
      }); // prettier-ignore
      let seen = 0;
      await new Promise((resolve, reject) => {
        const take = (batch) => {
          if (leave.signal.aborted) return;
          items.push(...(json ? batch.items : [batch.text]));
          [offset, closed] = [batch.offset, batch.streamClosed];
          seen += 1;
          if (!closed && seen < batches) return;
          leave.abort();
          resolve();
        };
        if (json) response.subscribeJson(take);
        else response.subscribeText(take);
        response.closed.catch((error) => leave.signal.aborted || reject(error));
      });
      parts += 1;
    }
    return { ...readOf(json, items), closed, parts, requests };
  },

  /** A failed read, as its user sees it. */
  async fail({ url, live }) {
    try {
      await stream({ url, live, json: true, warnOnHttp: false });
    } catch (error) {
      return { status: error.status, code: error.code };
    }
    return { status: 200 };
  },

  /**
   * A chat that asks and, with `leave`, goes on in another page, which has what was shown by then.
   * Its tools are run by the page.
   */
  async chat({ api, version, question, leave = 0, tools = {} }) {
    const made = [];
    const begun = beginning(leave ? 2 : 1);
    const fetchClient = async (input, init) => {
      const response = await fetch(input, init);
      made.push({
        asked: `${init.method} ${response.status}`,
        location: response.headers.get("Location"),
        message: response.headers.get("Outlive-Message-Id"),
      });
      begun();
      return response;
    };
    const transport = createDurableChatTransport({ api, fetchClient });
    const id = crypto.randomUUID();
    const first = chatOf(version, { id, transport, tools });
    const sent = first.sendMessage({ text: question });
    let chat = first;
    let partial = "";
    if (leave) {
      await until(() => first.error || shown(first).length >= leave);
      chat = chatOf(version, { id, transport, tools, messages: structuredClone(first.messages) });
      partial = shown(chat);
      await first.stop();
      await chat.resumeStream();
    }
    await sent;
    const found = stateOf(chat);
    const later = chatOf(version, { id, transport, tools, messages: structuredClone(chat.messages) });
    await later.resumeStream();
    return { ...found, made, partial, later: stateOf(later) };
  },

  /** A refused question, as its user sees it. */
  async refused({ api, version }) {
    const transport = createDurableChatTransport({ api });
    const chat = chatOf(version, { id: "refused", transport });
    await chat.sendMessage({ parts: [{ type: "data-unknown", data: {} }] });
    return stateOf(chat);
  },
};

const stateOf = (chat) => ({
  status: chat.status,
  error: String(chat.error?.message ?? ""),
  messages: chat.messages,
});

/** What React's state is to `useChat`. */
function chatOf(version, { id, transport, tools = {}, messages = [] }) {
  const state = {
    messages,
    status: "ready",
    error: undefined,
    pushMessage: (message) => (state.messages = [...state.messages, message]),
    popMessage: () => (state.messages = state.messages.slice(0, -1)),
    replaceMessage: (index, message) =>
      (state.messages = state.messages.with(index, structuredClone(message))),
    snapshot: (value) => structuredClone(value),
  };
  class Chat extends AI[version].AbstractChat {}
  const chat = new Chat({
    id,
    transport,
    state,
    onToolCall: ({ toolCall: { toolName: tool, toolCallId } }) =>
      void chat.addToolOutput({ tool, toolCallId, output: tools[tool] }),
    sendAutomaticallyWhen: AI[version].lastAssistantMessageIsCompleteWithToolCalls,
  });
  return chat;
}

const shown = (chat) =>
  (chat.messages.at(-1)?.role === "assistant" ? chat.messages.at(-1).parts : [])
    .map((part) => part.text ?? "")
    .join("");

async function until(ready) {
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 10));
}

let input = "";
for await (const piece of process.stdin) input += piece;
await Promise.all(
  JSON.parse(input).map(async ({ name, do: what, ...more }) => {
    const line = await DO[what](more).then(
      (found) => ({ name, found }),
      (error) => ({ name, failed: String(error?.stack ?? error) }),
    );
    process.stdout.write(JSON.stringify(line) + "\n");
  }),
);
process.exit(0);
