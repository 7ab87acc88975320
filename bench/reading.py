"""Reading a provider's stream: raw, as the worker does, against an SDK object per chunk."""

import openai

import scripted
from bench.timing import side_by_side
from shared.settings import Settings
from worker.provider.client import ChatRequest, Provider

CHARACTERS = 20_000
CHUNK = 5
QUESTION = scripted.script(
    scripted.long(CHARACTERS, chunk=CHUNK), scripted.finish(), scripted.usage(), scripted.done()
)


def main() -> None:
    """The same stream of 600-byte chunks from a real HTTP server, both ways."""
    with scripted.start_scripted() as provider:
        settings = Settings(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="bench")
        ours = Provider(settings)
        client = openai.OpenAI(base_url=provider.url, api_key="bench")
        turns = [{"role": "user", "content": QUESTION}]

        def raw() -> int:
            length = 0

            def write(kind: str, text: str, meta: object = None, *, fresh: bool = False) -> None:  # noqa: ARG001
                nonlocal length
                length += len(text)

            ours.stream(ChatRequest("bench", turns, {}), write)
            assert length == CHARACTERS
            return CHARACTERS // CHUNK

        def objects() -> int:
            stream = client.chat.completions.create(
                model="bench",
                messages=[{"role": "user", "content": QUESTION}],
                stream=True,
            )
            length = sum(len(c.choices[0].delta.content or "") for c in stream if c.choices)
            assert length == CHARACTERS
            return CHARACTERS // CHUNK

        side_by_side({"raw (worker/provider/client.py)": raw, "openai's objects": objects}, "chunk")
