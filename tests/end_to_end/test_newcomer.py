"""A newcomer's first minute: one command, a real model, a closed tab, a whole answer."""

import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from local import data_dirs, model
from local.processes import Command, spawn
from tests.client import OPEN, Client, proof
from tests.end_to_end.browser import Person
from tests.rig import eventually

QUESTION = "Tell me a very short story about a lighthouse."
#: The small model is read from disk, and shares the processor with everything else.
START_SECONDS, ANSWER_SECONDS = 120, 120


@pytest.fixture
def service(browser: Browser) -> Iterator[dict[str, Any]]:
    """`outlive up`, nothing configured: what outlive.json says."""
    assert model.installed(), "the model's wheels are not here; ./outlive test brings them"
    with data_dirs.temporary() as home:
        output, ready = home / "up.txt", home / "outlive.json"
        words = [sys.executable, "-m", "local", "up", "--data", str(home), "--port", "0"]
        up = spawn(Command([*words, "--no-flower"], output))
        try:
            eventually(lambda: ready.exists() or up.poll() is not None, START_SECONDS)
            assert ready.exists(), output.read_text()
            yield json.loads(ready.read_text())
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(20)


def test_an_answer_of_the_small_model_survives_a_closed_tab(
    service: dict[str, Any], browser: Browser
) -> None:
    person = Person.of(browser, service["web"]["url"], viewport={"width": 900, "height": 620})
    tab = person.open()
    expect(tab.page.locator("#empty")).to_contain_text("a tiny model")
    tab.ask(QUESTION)
    begun = tab.written(120, ANSWER_SECONDS)
    place = tab.path
    tab.close()

    with Client(service["web"]["url"]) as client:
        tab = person.open(place)
        assert tab.written(len(begun), ANSWER_SECONDS).startswith(begun)
        answer = tab.answer.get_attribute("data-id") or ""
        eventually(lambda: client.message(answer)["status"] not in OPEN, ANSWER_SECONDS)
        text = tab.finished()

        message = client.message(answer)
        assert message["model"] == model.NAME
        assert (text, *proof(text)) == (message["text"], message["length"], message["sha256"])
    expect(tab.answers).to_have_count(1)
    assert person.mishaps == []
    person.context.close()
