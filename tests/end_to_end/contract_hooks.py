"""What schemathesis runs with: ids that exist, every kind of credential, a check of our own.

`schemathesis` imports this file (SCHEMATHESIS_HOOKS) in a process of its own, and sends what it
makes up as the owner, with a token. Here each request gets one of the owner's credentials, so the
answers must be the same: a token, a service key that acts for the owner, a session's cookie. A
shared conversation is also read by its link. Who is deleted or signed out is somebody else, as the
owner is needed, and what only operators may see is asked for by one. Every answer is counted.
"""

import atexit
import json
import os
import time
import uuid
from collections import Counter, defaultdict
from itertools import count
from pathlib import Path
from typing import Any, Final

import jwt
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import EnsureResourceAvailability, UseAfterFree

#: What a schema cannot say of a request that fits it.
MEANINGS: Final = {
    "invalid_content",
    "invalid_cursor",
    "invalid_endpoint",
    "invalid_parent",
    "invalid_push_keys",
    "invalid_tool_results",
    "not_an_answer",
    "idempotency_key_reused",
    "no_such_user",
    "no_session",
    "invalid_password",
}
#: Reasons for "invalid" that no schema can say: to it 1.0 is an integer, and a question without any
#: content is one whose fields are all optional.
UNSAID: Final = {
    "Input should be a valid integer",
    "content, parts or tool_results must be there",
}
#: Of random ids, one in so many stays what it is; of reads of what is shared, one in so many is by
#: the link.
STRANGERS: Final = 4
#: Of the ids that exist, those that are used: the newest.
NEWEST: Final = 20
#: What only operators may see.
OPERATED: Final = {"/metrics", "/api/live", "/api/audit"}
#: What belongs to a conversation, and is nothing for those who have a link to it.
NOT_SHARED: Final = ("/shares", "/export", "/line", "/place")
#: What is signed in with, and what is the same for the owner. Empty without sign-in.
KNOWN: Final = json.loads(os.environ.get("CONTRACT_CREDENTIALS", "{}"))

#: What no random request has: questions that wait in a line (a conversation's id and their own),
#: and a subscription with keys.
IN_LINE: Final = json.loads(os.environ.get("CONTRACT_LINES", "[]"))
SUBSCRIPTION: Final = json.loads(os.environ.get("CONTRACT_SUBSCRIPTION", "{}"))

_ids: defaultdict[str, list[str]] = defaultdict(list)
if "CONTRACT_FILE" in os.environ:  # few random questions have an image
    _ids["file_id"].append(os.environ["CONTRACT_FILE"])
#: Conversations that are deleted now: an undelete brings them back, which no check knows.
_deleted: set[str] = set()
#: An answer of each conversation that has one.
_answer_of: dict[str, str] = {}
#: The links of conversations, and sessions that nobody needs.
_links: dict[str, str] = {}
_sessions: list[dict[str, str]] = []
_answers: Counter[str] = Counter()
_numbers, _sign_ins, _changes, _fits = count(), count(), count(), count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Ask for what exists, with a credential that is good there."""
    if case.meta is not None and case.meta.phase.name is not TestPhase.STATEFUL:
        _use_what_exists(case)
        if case.meta.generation.mode.is_positive:
            _use_what_fits(case)
    if KNOWN and case.headers.get("Authorization") == KNOWN["token"]:
        _use_a_credential(case)
    elif KNOWN and case.operation.path == "/api/sign-in" and next(_sign_ins) % STRANGERS == 0:
        case.body = KNOWN["account"]


def _use_what_exists(case: Any) -> None:
    """A random id is that of nothing. (A sequence has ids of its own.)"""
    for name, value in (case.path_parameters or {}).items():
        try:
            number = uuid.UUID(str(value)).int
        except ValueError:
            continue
        known = _ids[name]
        if known and value not in known and number % STRANGERS:
            newest = known[-NEWEST:]
            case.path_parameters[name] = newest[number % len(newest)]


def _use_what_fits(case: Any) -> None:
    """What has to be true together is never true of random requests."""
    method, path, number = case.operation.method, case.operation.path, next(_fits)
    if number % 2:
        return
    if "/line/{question_id}" in path and IN_LINE:
        half = len(IN_LINE) // 2  # a question can be sent, or removed
        mine = IN_LINE[:half] if path.endswith("/send") else IN_LINE[half:]
        place, question = mine[number // 2 % len(mine)]
        case.path_parameters |= {"conversation_id": place, "question_id": question}
    elif (method, path) == ("put", "/api/conversations/{conversation_id}/place") and _answer_of:
        place, answer = list(_answer_of.items())[-1]
        case.path_parameters["conversation_id"] = place
        case.body = {"message_id": answer, "position": 0}
    elif (method, path) == ("post", "/api/push"):
        case.body = {**SUBSCRIPTION, "endpoint": f"{SUBSCRIPTION['endpoint']}{number}"}


def _use_a_credential(case: Any) -> None:
    """Replace the owner's token by what gets the same answers."""
    number, path = next(_numbers), case.operation.path
    link = _links.get(str((case.path_parameters or {}).get("conversation_id")))
    if path in OPERATED:
        _send(case, KNOWN["operator"])
    elif path == "/api/user/delete":
        _send(case, {"Authorization": f"Bearer {_somebody()}"})
    elif path == "/api/user/password":
        _send(case, KNOWN["changing"])
        if case.meta is not None and case.meta.generation.mode.is_positive:
            _use_the_password(case)
    elif path == "/api/sign-out":
        if _sessions:
            _send(case, _sessions.pop())
    elif (
        link
        and case.operation.method == "get"
        and not path.endswith(NOT_SHARED)
        and number % STRANGERS == 0
    ):
        _send(case, {"Authorization": f"Bearer {link}"})
    else:
        _send(case, KNOWN["same"][number % len(KNOWN["same"])])


def _use_the_password(case: Any) -> None:
    """Change the password to itself, or with a wrong one."""
    if next(_changes) % STRANGERS == 0:
        known = KNOWN["account"]["password"]
        case.body = {"current": known, "new": known}


def _send(case: Any, headers: dict[str, str]) -> None:
    del case.headers["Authorization"]
    case.headers.update(headers)


def _somebody() -> str:
    """A token of a user who has just appeared."""
    claims = {**KNOWN["claims"], "sub": str(uuid.uuid4()), "exp": int(time.time()) + 300}
    return jwt.encode(claims, KNOWN["secret"], "HS256")


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer, and note what it made."""
    method = response.request.method  # schemathesis also tries others than the operation's
    path = case.operation.path
    _answers[f"{response.status_code} {method} {path}"] += 1
    if response.status_code == 201:
        made = response.json()
        if path.endswith("/shares"):
            _ids["share_id"].append(made["id"])
            if made["token"]:
                _links[str(case.path_parameters["conversation_id"])] = made["token"]
        elif path.endswith("/line"):
            _ids["question_id"] += [one["id"] for one in made["items"]]
        elif path == "/api/push":
            _ids["subscription_id"].append(made["id"])
        else:
            _ids["conversation_id"].append(made["id"])
    elif response.status_code == 202:
        made = response.json()
        _ids["message_id"].append(made.get("assistant", made)["id"])
        if path.endswith("/messages"):
            _answer_of[case.path_parameters["conversation_id"]] = made["assistant"]["id"]
        for part in made.get("user", made)["parts"]:
            if "file" in (part["meta"] or {}):
                _ids["file_id"].append(part["meta"]["file"])
    elif response.status_code == 204 and path == "/api/sign-in":
        _note_session(response)
    elif response.status_code == 204 and (method, path) == ("DELETE", _CONVERSATION):
        _deleted.add(case.path_parameters["conversation_id"])
    elif path.endswith("/undelete") and response.status_code == 200:
        _deleted.discard(case.path_parameters["conversation_id"])


_CONVERSATION: Final = "/api/conversations/{conversation_id}"


def _note_session(response: Any) -> None:
    set_cookies = [one.partition(";")[0] for one in response.headers["set-cookie"]]
    cookies = dict(one.split("=", 1) for one in set_cookies)
    _sessions.append({"Cookie": "; ".join(set_cookies), "Outlive-CSRF": cookies["outlive_csrf"]})


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether it is a failure.

    To show what was deleted is none once it was brought back. Nor is that a new conversation has
    no message of the id that a place names in its body; nor that what violates one of several
    forms (`{"type": "json_object"}` is no JSON schema) is another one of them.
    """
    if isinstance(failure, AcceptedNegativeData):
        return "/oneOf/" not in failure.message
    if isinstance(failure, EnsureResourceAvailability):
        return not (case.path.endswith("/place") and "no such message" in response.text)
    shown = case.path_parameters.get("conversation_id")
    return not isinstance(failure, UseAfterFree) or shown in _deleted


@schemathesis.check
def only_meaning_is_refused(ctx: Any, response: Any, case: Any) -> None:
    """A request that fits the document is a 422 only for what no schema can say."""
    if response.status_code != 422 or case.meta is None:
        return
    if case.meta.generation.mode.is_positive:
        problem = response.json()
        reasons = {one["message"] for one in problem.get("errors", [])}
        if not reasons or not reasons <= UNSAID:
            assert problem["code"] in MEANINGS, f"a valid request was refused: {problem['code']}"


@atexit.register
def _write() -> None:
    if "CONTRACT_COUNTS" in os.environ:
        Path(os.environ["CONTRACT_COUNTS"]).write_text(json.dumps(_answers))
