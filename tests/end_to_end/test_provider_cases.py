"""What real providers were seen to do, through web, Celery, a worker, Redis and Postgres.

The cases are those of scripted/cases.py. All of them are asked at once, of one worker; each is then
checked by itself.
"""

import pytest

from local.programs import Web, Worker
from scripted import done, finish, hold, say, script, status, usage
from scripted.cases import CASES, TEXT, Case, question
from scripted.refusals import error_body
from tests.client import Client
from tests.rig import Rig, killing
from tests.stories import NEVER, start_worker, verified_end

Asked = dict[str, str]


@pytest.fixture(scope="module")
def asked(rig: Rig, web: Web, worker_of_file: Worker) -> Asked:
    """Every case asked at once: name -> answer."""
    if not worker_of_file.alive():
        worker_of_file.start().wait()
    with Client(web.url) as client:
        return {
            name: client.ask(question(name), options=case.options, model="scripted")
            for name, case in CASES.items()
        }


@pytest.mark.failure(18, 48)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_real_providers_streams_end_rightly(
    rig: Rig, client: Client, asked: Asked, case: Case
) -> None:
    answer = asked[case.name]

    reading = client.read(answer).to_end()

    message = client.message(answer)
    assert verified_end(reading, message) == ("ERROR" if case.error else "DONE", case.error or None)
    assert case.says in (message["error"] or {"message": ""})["message"]
    assert message["text"] == case.text
    parts = case.parts or ((("text", case.text),) if case.text else ())
    assert tuple((part["kind"], part["text"]) for part in message["parts"]) == parts
    assert message["finish_reason"] == case.finish_reason
    if not case.error:
        assert message["usage"] == case.usage
    assert len(rig.scripted.requests(contains=question(case.name))) == case.requests


# --- the form of a request ------------------------------------------------------------------------


def roles(rig: Rig, asked: str) -> list[list[str]]:
    """The roles of the turns of each request with this question in it."""
    records = rig.scripted.requests(contains=asked)
    return [[turn["role"] for turn in (record.request or {})["messages"]] for record in records]


@pytest.mark.failure(49)
def test_a_question_after_a_failed_answer_is_joined_to_the_question_before(
    rig: Rig, client: Client, worker: Worker
) -> None:
    # given: a template that wants the roles to take turns
    place = client.conversation()
    failed = client.ask(script(done(), tag="failed without text", role=False), place)
    assert client.ended(failed)["error"]["code"] == "provider_empty"
    strict = status(400, error_body("Conversation roles must alternate"), when="repeated")
    again = script(strict, say(TEXT), finish(), done(), tag="asked again")

    # when
    answer = client.ask(again, place, parent_id=failed)

    # then
    assert client.ended(answer)["text"] == TEXT
    [only] = rig.scripted.requests(contains='"tag":"asked again"')
    [turn] = (only.request or {})["messages"]
    assert turn["role"] == "user"
    assert turn["content"].endswith(again)  # byte for byte
    assert "failed without text" in turn["content"]


@pytest.mark.failure(49)
@pytest.mark.parametrize(
    "words",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
    ],
)
def test_a_refused_system_text_is_sent_with_the_first_question(
    rig: Rig, client: Client, worker: Worker, words: str
) -> None:
    place = client.conversation(system="Be brief.")
    refused = status(400, error_body(words), when="system")
    asked = script(refused, say(TEXT), finish(), done(), tag=words)

    answer = client.ask(asked, place)

    assert client.ended(answer)["text"] == TEXT
    assert roles(rig, f'"tag":"{words}"') == [["system", "user"], ["user"]]
    last = rig.scripted.requests(contains=f'"tag":"{words}"')[-1]
    assert (last.request or {})["messages"][0]["content"] == f"Be brief.\n\n{asked}"


def test_each_form_that_is_refused_is_left_out_once(
    rig: Rig, client: Client, worker: Worker
) -> None:
    place = client.conversation(system="Be brief.")
    forms = {"stream_options": "Extra inputs are not permitted", "system": "System role not"
             " supported", "streamed": "Streaming is not supported"}  # fmt: skip
    refusals = [status(400, error_body(words), when=when) for when, words in forms.items()]

    answer = client.ask(script(*refusals, say(TEXT), finish(), usage(), done(), tag="forms"), place)

    assert client.ended(answer)["text"] == TEXT
    requests = [record.request or {} for record in rig.scripted.requests(contains='"tag":"forms"')]
    assert [("stream_options" in one, len(one["messages"]), one["stream"]) for one in requests] == [
        (True, 2, True),
        (False, 2, True),
        (False, 1, True),
        (False, 1, False),
    ]


def test_a_provider_that_refuses_every_form_is_provider_rejected(
    client: Client, worker: Worker
) -> None:
    asked = script(status(400, error_body("Streaming is not supported")), tag="no form")

    message = client.ended(client.ask(asked))

    assert message["error"]["code"] == "provider_rejected"


# --- time limits ---------------------------------------------------------------------------------


def test_after_a_finish_reason_the_provider_has_one_second_to_end(
    rig: Rig, web: Web, no_workers: None, client: Client
) -> None:
    patience = {"OUTLIVE_STALL_SECONDS": "2", "OUTLIVE_FIRST_TOKEN_SECONDS": "3"}
    silent = {
        "after an answer": (say(TEXT), finish(), hold(NEVER)),
        "before any": (finish(), hold(NEVER)),
        "after text that went on": (say("The "), finish(), say("whole"), hold(NEVER)),
    }
    with killing(start_worker(rig, **patience).wait()):
        answers = {
            name: client.ask(script(*steps, tag=f"silent {name}")) for name, steps in silent.items()
        }
        ends = {name: client.ended(answer) for name, answer in answers.items()}

    codes = {name: (message["error"] or {}).get("code") for name, message in ends.items()}
    assert codes == {
        "after an answer": None,
        "before any": "provider_empty",
        "after text that went on": "provider_stalled",
    }
    quiet = {
        name: rig.scripted.wait_requests(1, contains=f'"tag":"silent {name}"', ended=True)[0].quiet
        for name in silent
    }
    assert 0.9 < quiet["after an answer"] < quiet["before any"] < quiet["after text that went on"]


# --- thoughts in tags -----------------------------------------------------------------------------


def test_think_tags_stay_in_the_text_when_the_setting_is_off(
    rig: Rig, web: Web, no_workers: None, client: Client
) -> None:
    name = "thoughts in tags, 3 a chunk"
    with killing(start_worker(rig, OUTLIVE_THINK_TAGS="off").wait()):
        message = client.ended(client.ask(question(name)))

    assert message["text"] == f"<think>Let me think.</think>{TEXT}"


@pytest.mark.failure(48)
def test_an_empty_answer_is_shown_as_failed_and_can_be_retried(
    client: Client, worker: Worker
) -> None:
    place = client.conversation()
    answer = client.ask(question("only thoughts"), place)
    client.ended(answer)

    turns = client.http.get(f"/api/conversations/{place}/turns").json()["items"]

    [shown] = [turn for turn in turns if turn["id"] == answer]
    assert shown["state"] == "failed"
    assert shown["error"] == {
        "code": "provider_empty",
        "message": "The model gave no answer.",
        "retryable": True,
    }
    assert client.http.post(f"/api/messages/{answer}/retry", json={}).status_code == 202
