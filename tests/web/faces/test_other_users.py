"""Ids, names, keys and words of another user: in no face do they lead to what is the other's."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import done, finish, hold, say, script
from tests.client import Client, new_id
from tests.credentials import client_with, new_key, token, user_id
from tests.rig import Rig
from tests.web.faces.test_ag_ui import Api, run_input
from tests.web.faces.test_ag_ui import user as run_user
from tests.web.faces.test_tools import data_url, unique_png
from tests.web.faces.test_ui_stream import user

#: What only the owner's answers and instructions say.
SECRET: Final = f"secret-{new_id()}"
#: Prefixes under which the APIs know an answer.
PREFIXES: Final = ("", "resp_", "chatcmpl-", "msg_")
QUESTION: Final = script(say("Yours"), finish(), done())
PLACE: Final = {"Outlive-Conversation-Id": "<conversation>"}
FILE: Final = {"type": "file", "mediaType": "image/png", "url": "/api/files/<file>"}
READER: Final = frozenset({"reader"})
READERS: Final = READER | {"link"}


class Row(NamedTuple):
    """A request in which `<name>` stands for something of the owner's, and its refusal."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}
    status: int = 404
    #: who may read this, as the conversation is shared with them
    readers: frozenset[str] = frozenset()


def chat(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "mine", "messages": [{**user("Look"), "parts": [*parts]}], **more}


def turns(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 9, **more}


def asked(*content: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [*content]}]}


_IMAGE: Final = {"type": "image_url", "image_url": {"url": "/api/files/<file>"}}
_BLOCK: Final = {"type": "image", "source": {"type": "url", "url": "/api/files/<file>"}}
_SOURCE: Final = {"type": "image", "source": {"type": "url", "value": "/api/files/<file>"}}
_INPUT: Final = {"type": "input_image", "image_url": "/api/files/<file>"}
_REFERENCE: Final = {"type": "item_reference", "id": "msg_<hex>_0"}

ROWS: Final = (
    # AG-UI
    *(Row("GET", f"/ag-ui?runId={run}") for run in ("<run>", "<open>", "<done>")),
    *(Row("POST", "/ag-ui/stop", {"runId": run}) for run in ("<run>", "<open>", "<done>")),
    Row("POST", "/ag-ui", run_input(run_user("", content=[_SOURCE])), status=422),
    # useChat, over both transports
    Row("GET", "/api/chat/mine/stream?message=<done>", readers=READER),
    Row("GET", "/api/chat/<chat>/stream?message=<open>&after=1"),
    *(
        Row("POST", f"/api/chat/{name}/stop", {"messageId": f"<{answer}>"})
        for name in ("mine", "<chat>", "<conversation>")
        for answer in ("open", "done")
    ),
    Row(
        "POST",
        "/api/chat",
        {
            "id": "mine",
            "message": user("Again"),
            "trigger": "regenerate-message",
            "messageId": "<done>",
        },
    ),
    *(Row("POST", path, chat(FILE), status=422) for path in ("/api/chat", "/streams/chat")),
    # durable streams
    *(
        Row(method, f"/streams/<done>{rest}", readers=READERS)
        for method in ("GET", "HEAD")
        for rest in ("", "/text", "?steps=all", "?offset=-1&live=sse", "/text?offset=now")
    ),
    Row("GET", "/streams/<open>"),
    Row("GET", "/streams/<open>/text?offset=-1&live=long-poll"),
    Row("GET", "/api/files/<file>", readers=READERS),
    # Responses
    *(Row("GET", f"/v1/responses/{prefix}<done>") for prefix in PREFIXES),
    Row("GET", "/v1/responses/resp_<open>?stream=true&starting_after=0"),
    Row("GET", "/v1/responses/resp_<done>/input_items"),
    *(Row("POST", f"/v1/responses/resp_<{one}>/cancel") for one in ("open", "done")),
    *(Row("DELETE", f"/v1/responses/{prefix}<done>") for prefix in PREFIXES),
    *(
        Row("POST", "/v1/responses", {"input": "Go on", "previous_response_id": name}, status=400)
        for name in ("resp_<done>", "<done>")
    ),
    Row("POST", "/v1/responses", {"input": "Go on"}, PLACE),
    Row(
        "POST",
        "/v1/responses",
        {"input": [_REFERENCE, {"role": "user", "content": "What?"}]},
        status=400,
    ),
    Row("POST", "/v1/responses", asked(_INPUT), status=400),
    # Chat Completions
    *(
        Row("GET", f"/v1/chat/completions/{prefix}<done>{rest}")
        for prefix in PREFIXES
        for rest in ("", "/messages")
    ),
    Row("POST", "/v1/chat/completions", turns("Go on"), PLACE),
    Row(
        "POST",
        "/v1/chat/completions",
        turns("Go on", metadata={"outlive_conversation_id": "<conversation>"}),
    ),
    Row("POST", "/v1/chat/completions", turns([_IMAGE]), status=400),
    # Messages
    Row("POST", "/v1/messages", turns("Go on"), PLACE),
    Row("POST", "/v1/messages", turns([_BLOCK]), status=400),
)


@dataclass
class Theirs:
    """What the owner has. `names`: of what rows refer to."""

    client: Client
    subject: str
    names: dict[str, str] = field(default_factory=dict)
    gate: str = field(default_factory=new_id)

    def rows(self, rig: Rig) -> list[str]:
        """All that is stored of it, but for the answer that is being written."""
        owner = user_id(rig, self.subject)
        answers = "SELECT id FROM messages WHERE user_id = :user AND id <> :open"
        statements = (
            f"SELECT CAST(t AS text) FROM messages t WHERE id IN ({answers})",
            "SELECT CAST(t AS text) FROM conversations t WHERE user_id = :user",
            f"SELECT CAST(t AS text) FROM client_requests t WHERE message_id IN ({answers})",
            f"SELECT CAST(t AS text) FROM message_files t WHERE message_id IN ({answers})",
            "SELECT id || type FROM files WHERE user_id = :user",
        )
        found = [rig.rows(one, user=owner, open=self.names["open"]) for one in statements]
        return sorted(row[0] for rows in found for row in rows)


@pytest.fixture(scope="module")
def theirs(rig: Rig, required_web: Web, worker_of_file: Worker) -> Iterator[Theirs]:
    """A conversation with a picture, a chat, and a run that is held in the middle."""
    if not worker_of_file.alive():
        worker_of_file.start().wait()
    subject = new_id()
    with client_with(required_web, token(subject)) as owner:
        found = Theirs(owner, subject)
        question = script(say(SECRET, chunk=1000), finish(), done(), tag=new_id())
        first = owner.http.post(
            "/v1/responses",
            json={
                **asked(
                    {"type": "input_image", "image_url": data_url(unique_png())},
                    {"type": "input_text", "text": question},
                ),
                "instructions": SECRET,
                "metadata": {"of": SECRET},
            },
        )
        answer, conversation = (
            first.headers[f"Outlive-{one}-Id"] for one in ("Message", "Conversation")
        )
        image, *_ = owner.message(owner.message(answer)["parent_id"])["parts"]
        named = new_id()
        second = owner.http.post("/api/chat", json={"id": named, "messages": [user(question)]})
        assert SECRET in second.text
        run = run_input(
            run_user(script(say("Mine, "), hold(found.gate), say("all."), finish(), done()))
        )
        begun = Api(owner.http).begun(run)
        found.names |= {
            "done": answer,
            "hex": answer.replace("-", ""),
            "conversation": conversation,
            "file": image["text"].rpartition("/")[2],
            "chat": named,
            "run": run["runId"],
            "thread": run["threadId"],
            "open": begun[0]["metadata"]["outlive"]["message"],
        }
        yield found
        rig.scripted.release(found.gate)


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """A row's value with these names in it."""
    text = json.dumps(value)
    for name, known in names.items():
        text = text.replace(f"<{name}>", known)
    return json.loads(text)


def sent(client: Client, row: Row, names: Mapping[str, str]) -> tuple[int, str]:
    """The status, and the body with the names taken out of it again."""
    more = {} if row.body is None else {"json": filled(row.body, names)}
    answer = client.http.request(
        row.method, filled(row.path, names), headers=filled(dict(row.headers), names), **more
    )
    text = answer.text
    for name, known in names.items():
        text = text.replace(known, f"<{name}>")
    return answer.status_code, text


def test_whatever_is_another_users_is_as_if_it_were_not_there(
    rig: Rig, required_web: Web, theirs: Theirs
) -> None:
    # given: another user, one with whom a conversation is shared, and a link to it
    owner, names = theirs.client, theirs.names
    nothing = {name: new_id() for name in names} | {"hex": new_id().replace("-", "")}
    subject = new_id()
    shares = f"/api/conversations/{names['conversation']}/shares"
    with (
        client_with(required_web, token(new_id())) as other,
        client_with(required_web, token(subject)) as reader,
    ):
        for one in (other, reader):
            mine = one.http.post("/api/chat", json=chat({"type": "text", "text": QUESTION}))
            assert "Yours" in mine.text
        assert owner.http.post(shares, json={"user": subject}).status_code == 201
        link = owner.http.post(shares, json={}).json()["token"]
        before = theirs.rows(rig)

        # when: each of them asks for what is the owner's
        with client_with(required_web, link) as anybody:
            callers = {"another": other, "reader": reader, "link": anybody}
            found = {
                (name, number): sent(client, row, names)
                for name, client in callers.items()
                for number, row in enumerate(ROWS)
            }
            absent = [sent(other, row, nothing) for row in ROWS]

    # then: it is not there
    assert [status for status, _ in absent] == [row.status for row in ROWS]
    wrong = []
    for (name, number), (status, text) in found.items():
        row = ROWS[number]
        if name in row.readers:
            is_right = status == 200
        elif name == "link":
            is_right = status in (403, 404)
        else:
            # Who reads it elsewhere knows that it is there.
            is_right = status == row.status and (name == "reader" or text == absent[number][1])
        if not is_right or (SECRET in text and name not in row.readers):
            wrong.append((name, row.method, row.path, status, text, absent[number]))
    assert wrong == []
    # and nothing of the owner's has changed
    assert theirs.rows(rig) == before
    rig.scripted.release(theirs.gate)
    ended = owner.ended(names["open"])
    assert (ended["status"], ended["text"]) == ("DONE", "Mine, all.")


def test_pages_of_anothers_conversations_are_empty(required_web: Web, theirs: Theirs) -> None:
    names = theirs.names
    with client_with(required_web, token(new_id())) as other:
        http = other.http
        for name in (names["chat"], names["conversation"], names["thread"]):
            shown = http.get(f"/api/chat/{name}").json()
            assert shown == {"id": name, "messages": [], "active": False, "earlier": False}
            for path in (f"/api/chat/{name}/stream", f"/streams/chat/{name}/stream"):
                assert http.get(path).status_code == 204
            for more in ({}, {"format": "ag-ui"}, {"before": names["done"]}):
                found = http.get("/ag-ui", params={"threadId": name, **more}).json()
                assert found == {"messages": [], "activeRun": None}
        for name in (names["chat"], names["done"], names["conversation"]):
            replay = http.get(f"/api/chat/{name}/stream", params={"startIndex": "1"})
            assert (replay.status_code, "Outlive-Message-Id" in replay.headers) == (200, False)
            assert SECRET not in replay.text
        # in a conversation of their own, too
        mine = http.post("/api/chat", json=chat({"type": "text", "text": QUESTION}))
        place = mine.headers["Outlive-Conversation-Id"]
        found = http.get("/ag-ui", params={"threadId": place, "before": names["done"]}).json()
        assert found == {"messages": [], "activeRun": None}


REPEAT: Final = {"x-stainless-retry-count": "1"}


def key() -> dict[str, str]:
    return {"Idempotency-Key": new_id()}


def requests_of(names: Mapping[str, str]) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """Requests with names, keys and histories that somebody else may send, too."""
    question = script(say("Yours"), finish(), done(), tag=new_id())
    history = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "Yours"},
        {"role": "user", "content": script(say("More"), finish(), done(), tag=new_id())},
    ]
    run = run_input(run_user(question))
    run_there = run_input(run_user(question), threadId=names["conversation"])
    chats = [
        {"id": name, "messages": [user(question)]} for name in (new_id(), names["conversation"])
    ]
    told = {"input": question, "metadata": {"a": "b"}}
    return [
        ("/ag-ui", run, {}),
        ("/ag-ui", run, {"X-Run-Id": run["runId"], "Last-Event-ID": "1"}),
        ("/ag-ui", run_there, {}),
        *((path, one, {}) for one in chats for path in ("/api/chat", "/streams/chat")),
        ("/api/chat", chats[0], key()),
        ("/v1/responses", told, {}),
        ("/v1/responses", told, REPEAT),
        ("/v1/responses", told, key()),
        ("/v1/responses", {**told, "conversation": names["conversation"]}, {}),
        ("/v1/responses", {**told, "conversation": f"conv_{names['conversation']}"}, REPEAT),
        *(
            (path, {"messages": part, "max_tokens": 9}, headers)
            for path in ("/v1/chat/completions", "/v1/messages")
            for part in (history[:1], history)
            for headers in ({}, REPEAT, key())
        ),
    ]


def ids_of(answer: httpx2.Response) -> tuple[str, str]:
    """The message and the conversation that a response names."""
    assert answer.status_code in (200, 201), answer.text
    return answer.headers["Outlive-Message-Id"], answer.headers["Outlive-Conversation-Id"]


@pytest.mark.parametrize("by", ["tokens", "one key that acts for both"])
def test_the_same_request_of_another_user_is_one_of_their_own(
    rig: Rig, required_web: Web, theirs: Theirs, by: str
) -> None:
    # given: what two users send is the same, and the first one's is there
    users = [theirs.subject, new_id()]
    if by == "tokens":
        credentials = [(token(name), dict[str, str]()) for name in users]
    else:
        shared, _ = new_key(rig, "ask,act_as")
        credentials = [(shared, {"Outlive-User": name}) for name in users]
    (one, as_one), (two, as_two) = credentials
    with (
        client_with(required_web, one, **as_one) as owner,
        client_with(required_web, two, **as_two) as other,
    ):
        rig.scripted.release(theirs.gate)
        owner.ended(theirs.names["open"])
        asked_for = requests_of(theirs.names)
        own = [
            ids_of(owner.http.post(path, json=body, headers=headers))
            for path, body, headers in asked_for
        ]
        for answer, _ in own:
            owner.ended(answer)
        before = theirs.rows(rig)

        # when: the second one sends it
        found = [
            ids_of(other.http.post(path, json=body, headers=headers))
            for path, body, headers in asked_for
        ]

        # then: it is theirs, and nothing of the first one's has changed
        assert {*chain(*own)}.isdisjoint(chain(*found))
        assert names_of(rig, found) == {str(user_id(rig, users[1]))}
        assert theirs.rows(rig) == before
        # and what is repeated is joined by the same user alone
        path, body, headers = asked_for[1]
        assert ids_of(other.http.post(path, json=body, headers=headers)) == found[1] == found[0]
        assert ids_of(owner.http.post(path, json=body, headers=headers)) == own[1] == own[0]


def names_of(rig: Rig, found: list[tuple[str, str]]) -> set[str]:
    """The users of these messages, of all else in their conversations, and of those."""
    rows = rig.rows(
        "SELECT user_id FROM messages WHERE conversation_id = ANY(CAST(:ids AS uuid[]))"
        " UNION SELECT user_id FROM conversations WHERE id = ANY(CAST(:ids AS uuid[]))"
        " UNION SELECT user_id FROM messages WHERE id = ANY(CAST(:messages AS uuid[]))",
        ids=[place for _, place in found],
        messages=[message for message, _ in found],
    )
    return {str(row.user_id) for row in rows}
