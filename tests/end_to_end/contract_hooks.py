"""What schemathesis runs with: ids that exist, a check of our own, and a count of every answer.

`schemathesis` imports this file (SCHEMATHESIS_HOOKS) in a process of its own.
"""

import atexit
import json
import os
import uuid
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import UseAfterFree

#: What a schema cannot say of a request that fits it.
MEANINGS = {
    "invalid_cursor",
    "invalid_parent",
    "not_an_answer",
    "idempotency_key_reused",
}
#: To a schema 1.0 is an integer, to us it is none.
NO_INTEGER = "Input should be a valid integer"
#: Of random ids, one in so many stays what it is.
STRANGERS = 4
#: Of the ids that exist, those that are used: the newest.
NEWEST = 20

_ids: defaultdict[str, list[str]] = defaultdict(list)
#: Conversations that are deleted now: an undelete brings them back, which no check knows.
_deleted: set[str] = set()
_answers: Counter[str] = Counter()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Ask for what exists: a random id is that of nothing. (A sequence has ids of its own.)"""
    if case.meta is None or case.meta.phase.name is TestPhase.STATEFUL:
        return
    for name, value in (case.path_parameters or {}).items():
        try:
            number = uuid.UUID(str(value)).int
        except ValueError:
            continue
        known = _ids[name]
        if known and value not in known and number % STRANGERS:
            newest = known[-NEWEST:]
            case.path_parameters[name] = newest[number % len(newest)]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer, and note what it made."""
    method = response.request.method  # schemathesis also tries others than the operation's
    _answers[f"{response.status_code} {method} {case.operation.path}"] += 1
    if response.status_code == 201:
        _ids["conversation_id"].append(response.json()["id"])
    elif case.operation.method == "delete" and response.status_code == 204:
        _deleted.add(case.path_parameters["conversation_id"])
    elif case.operation.path.endswith("/undelete") and response.status_code == 200:
        _deleted.discard(case.path_parameters["conversation_id"])
    elif response.status_code == 202:
        made = response.json()
        _ids["message_id"].append(made.get("assistant", made)["id"])


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether it is a failure: to show what was deleted is none once it was brought back."""
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
        if reasons != {NO_INTEGER}:
            assert problem["code"] in MEANINGS, f"a valid request was refused: {problem['code']}"


@atexit.register
def _write() -> None:
    if "CONTRACT_COUNTS" in os.environ:
        Path(os.environ["CONTRACT_COUNTS"]).write_text(json.dumps(_answers))
