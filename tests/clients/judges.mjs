/**
 * OpenAI's package from npm, as its documentation shows it, for `judging.py`: `node judges.mjs`.
 *
 * Speaks as `judges.py` does: lines of JSON {id, client, base_url, question, tools} come, and lines
 * {id, text}, {id, end} or {id, error} go. All cases run at once.
 */
import { createInterface } from "node:readline";
import OpenAI from "openai";

const ADD = {
  type: "function",
  function: {
    name: "add",
    description: "The sum",
    parameters: {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      required: ["a", "b"],
    },
  },
};
const write = (value) => process.stdout.write(JSON.stringify(value) + "\n");

const results = (calls) =>
  calls.map((call) => {
    const { a, b } = JSON.parse(call.function.arguments);
    return { role: "tool", tool_call_id: call.id, content: String(a + b) };
  });

const CLIENTS = {
  "openai, Node": async (api, { id, question, tools, stream = true }) => {
    const asked = { model: "scripted", ...(tools ? { tools: [ADD] } : {}) };
    let messages = [{ role: "user", content: question }];
    if (!stream) {
      const whole = await api.chat.completions.create({ ...asked, messages });
      return { text: whole.choices[0].message.content };
    }
    for (;;) {
      const calls = [];
      let [text, finish, tokens] = ["", null, null];
      const stream = await api.chat.completions.create({
        ...asked, messages, stream: true, stream_options: { include_usage: true },
      });
      for await (const chunk of stream) {
        tokens = chunk.usage?.total_tokens ?? tokens;
        for (const { delta, finish_reason } of chunk.choices) {
          finish = finish_reason ?? finish;
          text += delta.content ?? "";
          if (delta.content) write({ id, text: delta.content });
          for (const piece of delta.tool_calls ?? []) {
            calls[piece.index] ??= { id: piece.id, type: "function", function: { name: "", arguments: "" } };
            calls[piece.index].function.name += piece.function.name ?? "";
            calls[piece.index].function.arguments += piece.function.arguments ?? "";
          }
        }
      }
      if (!calls.length) return { text, finish, tokens };
      for (const call of calls) {
        call.function.arguments = JSON.stringify(JSON.parse(call.function.arguments));
      }
      messages = [...messages, { role: "assistant", content: text || null, tool_calls: calls },
        ...results(calls)];
    }
  },

  "openai, Node helper": async (api, { id, question, tools }) => {
    const asked = { model: "scripted", ...(tools ? { tools: [ADD] } : {}) };
    let messages = [{ role: "user", content: question }];
    for (;;) {
      const stream = api.chat.completions.stream({
        ...asked, messages, stream_options: { include_usage: true },
      });
      stream.on("content", (text) => write({ id, text }));
      const whole = await stream.finalChatCompletion();
      const [{ message, finish_reason }] = whole.choices;
      if (!message.tool_calls?.length) {
        return { text: message.content, finish: finish_reason, tokens: whole.usage?.total_tokens };
      }
      messages = [...messages, message, ...results(message.tool_calls)];
    }
  },
};

async function run(sent) {
  const api = new OpenAI({
    baseURL: sent.base_url, apiKey: sent.key ?? "anything", maxRetries: sent.retries ?? 0,
  });
  try {
    write({ id: sent.id, end: await CLIENTS[sent.client](api, sent) });
  } catch (error) {
    const { code = null, status = null, message } = error;
    write({ id: sent.id, error: { kind: error.constructor.name, code, status, says: message } });
  }
}

for await (const line of createInterface({ input: process.stdin })) run(JSON.parse(line));
