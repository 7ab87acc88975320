"""What is a user's own as a whole: exported, and deleted."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from click.testing import Result

from local.programs import Web, Worker
from scripted import say
from shared.store.tables import LOCAL_USER
from tests.client import Client, new_id
from tests.credentials import client_with, new_key, operate, token, user_id
from tests.end_to_end.questions import quick
from tests.rig import Rig, eventually
from tests.stories import holding


@pytest.fixture(autouse=True)
def _served(worker: Worker) -> None:
    """A worker writes the answers."""


@pytest.fixture
def subject() -> str:
    return new_id()


@pytest.fixture
def mine(required_web: Web, subject: str) -> Iterator[Client]:
    with client_with(required_web, token(subject)) as client:
        yield client


def test_an_export_has_everything_and_says_that_it_is_whole(
    required_web: Web, mine: Client, subject: str
) -> None:
    with client_with(required_web, token(new_id())) as other:
        other.ended(other.ask(quick("Not mine.")))
    first = mine.conversation(title="Tides", system="Be short.")
    answers = [mine.ask(quick("Because."), first)]
    mine.ended(answers[0])
    answers.append(
        mine.http.post(f"/api/messages/{answers[0]}/retry", json={}).json()["assistant"]["id"]
    )
    mine.ended(answers[1])
    second = mine.conversation()
    mine.http.post(f"/api/conversations/{first}/shares", json={})

    answer = mine.http.get("/api/export")

    assert answer.headers["Content-Disposition"] == 'attachment; filename="outlive.jsonl"'
    lines = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    kinds = [line["type"] for line in lines]
    assert (kinds[0], kinds[-1]) == ("user", "end")
    assert lines[0]["subject"] == subject
    assert lines[-1] == {"type": "end", "conversations": 2, "messages": 3}
    found = [line["id"] for line in lines if line["type"] == "conversation"]
    assert found == [first, second]
    messages = {line["id"]: line for line in lines if line["type"] == "message"}
    for one in answers:
        assert messages[one] == {"type": "message", **mine.message(one)}
    assert kinds.count("share") == 1
    events = [line["action"] for line in lines if line["type"] == "event"]
    assert events == ["shared", "exported"]
    assert "ols_" not in answer.text
    assert "Not mine." not in answer.text


def test_an_export_can_be_read_by_people(mine: Client) -> None:
    conversation = mine.conversation(title="Tides\n# of the sea", system="Be\nshort.")
    mine.ended(mine.ask(quick("Because."), conversation))

    answer = mine.http.get("/api/export?format=markdown")

    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert "\n## Tides # of the sea\n" in answer.text
    assert "\n> Be\n> short.\n" in answer.text
    assert "\n### Answer (scripted)\n\nBecause.\n" in answer.text
    assert answer.text.endswith("\n1 conversation. This is the end of the export.\n")
    assert mine.http.get("/api/export?format=pdf").json()["code"] == "invalid_format"


def test_an_export_is_noted(rig: Rig, mine: Client, subject: str) -> None:
    mine.http.get("/api/export")
    mine.http.head("/api/export")

    rows = rig.rows(
        "SELECT credential, address FROM audit WHERE action = 'exported' AND user_id = :user",
        user=user_id(rig, subject),
    )
    assert [(row.credential, row.address) for row in rows] == [("jwt", "127.0.0.1")]


def test_a_deleted_user_is_gone_at_once_and_the_rows_soon(
    rig: Rig, required_web: Web, mine: Client, subject: str
) -> None:
    with holding(rig, mine, say("Once upon a time")) as held:
        user = user_id(rig, subject)
        made = mine.http.post(f"/api/conversations/{held.conversation}/shares", json={}).json()
        with mine.http.stream("GET", f"/api/messages/{held.id}/stream") as stream:
            pieces = stream.iter_raw()
            next(pieces)
            assert mine.http.post("/api/user/delete", json={}).status_code == 422
            answer = mine.http.post("/api/user/delete", json={"confirm": "delete everything"})
            assert answer.status_code == 204
            b"".join(pieces)  # it ends

        eventually(lambda: mine.http.get("/api/usage").status_code == 401)
        assert mine.http.get("/api/usage").json()["code"] == "user_disabled"
        with client_with(required_web, made["token"]) as reader:
            eventually(lambda: reader.http.get("/api/shared").status_code == 404)
        mine_left = "SELECT 1 FROM conversations WHERE user_id = :user"
        eventually(lambda: not rig.rows(mine_left, user=user))


def test_an_export_is_cut_when_its_reader_loses_the_right(
    rig: Rig, mine: Client, subject: str
) -> None:
    long = """
        INSERT INTO messages (id, user_id, conversation_id, role, status, body, length, sha256,
            ended_at)
        SELECT gen_random_uuid(), user_id, id, 'user', 'DONE', jsonb_build_array(
            jsonb_build_object('kind', 'text', 'meta', NULL, 'text', repeat('x', 20000000))),
            20000000, 'x', now()
        FROM conversations WHERE id = CAST(:id AS uuid) RETURNING 1"""
    rig.rows(long, id=mine.conversation())
    with mine.http.stream("GET", "/api/export") as response:
        pieces = response.iter_raw()
        read = [next(pieces)]
        assert operate(rig, "user", "disable", subject).exit_code == 0
        eventually(lambda: {mine.http.get("/api/usage").status_code for _ in range(9)} == {401})
        read += pieces

    whole = b"".join(read)
    assert len(whole) < 20_000_000
    assert b'"type":"end"' not in whole


def test_an_export_on_the_command_line_is_a_file_once_it_is_whole(
    rig: Rig, required_web: Web, mine: Client, subject: str, tmp_path: Path
) -> None:
    mine.conversation(title="Tides")
    file = tmp_path / "mine.jsonl"

    def export_all(*words: str) -> Result:
        url = {"OUTLIVE_URL": required_web.url, "OUTLIVE_TOKEN": token(subject)}
        return operate(rig, "export-all", *words, **url)

    assert export_all(str(file)).exit_code == 0
    kinds = [json.loads(line)["type"] for line in file.read_text().splitlines()]
    assert (kinds[0], kinds[-1]) == ("user", "end")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "## Tides" in export_all("--markdown").stdout
    assert export_all(str(tmp_path / "no" / "where")).exit_code == 1
    assert [*tmp_path.iterdir()] == [file]


def test_a_key_deletes_whom_it_names_and_not_whom_it_belongs_to(
    rig: Rig, required_web: Web
) -> None:
    sent, named = {"confirm": "delete everything"}, new_id()
    key, _ = new_key(rig, "ask,act_as")
    with client_with(required_web, key) as own, client_with(
        required_web, key, **{"Outlive-User": named}
    ) as acting:  # fmt: skip
        answer = own.http.post("/api/user/delete", json=sent)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        own.conversation()
        acting.conversation()
        assert acting.http.post("/api/user/delete", json=sent).status_code == 204
        eventually(lambda: acting.http.get("/api/usage").status_code == 401)
        own.conversation()
    with client_with(required_web, token(named)) as again:  # a token that is still valid
        assert again.http.get("/api/usage").json()["code"] == "user_disabled"
        assert again.http.post("/api/conversations", json={}).json()["code"] == "user_disabled"


def test_an_operator_deletes_a_user(rig: Rig, required_web: Web, subject: str) -> None:
    with client_with(required_web, token(subject)) as client:
        client.conversation()
        done = operate(rig, "user", "delete", subject, "--yes")
        assert (done.exit_code, done.output) == (0, "Deleted.\n")
        eventually(lambda: client.http.get("/api/usage").status_code == 401)
    assert operate(rig, "user", "delete", str(LOCAL_USER), "--yes").exit_code == 1
    shown = operate(rig, "audit", "--user", str(user_id(rig, subject)), "--json")
    assert [json.loads(line)["action"] for line in shown.stdout.splitlines()] == ["user_deleted"]


def test_the_local_user_cannot_be_deleted(client: Client) -> None:
    sent = {"confirm": "delete everything"}
    answer = client.http.post("/api/user/delete", json=sent)

    assert (answer.status_code, answer.json()["code"]) == (409, "needs_sign_in")


def test_an_export_that_is_left_half_way_frees_its_place(mine: Client) -> None:
    conversation = mine.conversation()
    mine.ended(mine.ask(quick("x" * 400_000), conversation))
    with mine.http.stream("GET", "/api/export") as response:
        assert response.status_code == 200

    eventually(lambda: mine.http.get("/api/export").status_code == 200)
    assert isinstance(mine.http, httpx2.Client)
