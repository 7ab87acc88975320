// The peer "follower": npm resumable-stream as its README shows it, on plain node:http.
//
//   node follower.cjs producer PORT    POST /ask {"prompt"}: has an answer written; names it
//   node follower.cjs reader PORT      GET /follow/ID: resumes it, from the beginning
//
// Two processes, because a reader of a resumable stream is in general somewhere else. The client
// that asks gets the name and reads as others do; the producer reads the stream to its end anyway.
"use strict";
const http = require("node:http");
const { randomUUID } = require("node:crypto");
const { createResumableStreamContext } = require("resumable-stream");

const context = createResumableStreamContext({ waitUntil: (promise) => promise.catch(() => {}) });
const PROVIDER = process.env.OPENAI_BASE_URL;
const DONE = "data: [DONE]\n\n";

// The provider's text as events of our own, one by one, as an application sends them.
function events() {
  let rest = "";
  return new TransformStream({
    transform(piece, controller) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
        const text = JSON.parse(line.slice(6)).choices[0]?.delta?.content;
        if (text) controller.enqueue(`data: ${JSON.stringify({ text })}\n\n`);
      }
    },
    flush(controller) {
      controller.enqueue(DONE);
    },
  });
}

// A stream, at once, of what will come: the library wants it before there is a response.
function written(prompt) {
  const { readable, writable } = events();
  fetch(`${PROVIDER}/chat/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({
      model: "bench", stream: true, messages: [{ role: "user", content: prompt }],
    }),
  })
    .then((response) => response.body.pipeThrough(new TextDecoderStream()).pipeTo(writable))
    .catch((error) => writable.abort(error).catch(() => {}));
  return readable;
}

async function drained(stream) {
  const reader = stream.getReader();
  while (!(await reader.read()).done);
}

async function ask(request, response) {
  let body = "";
  for await (const piece of request) body += piece;
  const id = randomUUID();
  const stream = await context.createNewResumableStream(id, () => written(JSON.parse(body).prompt));
  drained(stream).catch(() => {});
  response.writeHead(202, { "Outlive-Message-Id": id, "Content-Length": 0 }).end();
}

async function follow(request, response) {
  const stream = await context.resumeExistingStream(request.url.split("/").pop());
  if (!stream) {
    response.writeHead(stream === null ? 422 : 404).end();
    return;
  }
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
  const reader = stream.getReader();
  response.on("close", () => reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (!response.write(value)) {
      await new Promise((resolve) => {
        response.once("drain", resolve);
        response.once("close", resolve);
      });
    }
  }
  response.end();
}

const serve = process.argv[2] === "producer" ? ask : follow;
const server = http.createServer((request, response) => {
  if (request.url === "/ready") {
    response.end("ok");
    return;
  }
  serve(request, response).catch(() => response.destroy());
});
server.listen({ port: Number(process.argv[3]), host: "127.0.0.1", backlog: 2048 });
