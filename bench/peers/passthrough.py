"""The peer "passthrough": what is usually written first. Nothing outlives the request.

gunicorn --worker-class gevent --workers 1 bench.peers.passthrough:app
"""

import json
from collections.abc import Iterator

import openai
from flask import Flask, Response, request

app = Flask(__name__)
client = openai.OpenAI()


@app.get("/ready")
def ready() -> str:
    """Whether it is there."""
    return "ok"


@app.post("/ask")
def ask() -> Response:
    """The provider's answer, chunk by chunk."""
    prompt = request.get_json()["prompt"]

    def events() -> Iterator[str]:
        stream = client.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": prompt}], stream=True
        )
        for chunk in stream:
            text = chunk.choices[0].delta.content
            if text:
                yield f'data: {{"text":{json.dumps(text)}}}\n\n'
        yield "data: [DONE]\n\n"

    return Response(events(), content_type="text/event-stream")
