"""The audit table over HTTP: operators read it in pages, without content."""

import pytest

from local.programs import Web
from tests.client import Client, new_id
from tests.credentials import client_with, new_key, operate, token, user_id
from tests.rig import Rig


def test_an_operator_reads_it_in_pages_and_of_one_user(required_web: Web, rig: Rig) -> None:
    subject, title = new_id(), f"a title {new_id()}"
    with client_with(required_web, token(subject)) as client:
        made = [
            client.http.post(f"/api/conversations/{one}/shares", json={}).json()
            for one in [client.conversation(title=title)] * 3
        ]
        client.http.delete(f"/api/shares/{made[0]['id']}")
        assert client.http.get("/api/audit").json()["code"] == "not_operator"
    user = user_id(rig, subject)
    operate(rig, "user", "disable", subject)
    key, _ = new_key(rig, "admin")

    with client_with(required_web, key) as operator:
        found: list[dict[str, str]] = []
        cursor: str | None = ""
        while cursor is not None:
            query = {"user_id": str(user), "limit": "2", "cursor": cursor}
            page = operator.http.get("/api/audit", params=query).json()
            assert len(page["items"]) <= 2
            found += page["items"]
            cursor = page["next"]
        only = operator.http.get(f"/api/audit?user_id={user}&action=unshared").json()["items"]
        whole = operator.http.get("/api/audit?limit=200").text

    assert [(one["action"], one["object_id"]) for one in found] == [
        ("user_disabled", str(user)),
        ("unshared", made[0]["id"]),
        *(("shared", one["id"]) for one in reversed(made)),
    ]
    assert {one["user_id"] for one in found[1:]} == {str(user)}
    assert {one["credential"] for one in found} == {"command", "jwt"}
    assert found[-1]["address"] == "127.0.0.1"
    assert only == [found[1]]
    assert not [one for one in (title, subject, made[0]["token"], key) if one in whole]
    shown = operate(rig, "audit", "--user", str(user)).output.splitlines()
    assert [line.split()[2] for line in shown] == [one["action"] for one in found]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("user_id=x", "invalid_user_id"),
        ("action=everything", "invalid_action"),
        ("limit=201", "invalid_limit"),
        ("cursor=x", "invalid_cursor"),
        ("user=x", "unknown_parameter"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(client: Client, query: str, code: str) -> None:
    answer = client.http.get(f"/api/audit?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, code)
