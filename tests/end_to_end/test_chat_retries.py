"""OpenAI's SDKs repeat a request by themselves: one provider call, and the whole text.

They repeat after a cut before the headers, and that of Python also after a cut in a body that is no
stream. In both cases they have shown nothing yet. CHAT_RETRIES=100 has 100 of each.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from local.programs import Web, Worker
from scripted import done, finish, hold, say, script
from tests.client import new_id
from tests.clients.judging import Heard, Judges, judging
from tests.cutting import CutPoint, CuttingProxy
from tests.end_to_end.test_chat_clients import HERE
from tests.foreign import need_node, npm_packages, python_packages
from tests.rig import Rig
from tests.tcp_proxy import TcpProxy

COUNT: Final = int(os.environ.get("CHAT_RETRIES", "3"))
#: Requests at a time.
BATCH: Final = 20
TEXT: Final = "Once and whole. 😀"
CLIENTS: Final = ("openai", "openai, async", "openai, Node")


@pytest.fixture(scope="module")
def sdks() -> Iterator[dict[str, Judges]]:
    """The process that each client runs in."""
    node, place = need_node(20), npm_packages(HERE, "clients", "judges.mjs")
    python = python_packages(HERE / "judges.txt", "judges")
    with ExitStack() as stack:
        by_python = stack.enter_context(judging([python, HERE / "judges.py"], place))
        by_node = stack.enter_context(judging([node, "judges.mjs"], place))
        yield {name: by_node if "Node" in name else by_python for name in CLIENTS}


def batches() -> Iterator[list[str]]:
    """Names of questions, some at a time."""
    names = [new_id() for _ in range(COUNT)]
    return (names[first : first + BATCH] for first in range(0, COUNT, BATCH))


def were_asked_once(rig: Rig, asked: dict[str, Heard]) -> None:
    for name, heard in asked.items():
        heard.wait()
        assert heard.error is None, heard.error
        assert heard.end is not None
        assert heard.end["text"] == TEXT
        assert len(rig.scripted.requests(contains=name)) == 1


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_cut_before_the_headers(
    rig: Rig, web: Web, worker: Worker, sdks: dict[str, Judges], client: str, streams: bool
) -> None:
    for names in batches():
        with TcpProxy(web.url) as link:
            asked = {
                name: sdks[client].ask(
                    client, link.url, script(hold(name), say(TEXT), finish(), done()),
                    stream=streams, retries=2,
                )
                for name in names
            }  # fmt: skip
            for name in names:
                rig.scripted.wait_held(name)

            link.cut()
            # the answers of half of them end before they are asked for again
            for name in names[::2]:
                rig.scripted.release(name)
            link.mend()
            for name in names[1::2]:
                rig.scripted.release(name)

            were_asked_once(rig, asked)


@pytest.mark.parametrize("client", ["openai", "openai, async"])
def test_a_cut_in_a_body_that_is_no_stream(
    rig: Rig, web: Web, worker: Worker, sdks: dict[str, Judges], client: str
) -> None:
    for names in batches():
        cuts = [CutPoint(b'"content":', 1, 14) for _ in names]
        with CuttingProxy(web.url, cuts) as link:
            asked = {
                name: sdks[client].ask(
                    client, link.url, script(say(TEXT), finish(), done(), tag=name),
                    stream=False, retries=2,
                )
                for name in names
            }  # fmt: skip

            were_asked_once(rig, asked)

            assert link.cuts == len(names)
