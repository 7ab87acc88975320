/**
 * The AI SDK's chats, driven by a test: `node use_chat.mjs`.
 *
 * Reads commands as lines of JSON, {id, do, ...}, and answers each with {id, found} or {id, failed}.
 * Chats of versions 6 and 7 are those of the packages; only their state, which a framework would
 * hold, is here. Their `fetch` says of a torn response what a browser says ("network error"): what
 * Node says is not known to the client as a lost connection.
 */
import { createInterface } from "node:readline";
import * as ai6 from "ai-6";
import * as ai7 from "ai";
import { WorkflowChatTransport } from "@ai-sdk/workflow/client";
import { createOutliveFetch } from "./outlive-fetch.js";

const AI = { 6: ai6, 7: ai7, workflow: ai7 };
const chats = new Map();
const requests = [];

/** What React's state is to `useChat`. */
class State {
  status = "ready";
  error = undefined;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };
  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };
  replaceMessage = (index, message) => {
    this.messages = [
      ...this.messages.slice(0, index),
      structuredClone(message),
      ...this.messages.slice(index + 1),
    ];
  };
  snapshot = (value) => structuredClone(value);
}

/** `fetch` that notes what was asked, and breaks as a browser's does. */
async function browserFetch(input, init) {
  const asked = { url: String(input), method: init?.method ?? "GET", status: 0 };
  requests.push(asked);
  let response;
  try {
    response = await fetch(input, init);
  } catch (error) {
    throw init?.signal?.aborted ? error : new TypeError("Failed to fetch");
  }
  asked.status = response.status;
  if (!response.body) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(init?.signal?.aborted ? error : new TypeError("network error"));
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

/** `chat` is our name of it; `named` is its own id, which several pages may have. */
function make({ version, api, chat, named = chat, messages = [], body, outlive, last, tools, automatic }) {
  const sdk = AI[version];
  const send = outlive ? createOutliveFetch({ fetch: browserFetch }) : browserFetch;
  const options = { api, fetch: send, body };
  if (last) {
    options.prepareSendMessagesRequest = ({ id, messages, trigger, messageId }) => ({
      body: { id, message: messages.at(-1), trigger, messageId, ...body },
    });
  }
  const transport =
    version === "workflow"
      ? new WorkflowChatTransport({ ...options, prepareSendMessagesRequest: ({ id, messages }) => ({ body: { id, messages } }) })
      : new sdk.DefaultChatTransport(options);
  const seen = { errors: [], ends: [], calls: [] };
  class Chat extends sdk.AbstractChat {
    constructor() {
      super({
        id: named,
        transport,
        state: new State(messages),
        onError: (error) => seen.errors.push(error.message),
        onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
          seen.ends.push({ isAbort, isDisconnect, isError, finishReason: finishReason ?? null }),
        onToolCall: ({ toolCall }) => {
          seen.calls.push([toolCall.toolCallId, toolCall.toolName, toolCall.input]);
          if (tools) {
            // Not awaited, as the SDK's documentation warns: it would wait for itself.
            const given = { tool: toolCall.toolName, toolCallId: toolCall.toolCallId };
            made.addToolOutput({ ...given, ...tools[toolCall.toolName] });
          }
        },
        sendAutomaticallyWhen: automatic ? sdk.lastAssistantMessageIsCompleteWithToolCalls : undefined,
      });
    }
  }
  const made = new Chat();
  chats.set(chat, Object.assign(made, { seen }));
}

/** Wait until a chat is as it should be. */
async function until(check) {
  for (const deadline = Date.now() + 20_000; !check(); ) {
    if (Date.now() > deadline) throw new Error("waited too long");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const text = (chat) =>
  (chat.messages.at(-1)?.parts ?? [])
    .filter(({ type }) => type === "text")
    .map((part) => part.text)
    .join("");

const COMMANDS = {
  make: (chat, command) => make(command),
  send: (chat, { text, files, parts, messageId }) =>
    chat.sendMessage(parts ? { role: "user", parts } : { text, files, messageId }),
  /** The same, and go on while it is answered. */
  begin: (chat, { text }) => void chat.sendMessage({ text }),
  again: (chat, { messageId }) => chat.regenerate(messageId ? { messageId } : undefined),
  resume: (chat) => chat.resumeStream(),
  beginResume: (chat) => void chat.resumeStream(),
  visible: (chat) => chat["~resumeStreamIfDisconnected"](),
  stop: (chat) => chat.stop(),
  output: (chat, { given }) => chat.addToolOutput(given),
  shows: (chat, { text: wanted }) => until(() => text(chat).startsWith(wanted)),
  is: (chat, { status }) => until(() => chat.status === status),
  state: (chat) => {
    const { messages, status, error, seen } = chat;
    return { messages, status, error: error?.message ?? null, text: text(chat), ...seen };
  },
  requests: () => requests.splice(0),
  pause: (chat, { milliseconds }) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};

process.on("unhandledRejection", (error) => process.stderr.write(`unhandled: ${error?.stack}\n`));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  // Not awaited: a command that waits lets others through.
  (async () => COMMANDS[command.do](chats.get(command.chat), command))().then(
    (found) => process.stdout.write(`${JSON.stringify({ id: command.id, found: found ?? null })}\n`),
    (error) => process.stdout.write(`${JSON.stringify({ id: command.id, failed: error.stack })}\n`),
  );
}
process.exit(0);
