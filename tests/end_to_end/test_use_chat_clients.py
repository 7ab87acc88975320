"""The AI SDK's own chats against `/api/chat`: versions 6 and 7, and the workflow transport.

They come unmodified from npm and run in one Node process (`tests/clients/use_chat.mjs`). What a
chat shows at the end is one message with the exact text, however often it was cut.
"""

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any, Final

import pytest

from local.processes import ROOT, children
from local.programs import Web, Worker
from scripted import done, finish, hold, reasoning, say, script, tool_call, usage, wrong_key
from shared.errors import MESSAGE_ERRORS
from tests.client import Client, new_id, proof
from tests.cutting import CutPoint, CuttingProxy
from tests.foreign import need_node, npm_packages
from tests.rig import PATIENCE, Rig, killing
from tests.stories import NEVER, sweep

VERSIONS = ("6", "7")
#: Events of which one is cut: 1 for all of them.
EVERY: Final = int(os.environ.get("USE_CHAT_EVERY", "5"))
#: Everything that takes more than a byte, and what looks like a frame.
TEXT = '你好 👩‍👧 e\u0301 \u2028\r\n\n"data: \\n" id: 7\n\n[DONE] '
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


class Node:
    """The process with the chats."""

    def __init__(self, words: list[str], place: str) -> None:
        self._process = subprocess.Popen(
            words, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "no_proxy": "*", "NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._waiting.pop(answer["id"])
            if "failed" in answer:
                waiting.set_exception(AssertionError(answer["failed"]))
            else:
                waiting.set_result(answer["found"])

    def begin(self, do: str, **more: Any) -> Future[Any]:
        """A command that is under way."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        found: Future[Any] = Future()
        self._waiting[number] = found
        line = json.dumps({"id": number, "do": do, **more})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return found

    def do(self, do: str, **more: Any) -> Any:
        """What a command finds."""
        return self.begin(do, **more).result(2 * PATIENCE)

    def end(self) -> None:
        """Close its input, which ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Chat:
    """One chat of a version, as a page would have it."""

    def __init__(self, node: Node, url: str, version: str, **more: Any) -> None:
        self.node, self.name = node, more.pop("chat", f"chat {new_id()}")
        node.do("make", chat=self.name, version=version, api=f"{url}/api/chat", **more)

    def do(self, do: str, **more: Any) -> Any:
        return self.node.do(do, chat=self.name, **more)

    def ask(self, text: str) -> dict[str, Any]:
        """The state after the answer."""
        self.do("send", text=text)
        return self.state

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.do("state"))

    @property
    def answer(self) -> str:
        """The id of the last message."""
        return str(self.state["messages"][-1]["id"])


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    program = need_node(20)
    place = npm_packages(ROOT / "tests" / "clients", "clients", "use_chat.mjs")
    module = ROOT / "web" / "page" / "static" / "outlive-fetch.js"
    (place / module.name).write_bytes(module.read_bytes())
    node = Node([program, "use_chat.mjs"], str(place))
    yield node
    node.end()


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def cut_at(web: Web, *plan: CutPoint) -> Iterator[CuttingProxy]:
    with CuttingProxy(web.url, plan) as proxy:
        yield proxy


def shown(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Roles and texts of a chat."""
    return [
        (
            one["role"],
            "".join(part.get("text", "") for part in one["parts"] if part["type"] == "text"),
        )
        for one in state["messages"]
    ]


def test_an_answer_is_one_message_with_the_exact_text(
    node: Node, web: Web, client: Client, worker: Worker, version: str
) -> None:
    question = script(
        reasoning("Hm. "), say(TEXT), say("end"), finish(), usage(), done(), tag=new_id()
    )
    chat = Chat(node, web.url, version)

    state = chat.ask(question)

    assert shown(state) == [("user", question), ("assistant", f"{TEXT}end")]
    assert (state["status"], state["errors"]) == ("ready", [])
    [end] = state["ends"]
    assert {name for name in end if end[name]} == {"finishReason"}
    assert end["finishReason"] == "stop"
    answer = state["messages"][-1]
    assert [(part["type"], part.get("state")) for part in answer["parts"]] == [
        ("step-start", None), ("reasoning", "done"), ("text", "done"),
    ]  # fmt: skip
    message = client.message(answer["id"])
    told = answer["metadata"]["outlive"]
    assert (told["status"], told["length"], told["sha256"]) == (
        "DONE", message["length"], message["sha256"],
    )  # fmt: skip
    assert (told["length"], told["sha256"]) == proof(f"Hm. {TEXT}end")


def test_a_chat_is_one_thread(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    chat = Chat(node, web.url, version)
    for number in range(3):
        chat.ask(script(say(f"Answer {number}"), finish(), done(), tag=new_id()))

    state = chat.state
    place = state["messages"][1]["metadata"]["outlive"]["conversationId"]
    rows = rig.rows("SELECT count(*) AS n FROM messages WHERE conversation_id = :c", c=place)
    assert rows[0].n == 6
    loaded = client.http.get(f"/api/chat/{chat.name}").json()
    assert (loaded["active"], loaded["earlier"]) == (False, False)
    assert shown(loaded) == shown(state)
    assert [one["parts"] for one in loaded["messages"]][1::2] == [
        [{"type": "step-start"}, {"type": "text", "text": f"Answer {number}", "state": "done"}]
        for number in range(3)
    ]


def test_a_page_that_was_closed_shows_the_whole_answer(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    gate = f"reload {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    first = Chat(node, web.url, version)
    first.do("begin", text=question)
    first.do("shows", text=TEXT)
    first.do("stop")  # as a page that closes does: nothing reaches the server
    loaded = client.http.get(f"/api/chat/{first.name}").json()
    assert loaded["active"]
    assert shown(loaded) == [("user", question), ("assistant", TEXT)]

    again = Chat(node, web.url, version, chat=first.name, messages=loaded["messages"])
    again.do("beginResume")
    again.do("is", status="streaming")
    rig.scripted.release(gate)
    again.do("is", status="ready")

    assert shown(again.state) == [("user", question), ("assistant", f"{TEXT}the rest")]


def test_a_page_that_comes_back_after_the_end_shows_the_whole_answer(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    """It loaded what there was, and the answer ended before it resumed."""
    gate = f"late {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    first = Chat(node, web.url, version)
    first.do("begin", text=question)
    first.do("shows", text=TEXT)
    loaded = client.http.get(f"/api/chat/{first.name}").json()
    rig.scripted.release(gate)
    first.do("is", status="ready")

    again = Chat(node, web.url, version, chat=first.name, messages=loaded["messages"])
    again.do("resume")

    assert shown(again.state) == [("user", question), ("assistant", f"{TEXT}the rest")]
    assert shown(first.state) == shown(again.state)


def test_nothing_to_resume_is_no_error(node: Node, web: Web, version: str) -> None:
    chat = Chat(node, web.url, version)

    chat.do("resume")

    assert (chat.state["status"], chat.state["messages"]) == ("ready", [])


def test_a_torn_response_is_resumed_when_the_page_is_shown_again(
    node: Node, web: Web, rig: Rig, worker: Worker, version: str
) -> None:
    gate = f"torn {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    with cut_at(web, CutPoint(b'"the r', 1, 3)) as proxy:
        chat = Chat(node, proxy.url, version)
        chat.do("begin", text=question)
        chat.do("shows", text=TEXT)
        rig.scripted.release(gate)
        chat.do("is", status="error")
        broken = chat.state
        chat.do("visible")

    assert broken["error"] == "network error"
    assert [end["isDisconnect"] for end in broken["ends"]] == [True]
    assert shown(chat.state) == [("user", question), ("assistant", f"{TEXT}the rest")]
    assert chat.state["status"] == "ready"


def test_a_stop_by_the_route_ends_the_answer_for_every_reader(
    node: Node, web: Web, client: Client, worker: Worker, version: str
) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    chat = Chat(node, web.url, version)
    chat.do("begin", text=question)
    chat.do("shows", text="So far")

    answer = client.http.post(f"/api/chat/{chat.name}/stop", json={"messageId": chat.answer})

    assert (answer.status_code, answer.json()["messageId"]) == (202, chat.answer)
    chat.do("is", status="ready")
    state = chat.state
    assert shown(state)[-1] == ("assistant", "So far")
    assert state["messages"][-1]["metadata"]["outlive"]["status"] == "CANCELLED"
    assert [end["finishReason"] for end in state["ends"]] == ["other"]
    assert [part.get("state") for part in state["messages"][-1]["parts"]] == [None, "done"]


def test_another_answer_is_asked_each_time(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    question = script(say("Yes."), finish(), done(), tag=new_id())
    chat = Chat(node, web.url, version)
    ids = [chat.ask(question)["messages"][-1]["id"]]
    for message_id in (None, ids[0], None):
        chat.do("again", messageId=message_id if message_id == ids[-1] else None)
        ids.append(chat.answer)

    assert len(set(ids)) == 4
    assert len(chat.state["messages"]) == 2
    questions = {client.message(one)["parent_id"] for one in ids}
    assert len(questions) == 1
    assert len(rig.scripted.wait_requests(4, contains=question)) == 4


def test_an_answer_that_fails_is_an_error_that_says_why(
    node: Node, web: Web, client: Client, worker: Worker, version: str
) -> None:
    chat = Chat(node, web.url, version)

    state = chat.ask(script(wrong_key(), tag=new_id()))

    assert state["status"] == "error"
    assert state["error"] == client.message(state["messages"][-1]["id"])["error"]["message"]


def test_a_question_that_is_refused_is_a_sentence(node: Node, web: Web, version: str) -> None:
    chat = Chat(node, web.url, version, body={"n": 2})
    state = chat.ask("Why?")
    other = Chat(node, web.url, version)
    other.do("send", parts=[{"type": "data-x", "data": 1}])

    assert state["error"] == (
        "n: This is not passed on: a question has one answer; ask again (retry) for another one"
    )
    assert other.state["error"] == (
        "messages[0].parts[0]: a part of a question is text or file, not data-x."
    )


def test_a_tool_of_the_page_is_run_and_its_result_goes_on_in_the_same_message(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    question = script(
        say("Look: "), tool_call("c1", "add", '{"a": 1.0, "b": 2}'), finish("tool_calls"), done(),
        tag=new_id(), after=[say("It is 3."), finish(), done()],
    )  # fmt: skip
    chat = Chat(
        node, web.url, version, body={"tools": TOOLS}, tools={"add": {"output": {"sum": 3}}},
        automatic=True,
    )  # fmt: skip

    chat.ask(question)
    chat.do("shows", text="Look: It is 3.")
    chat.do("is", status="ready")

    state = chat.state
    assert shown(state) == [("user", question), ("assistant", "Look: It is 3.")]
    assert state["calls"] == [["c1", "add", {"a": 1, "b": 2}]]
    message = state["messages"][-1]
    assert [(part["type"], part.get("state")) for part in message["parts"]] == [
        ("step-start", None), ("text", "done"), ("tool-add", "output-available"),
        ("step-start", None), ("text", "done"),
    ]  # fmt: skip
    [*_, record] = rig.scripted.wait_requests(2, contains=question)
    assert record.request is not None
    assert record.request["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Look: ",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 1.0, "b": 2}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"sum":3}'},
    ]
    # A page that comes back builds the same message, and does not run the tool again.
    loaded = client.http.get(f"/api/chat/{chat.name}").json()["messages"]
    again = Chat(
        node, web.url, version, chat=chat.name, messages=loaded, tools={"add": {"output": "no"}},
        automatic=True,
    )  # fmt: skip
    again.do("resume")
    assert again.state["calls"] == []
    assert [one["id"] for one in again.state["messages"]][1:] == [message["id"]]
    assert stripped(again.state) == stripped(state) == stripped({"messages": loaded})
    again.ask(script(say("Welcome."), finish(), done(), tag=new_id()))
    place = message["metadata"]["outlive"]["conversationId"]
    rows = rig.rows("SELECT count(*) AS n FROM messages WHERE conversation_id = :c", c=place)
    assert rows[0].n == 6


def stripped(state: dict[str, Any]) -> list[Any]:
    """What is shown of the answers' parts."""
    names = ("type", "text", "state", "input", "output", "toolCallId")
    return [
        [{name: part[name] for name in names if name in part} for part in one["parts"]]
        for one in state["messages"]
        if one["role"] == "assistant"
    ]


def test_a_chat_may_send_its_last_message_alone(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    chat = Chat(node, web.url, version, last=True, body={"system": "Be kind."})
    first = script(say("One."), finish(), done(), tag=new_id())
    second = script(say("Two."), finish(), done(), tag=new_id())

    chat.ask(first)
    state = chat.ask(second)
    chat.do("again", messageId=chat.answer)

    assert [text for _, text in shown(state)] == [first, "One.", second, "Two."]
    assert chat.answer != state["messages"][-1]["id"]
    [*_, record] = rig.scripted.wait_requests(2, contains=second)
    assert record.request is not None
    assert [(one["role"], one["content"]) for one in record.request["messages"]] == [
        ("system", "Be kind."), ("user", first), ("assistant", "One."), ("user", second),
    ]  # fmt: skip


def test_an_edited_question_is_a_branch(
    node: Node, web: Web, client: Client, worker: Worker, version: str
) -> None:
    chat = Chat(node, web.url, version)
    state = chat.ask(script(say("One."), finish(), done(), tag=new_id()))
    place = state["messages"][-1]["metadata"]["outlive"]["conversationId"]
    edited = script(say("Two."), finish(), done(), tag=new_id())

    chat.do("send", text=edited, messageId=state["messages"][0]["id"])

    assert shown(chat.state) == [("user", edited), ("assistant", "Two.")]
    turns = client.http.get(f"/api/conversations/{place}").json()["messages"]
    assert [len(one["siblings"]) for one in turns] == [2, 1]


def test_an_image_reaches_the_provider_and_comes_back_with_the_history(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker, version: str
) -> None:
    question = script(say("Red."), finish(), done(), tag=new_id())
    chat = Chat(node, web.url, version)
    chat.do(
        "send",
        text=question,
        files=[{"type": "file", "mediaType": "image/png", "url": PNG, "filename": "a.png"}],
    )
    loaded = client.http.get(f"/api/chat/{chat.name}").json()["messages"]
    [image, _] = loaded[0]["parts"]
    again = Chat(node, web.url, version, chat=chat.name, messages=loaded)
    follow_up = script(say("Sure."), finish(), done(), tag=new_id())
    again.ask(follow_up)

    assert (image["type"], image["mediaType"]) == ("file", "image/png")
    assert client.http.get(image["url"]).headers["Content-Type"] == "image/png"
    for record in rig.scripted.wait_requests(2, contains=question):
        assert record.request is not None
        content = record.request["messages"][0]["content"]
        assert [part["type"] for part in content] == ["image_url", "text"]
        assert content[0]["image_url"]["url"] == PNG
    place = loaded[1]["metadata"]["outlive"]["conversationId"]
    rows = rig.rows("SELECT count(*) AS n FROM messages WHERE conversation_id = :c", c=place)
    assert rows[0].n == 4


# --- outlive-fetch.js -----------------------------------------------------------------------------

#: Where a response is cut: in the first event, in an id, in text, before the end, in the end.
CUTS = (
    CutPoint(b"data: ", 1, 9),
    CutPoint(b"\nid: ", 2, 5),
    CutPoint(b'"delta":', 2, 11),
    CutPoint(b'"delta":', 5, 3),
    CutPoint(b'"finish-step"', 1, 2),
    CutPoint(b'"finish"', 1, 3),
)


@pytest.mark.parametrize("manner", ["close", "reset"])
def test_the_fetch_goes_on_where_it_was_cut(
    node: Node, web: Web, rig: Rig, worker: Worker, version: str, manner: Any
) -> None:
    text = "".join(f"{number} {TEXT}" for number in range(30))
    question = script(reasoning("Hm. "), say(text, rate=2_000), finish(), done(), tag=new_id())
    with CuttingProxy(web.url, CUTS, manner) as proxy:
        chat = Chat(node, proxy.url, version, outlive=True)
        state = chat.ask(question)

    assert shown(state) == [("user", question), ("assistant", text)]
    assert (state["status"], state["errors"]) == ("ready", [])
    assert [end["finishReason"] for end in state["ends"]] == ["stop"]
    assert proxy.cuts == len(CUTS)
    assert len(rig.scripted.wait_requests(1, contains=question)) == 1


def test_the_fetch_goes_on_with_a_replay_that_was_cut(
    node: Node, web: Web, client: Client, worker: Worker, version: str
) -> None:
    """Also of an answer with steps."""
    text = "".join(f"{number} {TEXT}" for number in range(30))
    question = script(
        tool_call("c1", "add", '{"a": 1}'), finish("tool_calls"), done(),
        tag=new_id(), after=[say(text, rate=5_000), finish(), done()],
    )  # fmt: skip
    chat = Chat(
        node, web.url, version, body={"tools": TOOLS}, tools={"add": {"output": "3"}},
        automatic=True,
    )  # fmt: skip
    chat.ask(question)
    chat.do("shows", text="0 ")
    loaded = client.http.get(f"/api/chat/{chat.name}").json()["messages"]
    cuts = (CutPoint(b'"tool-output', 1, 3), CUTS[0], *CUTS[-2:])
    with CuttingProxy(web.url, cuts) as proxy:
        again = Chat(node, proxy.url, version, chat=chat.name, messages=loaded, outlive=True)
        again.do("resume")

    assert (again.state["status"], again.state["errors"]) == ("ready", [])
    assert shown(again.state) == [("user", question), ("assistant", text)]
    assert proxy.cuts == len(cuts)
    chat.do("is", status="ready")
    assert stripped(again.state) == stripped(chat.state)


def test_the_fetch_goes_on_after_every_event(
    node: Node, web: Web, client: Client, worker: Worker
) -> None:
    """All events of a replay, or some: each is cut in its data and in its id."""
    text = TEXT * 300
    question = script(
        reasoning("Hm. "), say(text, chunk=400), tool_call("c1", "add", '{"a": 1}'),
        finish("tool_calls"), done(), tag=new_id(),
    )  # fmt: skip
    whole = Chat(node, web.url, "7", body={"tools": TOOLS})
    whole.ask(question)
    frames = client.http.get(f"/api/chat/{whole.name}/stream").text
    events = frames.count("\nid: ")
    assert events > 10
    cuts = [
        CutPoint(mark, nth, extra)
        for nth in range(1, events + 1, EVERY)
        for mark, extra in ((b'data: {"type"', 20), (b"\nid: ", 5))
    ]
    first = whole.state["messages"][:1]
    with ExitStack() as stack:
        proxies = [stack.enter_context(CuttingProxy(web.url, [cut])) for cut in cuts]
        chats = [
            Chat(node, proxy.url, version, named=whole.name, messages=first, outlive=True)
            for proxy, version in zip(proxies, cycle(VERSIONS), strict=False)
        ]
        waiting = [node.begin("resume", chat=chat.name) for chat in chats]
        for one in waiting:
            one.result(2 * PATIENCE)

        found = [(stripped(chat.state), chat.state["errors"]) for chat in chats]
        assert found == [(stripped(whole.state), [])] * len(cuts)
        assert [cut for cut, proxy in zip(cuts, proxies, strict=True) if proxy.cuts != 1] == []


def test_a_stop_of_the_chat_reaches_the_server(
    node: Node, web: Web, client: Client, worker: Worker, version: str
) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    chat = Chat(node, web.url, version, outlive=True)
    chat.do("begin", text=question)
    chat.do("shows", text="So far")

    chat.do("stop")

    assert client.ended(chat.answer)["status"] == "CANCELLED"
    state = chat.state
    assert (state["status"], state["errors"]) == ("ready", [])
    assert shown(state)[-1] == ("assistant", "So far")
    assert [end["isAbort"] for end in state["ends"]] == [True]
    chat.ask(script(say("Next."), finish(), done(), tag=new_id()))
    turns = client.http.get(f"/api/chat/{chat.name}").json()["messages"]
    assert turns[1]["id"] == state["messages"][-1]["id"]


def test_a_page_that_resumes_twice_stops_nothing(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker
) -> None:
    """As React does in strict mode: the second request replaces the first one."""
    gate = f"twice {new_id()}"
    question = script(say("So far, "), hold(gate), say("and on."), finish(), done())
    first = Chat(node, web.url, "7")
    first.do("begin", text=question)
    first.do("shows", text="So far, ")
    loaded = client.http.get(f"/api/chat/{first.name}").json()["messages"]
    again = Chat(node, web.url, "7", chat=first.name, messages=loaded, outlive=True)
    again.do("beginResume")
    again.do("beginResume")
    again.do("is", status="streaming")
    again.do("pause", milliseconds=200)  # in which a stop would be sent
    rig.scripted.release(gate)
    again.do("is", status="ready")

    assert shown(again.state) == [("user", question), ("assistant", "So far, and on.")]
    assert client.message(again.answer)["status"] == "DONE"


def test_a_question_whose_response_never_began_is_asked_once(
    node: Node, web: Web, rig: Rig, worker: Worker, version: str
) -> None:
    """The request arrives, and the connection breaks before the head of the response."""
    question = script(say("Once."), finish(), done(), tag=new_id())
    with CuttingProxy(web.url, [CutPoint(b"HTTP/1.1", 1, 3)]) as proxy:
        chat = Chat(node, proxy.url, version, outlive=True)
        state = chat.ask(question)

    assert shown(state) == [("user", question), ("assistant", "Once.")]
    assert proxy.cuts == 1
    assert len(rig.scripted.wait_requests(1, contains=question)) == 1


def test_a_response_whose_time_is_up_is_cut_as_each_client_wants_it(
    node: Node, rig: Rig, worker: Worker
) -> None:
    """Torn for useChat, which takes a clean end for the whole answer, and clean for a workflow,
    which takes a third torn response for an error."""
    web = rig.web(OUTLIVE_STREAM_MAX_SECONDS="0.3", WEB_CONCURRENCY="1")
    with killing(web):
        text = "".join(f"{number} {TEXT}" for number in range(30))
        questions = [
            script(reasoning("Hm. "), say(text, rate=700), finish(), done(), tag=new_id())
            for _ in range(3)
        ]
        chat = Chat(node, web.url, "7", outlive=True)
        workflow = Chat(node, web.url, "workflow")
        plain = Chat(node, web.url, "7")
        node.do("requests")
        for one, question in zip((chat, workflow, plain), questions, strict=True):
            one.do("begin", text=question)
        plain.do("is", status="error")
        for one in (chat, workflow):
            one.do("is", status="ready")

        assert plain.state["error"] == "network error"
        for one, question in ((chat, questions[0]), (workflow, questions[1])):
            assert shown(one.state) == [("user", question), ("assistant", text)]
            assert one.state["errors"] == []
        resumed = [one["url"] for one in node.do("requests") if one["method"] == "GET"]
        assert sum("after=" in url for url in resumed) > 3
        assert sum("startIndex=" in url for url in resumed) > 3


def test_a_killed_web_process_loses_nothing(node: Node, rig: Rig, worker: Worker) -> None:
    """The fetch goes on at the next process; the client alone sees an error, not a short answer."""
    gate = f"killed {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    web = rig.web(WEB_CONCURRENCY="1")
    with killing(web):
        chat = Chat(node, web.url, "7", outlive=True)
        chat.do("begin", text=question)
        plain = Chat(node, web.url, "7")
        plain.do("begin", text=script(say("So far"), hold(NEVER), tag=new_id()))
        chat.do("shows", text=TEXT)
        plain.do("shows", text="So far")
        [process] = children(web.pid)
        os.kill(process, signal.SIGKILL)
        plain.do("is", status="error")
        rig.scripted.release(gate)
        chat.do("is", status="ready")

        assert shown(chat.state) == [("user", question), ("assistant", f"{TEXT}the rest")]
        assert (chat.state["errors"], plain.state["error"]) == ([], "network error")


def test_a_killed_worker_is_an_error_that_keeps_what_was_written(
    node: Node, web: Web, rig: Rig, worker: Worker
) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    chat = Chat(node, web.url, "7")
    chat.do("begin", text=question)
    chat.do("shows", text="So far")

    worker.kill()
    sweep(rig, died=worker.boot)

    chat.do("is", status="error")
    state = chat.state
    assert shown(state) == [("user", question), ("assistant", "So far")]
    assert state["error"] == MESSAGE_ERRORS["worker_lost"][0]
    assert state["messages"][-1]["metadata"]["outlive"]["status"] == "ERROR"


# --- the workflow transport -----------------------------------------------------------------------


@pytest.mark.parametrize("manner", ["close", "reset"])
def test_a_workflow_is_rebuilt_after_each_cut(
    node: Node, web: Web, rig: Rig, worker: Worker, manner: Any
) -> None:
    text = "".join(f"{number} {TEXT}" for number in range(30))
    question = script(reasoning("Hm. "), say(text, rate=2_000), finish(), done(), tag=new_id())
    with CuttingProxy(web.url, [CUTS[3]], manner) as proxy:
        chat = Chat(node, proxy.url, "workflow")
        state = chat.ask(question)

    assert (state["status"], state["errors"]) == ("ready", [])
    assert shown(state) == [("user", question), ("assistant", text)]
    assert proxy.cuts == 1


def test_a_workflow_is_resumed_by_the_id_of_its_chat(
    node: Node, web: Web, rig: Rig, client: Client, worker: Worker
) -> None:
    gate = f"workflow {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    first = Chat(node, web.url, "workflow")
    first.do("begin", text=question)
    first.do("shows", text=TEXT)
    loaded = client.http.get(f"/api/chat/{first.name}").json()["messages"]
    again = Chat(node, web.url, "workflow", chat=first.name, messages=loaded)
    again.do("beginResume")
    again.do("is", status="streaming")
    rig.scripted.release(gate)
    again.do("is", status="ready")
    nothing = Chat(node, web.url, "workflow")
    nothing.do("resume")

    assert shown(again.state) == [("user", question), ("assistant", f"{TEXT}the rest")]
    assert (nothing.state["status"], nothing.state["errors"]) == ("ready", [])
