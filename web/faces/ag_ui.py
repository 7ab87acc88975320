"""AG-UI: for `HttpAgent`, and for TanStack's client, which also comes back to a run.

A client sends its whole history with a `runId` and reads the run as events. Underneath is an
ordinary run: its conversation is the one that `threadId` names, its place there is found by what
was said, it outlives its client, and every other face shows it.

**One run for one `runId`.** It is the key of the request (`agui:<runId>`), so TanStack's reconnect,
which is the same POST again, joins the run. HttpAgent knows no reconnect: it runs again, with a new
id and with what it has of the answer. Then the newest answer to the same question is joined, if it
is open or complete, and the client is given all messages in a snapshot, and then the rest
(`dialects/ag_ui_events.py`).

**A cut** tears the connection: HttpAgent takes a clean end for success.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gevent
from flask import Blueprint, Response, request

from shared import sse
from shared.errors import Invalid, NotFound, Unavailable
from shared.lifecycle import OPEN, TERMINAL, Status
from shared.store import branches, conversations, files, messages, stopping, threads
from shared.store.messages import Message
from shared.store.threads import History
from web import aside, paging, requests, responses, schemas
from web.asking import InThread
from web.auth import current_user, principal
from web.context import context
from web.dialects import ag_ui_messages, ag_ui_request
from web.dialects.ag_ui_events import About, AgUiFace, LinesFace
from web.dialects.ag_ui_input import RunAgentInput, RunToStop
from web.dialects.ag_ui_request import Stored
from web.following.message_topic import snapshot
from web.questions import NAME_CHARS
from web.streams import message_response
from web.wake_ups import wake_message, wake_sidebars

blueprint = Blueprint("ag_ui", __name__, url_prefix="/ag-ui")

#: What every key of this dialect begins with.
KEY: Final = "agui:"
#: Messages in one page of a conversation.
PAGE_MAX: Final = 200
#: Seconds for which a client that comes back is held while Postgres is away, and between two tries.
HOLD_SECONDS: Final = 25.0
HOLD_STEP: Final = 0.5

# --- running -------------------------------------------------------------------------------------


@blueprint.post("")
def run() -> Response:
    """The run as events: a new one, or the one that the client comes back to."""
    return patiently(_run)


def _run() -> Response:
    sent = requests.json_body(RunAgentInput)
    named = request.headers.get("X-Run-Id")
    if named is not None and named != sent.run_id:
        raise Invalid("X-Run-Id names another run than runId in the body.")
    user, db = current_user(), context().db
    stored = Stored(user, files.known(db, user, aside.read(ag_ui_request.file_ids, sent)))
    asked_for = aside.read(ag_ui_request.question, sent, stored)
    same = aside.read(ag_ui_request.same, sent.thread_id, asked_for)
    history = History(
        turns=asked_for.turns,
        system=asked_for.system,
        name=sent.thread_id,
        joins=True,
        joins_ended=_joined(asked_for.partial),
    )
    asked = context().asker.ask(
        InThread(history),
        user_id=user,
        model=asked_for.model,
        options=asked_for.options,
        key=KEY + sent.run_id,
        request_hash=same,
        key_id=principal().key_id,
    )
    answer = asked.answer
    about = About(
        answer=str(answer.id),
        conversation=str(answer.conversation_id),
        thread=sent.thread_id,
        run=sent.run_id,
        parent_run=sent.parent_run_id,
        is_modern=sent.protocol_version is not None,
        runs_tools=named is not None,
    )
    shown = ag_ui_request.shown(sent, asked_for.shown) if asked_for.partial else None
    face = _face(about, fresh=asked.fresh, shown=shown)
    return _named(message_response(answer.id, face), about)


def _joined(partial: bool) -> frozenset[Status]:
    """How an answer may have ended that is not asked for again: the client has seen some of it."""
    if _comes_back():
        return TERMINAL
    return frozenset({Status.DONE}) if partial else frozenset()


def patiently(answer: Callable[[], Response]) -> Response:
    """What `answer` returns.

    A client that comes back takes any refusal for the end. So while Postgres is away it is held,
    and after HOLD_SECONDS cut, which has it come back once more.
    """
    deadline = time.monotonic() + HOLD_SECONDS
    while True:
        try:
            return answer()
        except Unavailable:
            if not _comes_back():
                raise
            if time.monotonic() > deadline:
                return AgUiFace.torn(sse.HEARTBEAT)
        gevent.sleep(HOLD_STEP)


def _comes_back() -> bool:
    return bool(request.headers.get("Last-Event-ID"))


def _named(response: Response, about: About) -> Response:
    response.headers["Outlive-Message-Id"] = about.answer
    response.headers["Outlive-Conversation-Id"] = about.conversation
    return response


# --- coming back ---------------------------------------------------------------------------------


@blueprint.get("")
def read() -> Response:
    """With `?runId=`, a run from its beginning; with `?threadId=`, the messages of a conversation
    and the run that is open there."""
    run_id, thread_id = _name("runId"), _name("threadId")
    if run_id is not None:
        return patiently(lambda: _join(run_id))
    if thread_id is not None:
        return responses.json_reply(_conversation(thread_id))
    raise Invalid("This call needs runId or threadId.")


def _name(param: str) -> str | None:
    """A name that the request gives. Raises Invalid for one that no dialect takes."""
    found = request.args.get(param)
    if found is not None and len(found) > NAME_CHARS:
        raise Invalid(f"{param} has at most {NAME_CHARS} characters.")
    return found


def _join(run_id: str) -> Response:
    answer = _answer_of(run_id)
    about = About(
        answer=str(answer.id),
        conversation=str(answer.conversation_id),
        thread=str(answer.conversation_id),
        run=run_id,
        runs_tools=True,
        rebuilds=True,
    )
    return _named(message_response(answer.id, _face(about)), about)


def _answer_of(run_id: str) -> Message:
    """The answer of a run: one that was asked for by this name, or whose own id it is."""
    db, user = context().db, current_user()
    found = None if "\0" in run_id else messages.id_of_key(db, user, KEY + run_id)
    if found is None:
        try:
            found = uuid.UUID(run_id)
        except ValueError:
            raise NotFound("There is no such run.") from None
    message = messages.load_without_body(db, found, user)
    if message.user_id != user or message.role != "assistant":
        raise NotFound("There is no such run.")
    return message


def _conversation(thread_id: str) -> dict[str, Any]:
    """The messages of the newest branch as TanStack's client keeps them, or with `?format=ag-ui` as
    HttpAgent does; none if there is no such conversation, because clients ask before the first
    question."""
    db, user = context().db, current_user()
    conversation = threads.id_of_name(db, user, thread_id)
    limit = paging.limit(PAGE_MAX, PAGE_MAX) if "limit" in request.args else None
    before = requests.identifier("before")
    try:
        conversations.load(db, user, conversation)
        page = branches.turns(db, user, conversation, before=before, limit=limit)
    except NotFound:
        return {"messages": [], "activeRun": None}
    turns = [turn.message for turn in page.turns]
    found: dict[str, Any] = {"messages": [], "activeRun": None}
    if turns and before is None and turns[-1].status in OPEN:
        turns[-1] = snapshot(db, context().livelog, turns[-1].id, user)
        found["activeRun"] = {"runId": _run_of(turns[-1].id)}
    written = {"ag-ui": ag_ui_messages.in_order}.get(_format(), ag_ui_messages.of_branch)
    found["messages"] = written(turns)
    if page.above:
        found["page"] = {"truncated": True, "cursor": str(turns[0].id)}
    return found


def _run_of(answer: uuid.UUID) -> str:
    """The name of the run that writes an answer: its own id, unless a client of AG-UI asked."""
    key = messages.key_of(context().db, current_user(), answer) or ""
    return key.removeprefix(KEY) if key.startswith(KEY) else str(answer)


# --- stopping ------------------------------------------------------------------------------------


@blueprint.post("/stop")
def stop() -> Response:
    """202 with the answer of the run; changes nothing if that has ended."""
    answer = _answer_of(requests.json_body(RunToStop).run_id)
    user = current_user()
    stopping.stop(context().db, answer.id, user)
    wake_message(context().livelog, answer.id)
    wake_sidebars(context().livelog, user)
    found = snapshot(context().db, context().livelog, answer.id, user)
    return responses.json_reply(schemas.message_json(found), 202)


# --- how ------------------------------------------------------------------------------------------


def _face(
    about: About, *, fresh: bool = False, shown: Sequence[Mapping[str, Any]] | None = None
) -> AgUiFace:
    """SSE, or lines if the address says `?format=ndjson`."""
    kind = LinesFace if _format() == "ndjson" else AgUiFace
    return kind(about, fresh=fresh, shown=shown)


def _format() -> str:
    """What `?format=` asks for. Raises Invalid."""
    found = request.args.get("format", "")
    if found not in ("", "ag-ui", "ndjson"):
        raise Invalid("format is ag-ui (messages of a conversation) or ndjson (lines of a run).")
    return found
