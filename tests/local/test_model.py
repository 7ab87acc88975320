"""The small real model that comes along: it speaks OpenAI's dialect, and keeps secrets."""

import json
import urllib.request
from collections.abc import Iterator

import pytest

from local import model
from local.model import Model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    assert model.installed(), "the model's wheels are not here; ./outlive test brings them"
    with Model(tmp_path_factory.mktemp("model")) as server:
        yield server


def chunks(server: Model, question: str) -> list[dict[str, object]]:
    """A whole streamed answer, as its chunks."""
    asked = {
        "model": model.NAME,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 16,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        f"{server.url}/chat/completions",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        lines = [line.decode().strip() for line in answer]
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def test_the_small_model_streams_an_answer_under_its_own_name(server: Model) -> None:
    answer = chunks(server, "Why is the sky blue?")

    assert {chunk["model"] for chunk in answer} == {model.NAME}
    assert len([chunk for chunk in answer if chunk["choices"]]) > 3
    assert answer[-1]["usage"]


def test_questions_do_not_reach_the_models_log(server: Model) -> None:
    chunks(server, "My secret is PURPLE-HIPPO-7.")

    log = server.log.read_text()

    assert "listens at" in log
    assert "HIPPO" not in log


def test_each_stream_may_use_the_whole_context(server: Model) -> None:
    with urllib.request.urlopen(f"{server.url.removesuffix('/v1')}/slots", timeout=30) as answer:
        slots = json.load(answer)

    assert [slot["n_ctx"] for slot in slots] == [model.CONTEXT] * model.STREAMS
