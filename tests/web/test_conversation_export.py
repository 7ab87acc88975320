"""One conversation as a file."""

from collections.abc import Iterator

import pytest

from local.programs import Web, Worker
from tests.client import Client, new_id
from tests.credentials import client_with, token
from tests.end_to_end.questions import quick


@pytest.fixture(autouse=True)
def _served(worker: Worker) -> None:
    """A worker writes the answers."""


@pytest.fixture
def mine(required_web: Web) -> Iterator[Client]:
    with client_with(required_web, token(new_id())) as client:
        yield client


def test_a_branch_is_markdown_and_the_whole_tree_is_json(mine: Client) -> None:
    conversation = mine.conversation(title="Ebb & flow: Ünïts / 5", system="Be short.")
    first = mine.ask(quick("The moon."), conversation)
    mine.ended(first)
    again = mine.http.post(f"/api/messages/{first}/retry", json={}).json()["assistant"]["id"]
    mine.ended(again)
    path = f"/api/conversations/{conversation}/export"

    branch = mine.http.get(f"{path}?leaf={first}")
    whole = mine.http.get(f"{path}?format=json")

    assert branch.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert "filename*=UTF-8''Ebb-flow-%C3%9Cn%C3%AFts-5.md" in branch.headers["Content-Disposition"]
    assert branch.text.startswith("# Ebb & flow: Ünïts / 5\n\n*")
    assert "\n> Be short.\n" in branch.text
    assert branch.text.count("### Answer (scripted)") == 1
    assert mine.http.get(path).text.count("The moon.") > branch.text.count("The moon.")
    document = whole.json()
    assert document["conversation"]["id"] == conversation
    assert document["messages"][1:] == [mine.message(first), mine.message(again)]


def test_only_its_owner_gets_it_and_only_a_branch_that_is_there(
    required_web: Web, mine: Client
) -> None:
    conversation = mine.conversation()
    path = f"/api/conversations/{conversation}/export"

    assert mine.http.get(path).headers["Content-Disposition"].endswith('filename="conversation.md"')
    assert mine.http.get(f"{path}?format=pdf").json()["code"] == "invalid_format"
    assert mine.http.get(f"{path}?leaf=x").json()["code"] == "invalid_leaf"
    assert mine.http.get(f"{path}?leaf={new_id()}").status_code == 404
    with client_with(required_web, token(new_id())) as other:
        assert other.http.get(path).status_code == 404
    mine.http.delete(f"/api/conversations/{conversation}")
    assert mine.http.get(path).status_code == 404
