/**
 * OpenAI's package for Node and its Responses: `node responses.mjs`.
 *
 * Reads a JSON list of cases {name, url, ...} from standard input, runs all of them, and writes a
 * line of JSON {name, result} or {name, error} for each.
 */
import OpenAI from "openai";

const MODEL = "scripted";
const TOOLS = [
  { type: "function", name: "look", description: "Looks.", strict: false, parameters: { type: "object", properties: {} } },
];

const sdk = (url, more = {}) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: "anything", maxRetries: 0, ...more });

async function collect(stream, events = []) {
  for await (const event of await stream) events.push(event);
  return events;
}

/** The deltas joined, by kind. */
function texts(events) {
  const found = {};
  for (const { type, delta } of events)
    if (type.endsWith(".delta")) found[type] = (found[type] ?? "") + delta;
  return found;
}
const others = (events) => JSON.stringify(events.filter(({ type }) => !type.endsWith(".delta")));

/** A fetch whose first body is torn after so many events, as a network does it. */
function tearing(most) {
  let torn = false;
  return async (url, init) => {
    const response = await fetch(url, init);
    if (torn) return response;
    torn = true;
    let seen = 0;
    const body = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(
      new TransformStream({
        start() { this.rest = ""; },
        transform(text, controller) {
          this.rest += text;
          for (let place; (place = this.rest.indexOf("\n\n")) >= 0; ) {
            if (seen++ === most) return controller.error(new TypeError("terminated"));
            controller.enqueue(new TextEncoder().encode(this.rest.slice(0, place + 2)));
            this.rest = this.rest.slice(place + 2);
          }
        },
      }),
    );
    return new Response(body, response);
  };
}

const CASES = {
  /** From every number exactly the rest, raw; and the helper, which filters by itself. */
  async everything({ url, question, every }) {
    const api = sdk(url);
    const whole = await collect(
      api.responses.create({ model: MODEL, input: question, tools: TOOLS, background: true, stream: true }),
    );
    const { id } = whole[0].response;
    const last = whole.at(-1).sequence_number;
    const wrong = [];
    for (let number = 0; number <= last; number += every) {
      const rest = await collect(api.responses.retrieve(id, { stream: true, starting_after: number }));
      const expected = whole.filter((event) => event.sequence_number > number);
      const known = whole.some((event) => event.sequence_number === number);
      const same = others(rest) === others(expected) &&
        (!known || JSON.stringify(texts(rest)) === JSON.stringify(texts(expected)));
      if (!same) wrong.push(number);
    }
    const helped = api.responses.stream({ response_id: id, starting_after: 3 });
    const numbers = [];
    for await (const event of helped) numbers.push(event.sequence_number);
    const final = await helped.finalResponse();
    const items = await api.responses.inputItems.list(id);
    const cancelled = await api.responses.cancel(id);
    await api.responses.delete(id);
    const gone = await api.responses.retrieve(id).catch((error) => error.status);
    return {
      wrong, last, texts: texts(whole), final: final.output_text, types: final.output.map((one) => one.type),
      first: numbers[0], items: items.data.length, cancelled: cancelled.status, gone,
    };
  },
  /** The helper from the beginning. */
  async helper({ url, question }) {
    const stream = sdk(url).responses.stream({ model: MODEL, input: question, tools: TOOLS });
    const final = await stream.finalResponse();
    return { text: final.output_text, status: final.status };
  },
  /** A tool loop by `previous_response_id`, and what it was called with. */
  async tools({ url, question, result }) {
    const api = sdk(url);
    const first = await api.responses.create({ model: MODEL, input: question, tools: TOOLS });
    const [call] = first.output.filter(({ type }) => type === "function_call");
    const second = await api.responses.create({
      model: MODEL, previous_response_id: first.id, tools: TOOLS,
      input: [{ type: "function_call_output", call_id: call.call_id, output: result }],
    });
    return { arguments: call.arguments, text: second.output_text };
  },
  /** Torn after so many events, and gone on with. */
  async cut({ url, question, most }) {
    const api = sdk(url, { fetch: tearing(most) });
    const events = [];
    let error = null;
    const options = { headers: { "Idempotency-Key": crypto.randomUUID() } };
    const sent = { model: MODEL, input: question, background: true, stream: true };
    try {
      await collect(api.responses.create(sent, options), events);
    } catch (caught) {
      error = caught.message;
    }
    if (events.length) {
      const { id } = events[0].response;
      const starting_after = events.at(-1).sequence_number;
      await collect(api.responses.retrieve(id, { stream: true, starting_after }), events);
    } else {
      await collect(api.responses.create(sent, options), events); // a repeat joins
    }
    return { error, texts: texts(events), end: events.at(-1).type };
  },
  /** How an end is shown: raw, by the helper, and by retrieve. */
  async end({ url, question, cancels }) {
    const api = sdk(url);
    const begun = await api.responses.create({ model: MODEL, input: question, background: true });
    const stream = await api.responses.retrieve(begun.id, { stream: true });
    const events = [];
    for await (const event of stream) {
      events.push(event);
      if (cancels && event.type.endsWith(".delta")) await api.responses.cancel(begun.id);
    }
    const final = await api.responses.stream({ response_id: begun.id }).finalResponse();
    const { status } = await api.responses.retrieve(begun.id);
    return { type: events.at(-1).type, helper: final.status, status, text: final.output_text };
  },
};

let input = "";
for await (const piece of process.stdin) input += piece;
await Promise.all(
  JSON.parse(input).map(async (one) => {
    let line;
    try {
      line = { name: one.name, result: await CASES[one.case](one) };
    } catch (error) {
      line = { name: one.name, error: String(error?.stack ?? error) };
    }
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }),
);
