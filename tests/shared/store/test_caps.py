"""Replies and prompts have a size, whatever a conversation holds."""

import json
from typing import Any
from uuid import UUID

import pytest

from shared.body import Body, text_body
from shared.lifecycle import Status
from shared.store import asking, owning
from shared.store.asking import NEWEST, Asking
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.messages import PAGE_CHARS
from shared.store.tables import LOCAL_USER
from tests.client import Client
from tests.rig import Rig
from tests.store_fixtures import ME, Store, body_of, save_of
from web.faces.blocks import PAGE_BYTES, TURN_BYTES, TURNS_BYTES

#: Code points of a long answer; three of them are more than one reply holds.
LONG = 350_000


def answer(db: Database, asking_: Asking, place: UUID, question: str, body: Body) -> UUID:
    """A question with its answer, which has ended; the answer's id."""
    asked = asking.ask(db, asking_, place, text_body(question), NEWEST)
    claim = owning.claim(db, asked.answer.id, ME, 60, 900)
    assert claim is not None
    assert owning.finish(db, ME, save_of(claim, body), Ending(Status.DONE, "stop"))
    return asked.answer.id


# --- what a worker loads -------------------------------------------------------------------------


def path_of(store: Store, user: UUID, place: UUID, history: int) -> list[tuple[str, str]]:
    asked = asking.ask(store.db, store.asking(user), place, text_body("Now?"), NEWEST)
    claim = owning.claim(store.db, asked.answer.id, ME, 60, 900, history=history)
    assert claim is not None
    assert owning.finish(store.db, ME, save_of(claim, Body()), Ending(Status.DONE, "stop"))
    return [(role, body.content) for role, body in claim.path]


@pytest.mark.failure(56)
def test_a_claim_loads_the_newest_turns_that_fit_and_no_thoughts(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)
    answer(store.db, store.asking(user), place, "One?", body_of("x" * 1_000))
    answer(
        store.db,
        store.asking(user),
        place,
        "Two?",
        body_of(("reasoning", "y" * 1_000_000), "Two."),
    )

    assert path_of(store, user, place, history=1_012) == [
        ("assistant", "x" * 1_000), ("user", "Two?"), ("assistant", "Two."), ("user", "Now?"),
    ]  # fmt: skip
    assert path_of(store, user, place, history=1_015)[0] == ("user", "Two?")
    assert path_of(store, user, place, history=1)[-1:] == [("user", "Now?")]
    assert len(path_of(store, user, place, history=1)) == 1
    assert path_of(store, user, place, history=10_000)[0] == ("user", "One?")


# --- what web sends ------------------------------------------------------------------------------


#: What is long in each way: in UTF-8, in JSON, as HTML, and none of it in the text itself.
TEXTS = {
    "ideographs": body_of("漢字かな\n\n" * (LONG // 6)),
    "line ends": body_of('"\n' * (LONG // 2)),
    "thoughts": body_of(("reasoning", "a thought " * (LONG // 10)), "Said."),
    "code": body_of("```js\n" + "f(1)[2]+{3:4}\n" * 3_000),
}


@pytest.fixture
def long_talk(rig: Rig, client: Client) -> str:
    """A conversation of four exchanges, each with an answer that is long in another way."""
    place = client.conversation()
    asked = Asking(LOCAL_USER, "scripted", {}, None, None, max_open=0, queue_deadline=60)
    for name, body in TEXTS.items():
        answer(rig.db, asked, UUID(place), name, body)
    return place


@pytest.mark.failure(56)
def test_a_conversation_comes_in_pages_of_a_size_and_nothing_is_missing(
    client: Client, long_talk: str
) -> None:
    path = f"/api/conversations/{long_talk}"
    found: list[dict[str, Any]] = []
    before: dict[str, str] = {}
    sizes = []
    while True:
        reply = client.http.get(path, params=before)
        page = reply.json()
        sizes.append(sum(part["length"] for part in page["messages"]))
        found = page["messages"] + found
        if page.get("earlier") is None:
            break
        before = {"before": page["earlier"]}

    assert max(sizes) <= PAGE_CHARS
    assert len(sizes) == 2
    assert [one["text"] for one in found[::2]] == list(TEXTS)
    assert [one["text"] for one in found[1::2]] == [body.text for body in TEXTS.values()]


def test_a_message_longer_than_a_page_is_cut_there_and_whole_by_itself(
    rig: Rig, client: Client
) -> None:
    place, text = client.conversation(), "漢" * (PAGE_CHARS + 1_000)
    asked = Asking(LOCAL_USER, "scripted", {}, None, None, max_open=0, queue_deadline=60)
    message_id = answer(rig.db, asked, UUID(place), "?", body_of(text))

    [shown] = client.http.get(f"/api/conversations/{place}").json()["messages"]
    assert shown["text"] == text[:PAGE_CHARS]
    assert (shown["position"], shown["length"]) == (PAGE_CHARS, len(text))
    whole = client.message(str(message_id))
    assert whole["text"] == text
    assert whole["position"] == len(text)


def test_turns_come_within_a_budget_of_bytes_and_are_compressed(
    client: Client, long_talk: str
) -> None:
    path = f"/api/conversations/{long_talk}/turns"
    found: list[dict[str, Any]] = []
    before: dict[str, str] = {}
    while True:
        with client.http.stream("GET", path, params=before) as reply:
            sent = sum(map(len, reply.iter_raw()))
            packed = reply.headers["content-encoding"]
        page = client.http.get(path, params=before).json()
        assert len(json.dumps(page, ensure_ascii=False).encode()) < TURNS_BYTES + 2 * TURN_BYTES
        assert packed in {"gzip", "br", "zstd"}
        assert sent < 60_000  # two seconds at 30 kB/s
        assert page["items"]
        found = page["items"] + found
        if page["earlier"] is None:
            break
        before = {"before": page["earlier"]}

    assert [one["text"] for one in found[::2]] == list(TEXTS)
    for turn, body in zip(found[1::2], TEXTS.values(), strict=True):
        blocks, following = list(turn["blocks"]), turn["next"]
        pages = 1
        while following is not None and pages < 4:
            pages += 1
            reply = client.http.get(f"/api/messages/{turn['id']}/blocks?after={following}")
            assert len(reply.content) < PAGE_BYTES + (64 << 10) + 20_000
            blocks += reply.json()["blocks"]
            following = reply.json()["next"]
        shown = "".join(block["text"] for block in blocks)
        assert body.content.startswith(shown)
        assert (shown == body.content) == (following is None)


def test_a_list_of_conversations_has_a_size_too(client: Client) -> None:
    made = [client.conversation(system="s" * 100_000) for _ in range(12)]

    found: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or (cursor is not None and len(found) < len(made)):
        reply = client.http.get("/api/conversations", params={"cursor": cursor} if cursor else {})
        found += [one["id"] for one in reply.json()["items"]]
        cursor = reply.json()["next"]
        assert len(reply.content) < PAGE_CHARS + 50_000
        pages += 1

    assert found[: len(made)] == made[::-1]
    assert pages == 2
