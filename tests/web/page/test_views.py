"""What the page requests: blocks and turns, search, undo, seen marks, models, the dashboard."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import done, finish, hold, long, reasoning, say, script, usage
from shared.settings import Settings
from shared.sse import Event
from tests.client import Client, StreamConnection, new_id, proof
from tests.rig import Rig, eventually, killing
from tests.store_fixtures import Store
from tests.stories import holding
from web.page.dashboard import Dashboard

STATIC = ROOT / "web/page/static"

pytestmark = pytest.mark.usefixtures("worker")

TALK = """# Trains

They **run**:

- on rails
- in the rain

```python
print('rain')
```

That is all."""


def question_for(text: str, *before: Any) -> str:
    """A question with this answer."""
    return script(*before, say(text), finish(), usage(3, 4), done(), tag=new_id())


def get(client: Client, path: str) -> dict[str, Any]:
    answer = client.http.get(path)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class Blocks(StreamConnection):
    """Reads blocks from a raw socket and keeps what a page would keep."""

    def __init__(self, client: Client, message_id: str, last_id: str | None = None) -> None:
        super().__init__(client.url, f"{message_id}/blocks", after=None, last_id=last_id)
        self.finished: dict[int, dict[str, Any]] = {}
        self.open: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self.last_id = ""

    def read(self) -> "Blocks":
        """Read to the end."""
        for event in self.events():
            self.take(event)
        return self

    def take(self, event: Event) -> None:
        self.last_id, data = event.id, json.loads(event.data)
        if event.event == "end":
            self.end = data
            return
        assert event.event == "blocks"
        for block in data["blocks"]:
            assert block["n"] not in self.finished, "a finished block is sent once"
            self.finished[block["n"]] = block
        self.open = data["open"]
        if data["blocks"]:
            assert event.id == str(data["blocks"][-1]["end"])
        if self.open:
            assert self.open["n"] not in self.finished
            assert event.id == str(self.open["start"])

    @property
    def text(self) -> str:
        return "".join(self.finished[n]["text"] for n in sorted(self.finished))

    @property
    def html(self) -> str:
        return "".join(self.finished[n]["html"] for n in sorted(self.finished))


# --- blocks --------------------------------------------------------------------------------------


def test_answer_streams_as_blocks_with_a_proof(client: Client) -> None:
    answer = client.ask(question_for(TALK, reasoning("Let me *see*.")))

    with Blocks(client, answer) as reader:
        reader.read()

    assert reader.end is not None
    assert (reader.end["length"], reader.end["sha256"]) == proof(reader.text)
    assert reader.text == f"Let me *see*.{TALK}"
    assert [reader.finished[n]["kind"] for n in (0, 1)] == ["reasoning", "text"]
    assert "<strong>run</strong>" in reader.html
    assert 'data-language="python"' in reader.html
    assert reader.open is None


def test_reader_gets_the_open_block_and_resumes_after_the_finished_ones(
    rig: Rig, client: Client
) -> None:
    with holding(
        rig, client, say("First.\n\nThen **bo"), say("ld** and\n\nlast."), finish()
    ) as held:
        with Blocks(client, held.id) as reader:
            for event in reader.events():
                reader.take(event)
                if reader.open and "bo" in reader.open["html"]:
                    break
        assert reader.text == "First.\n\n"
        assert reader.open is not None
        assert reader.open["html"] == '<p dir="auto">Then <strong>bo</strong></p>\n'

        with Blocks(client, held.id, reader.last_id) as again:
            first = next(iter(again.events()))
            again.take(first)
            assert not again.finished
            assert again.open == reader.open
            held.go_on()
            again.read()
        assert reader.text + again.text == held.text
        assert "Then <strong>bold</strong> and" in again.html


def test_reader_with_the_end_gets_204(client: Client) -> None:
    answer = client.ask(question_for("Short."))
    client.ended(answer)

    with Blocks(client, answer, "end") as reader:
        assert reader.status == 204


def test_position_ahead_of_this_process_is_waited_for(client: Client) -> None:
    answer = client.ask(question_for("Short."))
    client.ended(answer)

    with Blocks(client, answer, "1000") as reader:
        reader.read()

    assert not reader.finished
    assert reader.end is not None


def test_history_has_the_streamed_blocks(client: Client, other_web: Web) -> None:
    answer = client.ask(question_for(TALK))
    with Blocks(client, answer) as reader:
        reader.read()

    with Client(other_web.url) as other:
        found = get(other, f"/api/messages/{answer}/blocks")

    assert found["blocks"] == [reader.finished[n] for n in sorted(reader.finished)]
    assert found["next"] is None
    assert (found["length"], found["sha256"]) == proof(TALK)


def test_long_answer_comes_in_pages_of_limited_size(client: Client) -> None:
    answer = client.ask(script(long(300_000), finish(), done()))
    message = client.ended(answer)

    found, position = [], 0
    while True:
        page = get(client, f"/api/messages/{answer}/blocks?after={position}")
        found += page["blocks"]
        if page["next"] is None:
            break
        position = page["next"]

    assert len(found) > 3
    assert [block["n"] for block in found] == list(range(len(found)))
    assert proof("".join(block["text"] for block in found)) == (
        message["length"],
        message["sha256"],
    )


def test_blocks_of_other_users_are_not_found(client: Client) -> None:
    for path in ("blocks", "blocks/stream"):
        assert client.http.get(f"/api/messages/{new_id()}/{path}").status_code == 404


# --- turns ---------------------------------------------------------------------------------------


def test_conversation_opens_with_its_last_turns(client: Client) -> None:
    conversation = client.conversation(system="Be brief.")
    for number in range(3):
        client.ended(client.ask(question_for(f"Answer *{number}*"), conversation))

    last = get(client, f"/api/conversations/{conversation}/turns?limit=4")
    first = get(client, f"/api/conversations/{conversation}/turns?before={last['earlier']}")

    assert last["conversation"]["system"] == "Be brief."
    assert [turn["role"] for turn in last["items"]] == ["user", "assistant"] * 2
    assert last["items"][1]["blocks"][0]["html"] == '<p dir="auto">Answer <em>1</em></p>\n'
    assert last["items"][0]["blocks"] is None
    assert last["items"][1]["text"] is None
    assert first["earlier"] is None
    assert [turn["role"] for turn in first["items"]] == ["user", "assistant"]
    assert last["items"][0]["parent_id"] == first["items"][1]["id"]


def test_turn_has_status_and_times(rig: Rig, client: Client) -> None:
    with holding(rig, client, say("Slow"), finish("length")) as held:
        writing = get(client, f"/api/conversations/{held.conversation}/turns")["items"][1]
        held.go_on()
        client.ended(held.id)
    ended = get(client, f"/api/conversations/{held.conversation}/turns")["items"][1]

    assert (writing["state"], writing["blocks"]) == ("writing", None)
    assert ended["state"] == "incomplete"
    assert ended["created_at"] < ended["started_at"] < ended["first_text_at"] < ended["ended_at"]


def test_failed_turn_says_whether_a_retry_helps(client: Client) -> None:
    conversation = client.conversation()
    answer = client.ask(script(say("Half"), {"do": "cut"}), conversation)
    client.ended(answer)

    turn = get(client, f"/api/conversations/{conversation}/turns")["items"][1]

    assert turn["state"] == "failed"
    assert turn["error"]["code"] == "provider_cut"
    assert turn["error"]["retryable"] is True


# --- conversations -------------------------------------------------------------------------------


def test_conversation_is_created_once_per_key(client: Client) -> None:
    key = new_id()
    headers = {"Idempotency-Key": key}

    def make(_: int) -> tuple[int, str]:
        answer = client.http.post("/api/conversations", json={"system": "x"}, headers=headers)
        return answer.status_code, answer.json()["id"]

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(make, range(8)))
    other = client.http.post("/api/conversations", json={"system": "y"}, headers=headers)

    assert len(made) == 1
    assert next(iter(made))[0] == 201
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_system_prompt_changes_without_the_title(client: Client) -> None:
    conversation = client.conversation(title="Mine", system="Old.")

    changed = client.http.patch(f"/api/conversations/{conversation}", json={"system": "New."})

    assert (changed.json()["title"], changed.json()["system"]) == ("Mine", "New.")


def test_deletion_can_be_undone(rig: Rig, client: Client) -> None:
    with holding(rig, client, say("Half an answer"), hold("never")) as held:
        assert client.http.delete(f"/api/conversations/{held.conversation}").status_code == 204
        assert client.http.get(f"/api/conversations/{held.conversation}").status_code == 404

        back = client.http.post(f"/api/conversations/{held.conversation}/undelete")

        assert back.status_code == 200
        assert client.ended(held.id)["status"] == "CANCELLED"
        assert client.message(held.id)["text"] == "Half an answer"


def test_old_deletion_cannot_be_undone(rig: Rig, client: Client) -> None:
    conversation = client.conversation()
    client.http.delete(f"/api/conversations/{conversation}")
    with rig.db.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE conversations SET deleted_at = deleted_at - interval '2 hours'"
            f" WHERE id = '{conversation}'"
        )
        # A new database counts as a jump of the clock: an undo would have its whole time again.
        connection.exec_driver_sql("UPDATE uptime SET jumped = NULL")

    assert client.http.post(f"/api/conversations/{conversation}/undelete").status_code == 404
    assert client.http.post(f"/api/conversations/{new_id()}/undelete").status_code == 404


# --- search --------------------------------------------------------------------------------------


def found(client: Client, query: str, **more: str) -> list[dict[str, Any]]:
    answer = client.http.get("/api/search", params={"q": query, **more})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_search_finds_words_in_messages_by_prefix(client: Client) -> None:
    word = f"Wunderbaum{new_id()[:6]}"
    conversation = client.conversation()
    answer = client.ask(
        question_for(f"In the garden stands a {word}, they say, and it is green."), conversation
    )
    client.ended(answer)

    [hit] = [
        one for one in found(client, f"{word[:12].lower()} GARD") if one["message_id"] == answer
    ]

    assert hit["conversation"]["id"] == conversation
    assert hit["leaf"] == answer
    assert [piece["text"].lower() for piece in hit["snippet"] if piece["hit"]] == [
        "gard",
        word[:12].lower(),
    ]
    assert not found(client, f"{word} elsewhere")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("昨日は猫が庭で寝ていました", "猫が庭"),
        ("ฉันชอบแมวสีดำ", "แมวสี"),
        ("Жили у бабуси гуси", "БАБУС"),
        ("كان يا ما كان", "كان"),
        ("Straße nach Süden", "süd"),
        ("a%b_c", "a%b_c"),
    ],
)
def test_search_works_in_any_language(client: Client, text: str, query: str) -> None:
    conversation = client.conversation()
    client.ended(client.ask(question_for(text), conversation))

    assert conversation in [hit["conversation"]["id"] for hit in found(client, query, limit="50")]


def test_search_finds_titles_but_nothing_deleted(client: Client) -> None:
    word = f"title{new_id()[:8]}"
    named, deleted = client.conversation(title=f"A {word}"), client.conversation(title=word)
    client.http.delete(f"/api/conversations/{deleted}")

    [hit] = found(client, word)

    assert (hit["conversation"]["id"], hit["message_id"]) == (named, None)


def test_search_results_come_in_pages(client: Client) -> None:
    word = f"page{new_id()[:8]}"
    made = [client.conversation(title=f"{word} {number}") for number in range(5)]

    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = client.http.get("/api/search", params={"q": word, "limit": "2", **cursor}).json()
        pages.append([hit["conversation"]["id"] for hit in answer["items"]])
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}

    assert pages == [made[:2:-1], made[2:0:-1], made[:1]]


@pytest.mark.parametrize("query", ["", "   ", "'", "!!! & | :*", "\\", "\0", "%", "💣"])
def test_search_without_a_query_is_an_error(client: Client, query: str) -> None:
    found(client, query)


def test_very_long_answer_is_saved_and_found(client: Client) -> None:
    words = "".join(f"w{number:x}q " for number in range(120_000))
    answer = client.ask(script(say(words, chunk=10_000), finish(), done()))

    assert client.ended(answer)["status"] == "DONE"
    assert answer in [hit["message_id"] for hit in found(client, "w1234q")]


# --- models, the dashboard -----------------------------------------------------------------------


def test_models_are_the_providers(client: Client) -> None:
    assert get(client, "/api/models") == {
        "items": [{"id": "scripted"}, {"id": "scripted-large"}],
        "default": "scripted",
        "known": True,
    }


def test_own_model_is_listed_when_the_provider_has_no_list(rig: Rig) -> None:
    web = rig.web(OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    with killing(web), Client(web.url) as client:
        assert get(client, "/api/models") == {
            "items": [{"id": "scripted"}],
            "default": "scripted",
            "known": False,
        }


def test_dashboard_shows_running_answers_but_no_text(
    rig: Rig, client: Client, worker: Worker
) -> None:
    with holding(rig, client, say("Nobody's business " * 20), hold("never")) as held:
        with Blocks(client, held.id):

            def seen() -> dict[str, Any]:
                state = get(client, "/api/live")
                [one] = [one for one in state["running"] if one["id"] == held.id]
                readers = [one for one in state["readers"] if one["message_id"] == held.id]
                return {**one, "readers": readers, "text": json.dumps(state)}

            eventually(lambda: seen()["readers"] and seen()["characters"] > 100)
            found = seen()

        assert found["status"] == "STREAMING"
        assert found["owner"].endswith(worker.boot)
        assert found["readers"][0]["readers"] == 1
        assert "business" not in found["text"]
        client.stop(held.id)


def test_reports_of_dead_processes_are_removed(store: Store) -> None:
    empty: Any = Mock(
        **{
            "open_ones.return_value": [],
            "count.return_value": 0,
            "by_share.return_value": Counter(),
        }
    )
    dashboard = Dashboard(Settings.model_construct(), store.db, store.livelog, empty, empty)
    store.livelog.store_web_stats("dead", json.dumps({"at": 0, "streams": 7}))

    for _ in range(2):
        dashboard._sample()

    [report] = store.livelog.web_stats().values()
    assert json.loads(report)["streams"] == 0


def test_dashboard_can_be_switched_off(rig: Rig) -> None:
    web = rig.web(OUTLIVE_LIVE="off")
    with killing(web), Client(web.url) as client:
        refused = client.http.get("/api/live")
        metrics = client.http.get("/metrics")

    assert (refused.status_code, refused.json()["code"]) == (403, "not_operator")
    assert metrics.status_code == 200


# --- static files --------------------------------------------------------------------------------


def test_static_files_are_compressed_and_unchanged(client: Client) -> None:
    path = "/static/app.js"
    plain = client.http.get(path, headers={"Accept-Encoding": "identity"})
    small = client.http.get(path, headers={"Accept-Encoding": "gzip"})

    assert small.text == plain.text
    assert small.headers["Content-Encoding"] == "gzip"
    assert int(small.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
    again = client.http.get(path, headers={"If-None-Match": small.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.glob("*.js")))
def test_scripts_are_sent_without_comments(client: Client, name: str) -> None:
    """The browser's tests run them as they are sent."""
    source, sent = (STATIC / name).read_text(), client.http.get(f"/static/{name}")

    assert "/**" in source
    assert sent.status_code == 200
    assert "/**" not in sent.text
    assert len(sent.text) < len(source)
    assert int(sent.headers["Content-Length"]) < len(source.encode())
