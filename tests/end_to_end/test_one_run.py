"""One answer, followed by eight kinds of clients at once, each over a link that cuts at random.

It is asked through `/v1/chat/completions`, and read as chunks, responses, UI messages, AG-UI
events, a durable stream, our own events, and by curl. All packages are unmodified; what they leave
to their user after a cut is done as their documentation says. Each must have the text of the row.

`ONE_RUN_ROUNDS=20` runs it as often; a failure names the seed, and `ONE_RUN_SEED` repeats it.
"""

import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from openai import OpenAI

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import done, finish, hold, reasoning, say, script, usage
from shared.sse import Decoder
from tests.client import Client, new_id, proof
from tests.cutting import CutPoint, CuttingProxy
from tests.foreign import need, need_node, npm_packages
from tests.rig import PATIENCE, Rig, eventually

ROUNDS: Final = int(os.environ.get("ONE_RUN_ROUNDS", "1"))
NODE: Final = ("EventSource", "useChat", "TanStack", "Durable Streams", "openai, Responses")
#: Cuts of each link.
CUTS: Final = 4
#: Everything that is more than a byte, and whatever a careless reader would split.
PIECES: Final = (
    "你好，世界。",
    "👩‍👧 and 😀",
    " words,\n\n",
    "e\u0301\u2028\x85",
    '"data: \\n"',
    "[DONE] ",
)
TEXT: Final = "".join(f"{number}{piece}" for number in range(100) for piece in PIECES)
_STREAM: Final = re.compile(
    rb"GET /(?:api/messages/[^ ]*/stream|api/chat/[^ ]*/stream|v1/responses/|ag-ui\?|streams/)"
    rb"|POST /(?:v1/chat/completions|ag-ui) "
)


def seeds() -> list[int]:
    """The seed of each round: one that is named, or new ones."""
    named = os.environ.get("ONE_RUN_SEED")
    return (
        [int(named)] if named else [random.SystemRandom().randrange(10**6) for _ in range(ROUNDS)]
    )


@pytest.fixture(scope="module")
def place() -> Path:
    need_node(20)
    place = npm_packages(ROOT / "tests" / "clients", "clients", "one_run.mjs")
    module = ROOT / "web" / "page" / "static" / "outlive-fetch.js"
    (place / module.name).write_bytes(module.read_bytes())
    return place


def by_node(place: Path, jobs: list[dict[str, str]]) -> dict[str, Any]:
    """What the clients of npm read, in one process."""
    try:
        output = subprocess.run(
            [need("node"), "one_run.mjs"], cwd=place, input=json.dumps(jobs).encode(),
            capture_output=True, timeout=3 * PATIENCE, check=True,
            env={**os.environ, "no_proxy": "*", "NODE_NO_WARNINGS": "1"},
        ).stdout  # fmt: skip
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""  # of the clients that have ended
    lines = [json.loads(line) for line in output.splitlines()]
    return {line["client"]: line.get("text", line.get("failed")) for line in lines}


def by_curl(url: str, message: str) -> str:
    """curl in a loop, which comes back with the last id."""
    text, last, ended = "", "0", False
    while not ended:
        words = [
            need("curl"),
            "-sN",
            "-H",
            f"Last-Event-ID: {last}",
            f"{url}/api/messages/{message}/stream",
        ]
        read = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False).stdout
        decoder = Decoder()
        for event in decoder.feed(read):
            if event.event == "delta":
                data = json.loads(event.data)
                text += data["text"] if data["kind"] == "text" else ""
                last = event.id
            ended = ended or event.event == "end"
    return text


def by_responses(url: str, message: str) -> str:
    """The openai package, which resumes by sequence number."""
    text, ended = "", False
    more: dict[str, Any] = {}
    event: Any
    with OpenAI(base_url=f"{url}/v1", api_key="any") as api:
        while not ended:
            try:
                for event in api.responses.retrieve(f"resp_{message}", stream=True, **more):
                    more = {"starting_after": event.sequence_number}
                    if event.type == "response.output_text.delta":
                        text += event.delta
                    ended = ended or event.type == "response.completed"
            except openai.APIConnectionError:
                continue
    return text


def by_chunks(url: str, request: dict[str, Any]) -> str:
    """The openai package, which repeats the request with its key and reads from the beginning."""
    with OpenAI(base_url=f"{url}/v1", api_key="any") as api:
        while True:
            try:
                chunks = list(api.chat.completions.create(**request))
            except openai.APIConnectionError:
                continue
            return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


@pytest.mark.alone  # TanStack's client gives a run up that says nothing for two seconds
@pytest.mark.parametrize("number", range(ROUNDS))
def test_clients_of_eight_kinds_read_the_same_text_of_one_run(
    rig: Rig, web: Web, worker: Worker, client: Client, place: Path, number: int
) -> None:
    seed = seeds()[0]
    dice = random.Random(seed)
    gate, halfway = f"one {new_id()}", f"halfway {new_id()}"
    question = script(
        reasoning("Hm. "), hold(gate), say(TEXT[: len(TEXT) // 2], chunk=(1, 9), rate=1500),
        hold(halfway), say(TEXT[len(TEXT) // 2 :], chunk=(1, 9), rate=1500),
        finish(), usage(), done(),
    )  # fmt: skip
    request: dict[str, Any] = {
        "model": "scripted",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "extra_headers": {"Idempotency-Key": f"one run {number} {seed}"},
    }
    with ExitStack() as stack:
        enter = stack.enter_context
        links: dict[str, CuttingProxy] = {}

        def link(name: str) -> str:
            plan = [
                CutPoint(b"data:", dice.randint(1, 12), dice.randint(0, 90)) for _ in range(CUTS)
            ]
            links[name] = enter(
                CuttingProxy(web.url, plan, dice.choice(("reset", "close")), streams=_STREAM)
            )
            return links[name].url

        with OpenAI(base_url=f"{web.url}/v1", api_key="any") as api:
            asked = api.chat.completions.with_raw_response.create(**request)
        message = asked.headers["Outlive-Message-Id"]
        names = {"message": message, "conversation": asked.headers["Outlive-Conversation-Id"]}
        pool = enter(ThreadPoolExecutor(4))
        jobs = [{"client": name, "url": link(name), **names} for name in NODE]
        nodes = pool.submit(by_node, place, jobs)
        readers: dict[str, Callable[[], str]] = {
            "curl": partial(by_curl, link("curl"), message),
            "Responses": partial(by_responses, link("Responses"), message),
            "chunks": partial(by_chunks, link("chunks"), request),
        }
        reads = {name: pool.submit(read) for name, read in readers.items()}
        eventually(lambda: all(one.streams for one in links.values()), 2 * PATIENCE)
        rig.scripted.release(gate)
        rig.scripted.wait_held(halfway)
        eventually(lambda: all(one.cuts for one in links.values()))
        rig.scripted.release(halfway)
        found = {**nodes.result(), **{name: read.result() for name, read in reads.items()}}

    row = client.ended(message)
    assert (row["status"], row["text"]) == ("DONE", TEXT)
    assert (row["length"], row["sha256"]) == proof("Hm. " + TEXT)
    wrong = {name: found.get(name, "no end") for name in links if found.get(name) != TEXT}
    assert not wrong, f"ONE_RUN_SEED={seed}"
    assert all(one.cuts for one in links.values()), f"ONE_RUN_SEED={seed}"
    assert len(rig.scripted.wait_requests(1, contains=question)) == 1
