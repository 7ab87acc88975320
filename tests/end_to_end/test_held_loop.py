"""Answers made to block the loop of a web process, and with it all of its other clients."""

import re

import pytest

import scripted
from tests.client import Client
from tests.rig import eventually

pytestmark = pytest.mark.usefixtures("worker")

#: Each fence makes its lexer take exponential time.
HELD = {
    "quoted": ('> ```scala\n> "' + "\\" * 34 + "\n> ```\n") * 140,
    "one after the other": ('```fish\n"""' + "\\" * 60 + "\n```\n\n") * 140,
}


def turns(client: Client) -> tuple[int, int]:
    """The seconds that web's loop was observed for, and those with a turn of over 0.25 s: both of
    one page, as there are more by the time of the next."""
    page = client.http.get("/metrics").text
    observed, quick = (
        sum(
            int(float(value))
            for value in re.findall(
                rf'^outlive_loop_lag_seconds_bucket{{le="{re.escape(below)}",process="web"}} (.*)$',
                page,
                re.MULTILINE,
            )
        )
        for below in ("+Inf", "0.25")
    )
    return observed, observed - quick


@pytest.mark.failure(55)
@pytest.mark.parametrize("name", HELD)
def test_no_answers_markdown_blocks_the_web_process(client: Client, name: str) -> None:
    steps = (scripted.say(HELD[name]), scripted.finish(), scripted.done())
    question = scripted.script(*steps, tag=name)
    _, held_before = turns(client)
    place = client.conversation()
    other = client.ask(
        scripted.script(scripted.long(2_000, rate=500), scripted.finish(), scripted.done())
    )

    message_id = client.ask(question, place)
    with client.http.stream("GET", f"/api/messages/{message_id}/blocks/stream") as stream:
        shown = "".join(stream.iter_text())
    page = client.http.get(f"/api/conversations/{place}/turns").json()
    seen, _ = turns(client)
    eventually(lambda: turns(client)[0] >= seen + 2)  # observed once a second

    assert "event: end" in shown
    assert page["items"][-1]["blocks"]
    assert client.http.get("/healthz").status_code == 200
    assert turns(client)[1] == held_before
    eventually(lambda: client.message(other)["status"] == "DONE")
