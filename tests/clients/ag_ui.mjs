/**
 * HttpAgent of AG-UI (1.0.0 and 0.0.59) and TanStack's ChatClient: `node ag_ui.mjs`.
 *
 * Reads a JSON list of cases from standard input and runs all of them. Writes a line of JSON for
 * each thing that happens: {name, at} when a case has come to a place that its test names, and
 * {name, result} at its end. The last line has what clients said with console.warn.
 */
import { createInterface } from "node:readline";
import * as agui1 from "@ag-ui/client";
import * as agui0 from "@ag-ui/client-0";
import { ChatClient, clientTools, fetchHttpStream, fetchServerSentEvents } from "@tanstack/ai-client";
import { toolDefinition } from "@tanstack/ai/client";

/** Milliseconds that a case may take. */
const PATIENCE = 60_000;

const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));
console.error = () => {}; // HttpAgent reports a torn body there, too
// HttpAgent leaks one when a body is torn.
process.on("unhandledRejection", () => {});

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
async function until(condition) {
  while (!condition()) await sleep(5);
}

/**
 * A fetch whose bodies are torn after `count(number of the connection)` events, as a network does.
 * After the last event only once: a client that repeats because of that could do so for ever.
 */
function tearing(count, requests = []) {
  let ended = false;
  return async (url, init = {}) => {
    const sent = { method: init.method ?? "GET", url: String(url), headers: init.headers };
    const number = requests.push(sent);
    const control = new AbortController();
    init.signal?.addEventListener("abort", () => control.abort());
    const response = await fetch(url, { ...init, signal: control.signal });
    sent.message = response.headers.get("outlive-message-id");
    const most = count(number);
    const type = response.headers.get("content-type") ?? "";
    if (!most || !/event-stream|ndjson/.test(type)) return response;
    const end = type.includes("ndjson") ? "\n" : "\n\n";
    const reader = response.body.getReader();
    let text = "";
    let seen = 0;
    const decoder = new TextDecoder();
    const encoder = new TextEncoder();
    const body = new ReadableStream({
      async pull(controller) {
        for (;;) {
          const place = text.indexOf(end);
          if (place >= 0) {
            const frame = text.slice(0, place + end.length);
            text = text.slice(place + end.length);
            controller.enqueue(encoder.encode(frame));
            const last = /"RUN_(FINISHED|ERROR)"/.test(frame);
            if (frame.includes("{") && ++seen >= most && !(last && ended)) {
              ended ||= last;
              control.abort();
              // What was enqueued is lost by an error in the same turn.
              await sleep(2);
              return controller.error(new TypeError("network error"));
            }
            return;
          }
          const { done, value } = await reader.read();
          if (done) {
            if (text) controller.enqueue(encoder.encode(text));
            return controller.close();
          }
          text += decoder.decode(value, { stream: true });
        }
      },
    });
    return new Response(body, { status: response.status, headers: response.headers });
  };
}

// --- HttpAgent ------------------------------------------------------------------------------------

const AGENTS = { "1.0.0": agui1.HttpAgent, "0.0.59": agui0.HttpAgent };

/** Runs once; what a subscriber is told, and how the call ended. */
async function runAgent(agent, parameters = {}, hooks = {}) {
  const told = { events: [], errors: [], outcome: null, failure: null };
  try {
    await agent.runAgent(parameters, {
      onEvent: ({ event }) => void told.events.push(event.type),
      onRunErrorEvent: ({ event }) => void told.errors.push({ message: event.message, code: event.code }),
      onRunFinishedEvent: ({ event, outcome }) => void (told.outcome = { outcome, result: event.result }),
      ...hooks,
    });
  } catch (error) {
    told.failure = String(error);
  }
  return told;
}

const said = (agent) =>
  agent.messages.map(({ role, content, toolCalls }) => ({
    role,
    content,
    ...(toolCalls && { calls: toolCalls.map(({ id, function: called }) => [id, called.name, called.arguments]) }),
  }));

const user = (content) => ({ id: crypto.randomUUID(), role: "user", content });

const HTTP_AGENT = {
  async run({ agent, question }) {
    agent.messages = [user(question)];
    return [await runAgent(agent)];
  },

  /** The client runs the tools, sends their results, and asks once more. */
  async tools({ agent, question, next }) {
    agent.messages = [user(question)];
    const parameters = { tools: [{ name: "add", description: "Adds.", parameters: { type: "object" } }] };
    const first = await runAgent(agent, parameters);
    for (const call of agent.messages.at(-1).toolCalls ?? [])
      agent.messages = [
        ...agent.messages,
        { id: crypto.randomUUID(), role: "tool", toolCallId: call.id, content: "3" },
      ];
    const second = await runAgent(agent, parameters);
    agent.messages = [...agent.messages, user(next)];
    return [first, second, await runAgent(agent, parameters)];
  },

  async stop({ agent, question, url }) {
    agent.messages = [user(question)];
    const runId = crypto.randomUUID();
    let stopped;
    const stop = () =>
      (stopped ??= fetch(`${url}/stop`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ runId }),
      }));
    const told = await runAgent(agent, { runId }, { onTextMessageContentEvent: () => void stop() });
    return [told, (await stopped).status];
  },

  /** Cut after some events, and run again; with `late`, when the answer has ended meanwhile. */
  async join({ agent, question, cut, name, late, url }) {
    agent.messages = [user(question)];
    const requests = [];
    agent.fetch = tearing((number) => (number === 1 ? cut : undefined), requests);
    const first = await runAgent(agent);
    const shown = said(agent);
    if (late) {
      say({ name, at: "cut" });
      const stream = new URL(`/api/messages/${requests[0].message}/stream`, url);
      await (await fetch(stream)).text();
    }
    let seen = false;
    const onEvent = ({ event }) => {
      if (!seen && event.type !== "RUN_STARTED") {
        seen = true;
        say({ name, at: "joined" });
      }
    };
    const second = await runAgent(agent, {}, { onEvent });
    return [first, shown, second];
  },
};

async function httpAgent(job) {
  const agent = new AGENTS[job.client]({ url: job.url, threadId: job.thread });
  const results = await HTTP_AGENT[job.kind]({ ...job, agent });
  return { results, messages: said(agent) };
}

// --- TanStack -------------------------------------------------------------------------------------

const ADAPTERS = {
  sse: (url, fetchClient) => fetchServerSentEvents(url, { fetchClient, reconnect: { delayMs: 20 } }),
  lines: (url, fetchClient) =>
    fetchHttpStream(`${url}?format=ndjson`, { fetchClient, reconnect: { delayMs: 20 } }),
};

const add = toolDefinition({
  name: "add",
  description: "Adds.",
  inputSchema: { type: "object", properties: { a: { type: "number" }, b: { type: "number" } } },
}).client(({ a, b }) => String(a + b));

function chat(job, count, more = {}) {
  const requests = [];
  const errors = [];
  const client = new ChatClient({
    connection: ADAPTERS[job.adapter](job.url, tearing(count, requests)),
    threadId: job.thread,
    onError: (error) => errors.push(String(error)),
    ...more,
  });
  client.attach();
  return { client, requests, errors };
}

const parts = (client) =>
  client.getMessages().map(({ role, parts }) => ({
    role,
    parts: parts.map(({ type, content, name, arguments: called, output }) => ({
      type,
      ...(content !== undefined && { content }),
      ...(name !== undefined && { name, called, output }),
    })),
  }));

const textOf = (client) =>
  client
    .getMessages()
    .filter(({ role }) => role === "assistant")
    .flatMap(({ parts }) => parts.filter(({ type }) => type === "text").map(({ content }) => content))
    .join("");

const state = ({ client, requests, errors }) => ({
  messages: parts(client),
  status: client.getStatus(),
  posts: requests.filter(({ method }) => method === "POST").length,
  gets: requests.filter(({ method }) => method === "GET").length,
  errors,
});

const TANSTACK = {
  async send(job) {
    const open = chat(job, () => job.cut, job.tools ? { tools: clientTools(add) } : {});
    await open.client.sendMessage(job.question);
    await until(() => !open.client.getIsLoading());
    return [state(open)];
  },

  /** The tab is closed in the middle, and another opens the same conversation. */
  async reload(job) {
    const first = chat(job, () => undefined);
    const sending = first.client.sendMessage(job.question);
    await until(() => textOf(first.client).length > 0);
    first.client.stop();
    await sending.catch(() => {});
    const second = chat(job, () => job.cut, { persistence: true });
    await until(() => textOf(second.client).length > 0 && second.client.getIsLoading());
    say({ name: job.name, at: "reloaded" });
    await until(() => textOf(second.client).includes(job.last) || second.errors.length);
    await until(() => !second.client.getIsLoading());
    return [state(first), state(second)];
  },

  async stop(job) {
    const open = chat(job, () => undefined);
    const sending = open.client.sendMessage(job.question);
    await until(() => textOf(open.client).length > 0);
    const { status } = await fetch(`${job.url}/stop`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ runId: open.requests[0].headers["X-Run-Id"] }),
    });
    await sending;
    await until(() => !open.client.getIsLoading());
    return [state(open), status];
  },

  /** Follows an answer while its test breaks something, and opens the conversation once more. */
  async broken(job) {
    const open = chat(job, () => undefined);
    const sending = open.client.sendMessage(job.question);
    await until(() => (job.shown ? textOf(open.client).length > 0 : open.requests.length > 0));
    say({ name: job.name, at: "begun" });
    await sending;
    await until(() => !open.client.getIsLoading());
    const again = chat(job, () => undefined, { persistence: true });
    await until(() => again.client.getMessages().length > 0);
    return [state(open), state(again)];
  },
};

async function tanstack(job) {
  return { results: await TANSTACK[job.kind](job) };
}

// --- all of them ----------------------------------------------------------------------------------

let input = "";
for await (const line of createInterface({ input: process.stdin })) input += line;
await Promise.all(
  JSON.parse(input).map(async (job) => {
    let result;
    try {
      const late = sleep(PATIENCE).then(() => ({ failure: `not done after ${PATIENCE} ms` }));
      result = await Promise.race([(job.client ? httpAgent : tanstack)(job), late]);
    } catch (error) {
      result = { failure: String(error.stack ?? error) };
    }
    say({ name: job.name, result });
  }),
);
say({ name: null, result: warnings });
process.exit(0);
