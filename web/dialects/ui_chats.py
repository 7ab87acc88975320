"""The AI SDK's chats, for the faces that its transports speak to: asking, and finding the answer.

`useChat` posts the same body whatever its transport is, and names a chat by an id of its own. So
`/api/chat` and `/streams/chat` ask here, and a chat that one of them began goes on in the other.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flask import Response

from shared.errors import Invalid, NotFound
from shared.store import branches, conversations, files, messages, threads
from shared.store.asking import NEWEST, Asked
from shared.store.messages import Message
from shared.store.threads import History
from shared.tool_calls import results_of
from web import aside, errors
from web.asking import InThread, Retry
from web.auth import current_user, principal
from web.context import context
from web.dialects import gateway, ui_request
from web.dialects.ui_request import UIChat

#: How long after its end an answer is written again to a page that comes back. As long as the
#: usual stores of resumable streams keep one.
REPLAYED: Final = timedelta(days=1)
#: Turns among which the first step of an answer is looked for.
STEPS: Final = 64


def ask(sent: UIChat) -> Asked:
    """The question and the answer's placeholder. Raises what `Asker.ask` raises."""
    named = aside.read(ui_request.file_ids, sent)
    stored = files.known(context().db, current_user(), named)
    stopped = messages.stopped(context().db, current_user(), ui_request.answer_ids(sent))
    said = aside.read(ui_request.said, sent, current_user(), stored, stopped)
    same = gateway.same_request(sent)
    submits = not sent.regenerates
    # The client's ids of messages are new for each click, unless the user edits a question.
    edits = sent.message_id is not None and sent.last.role == "user"
    history = History(
        turns=said.turns,
        system=said.system,
        name=sent.id,
        joins=submits,
        repeat_hash=same.repeat_hash,
        is_repeat=submits and not edits,
    )
    wanted: InThread | Retry = InThread(history)
    if sent.message is not None:
        if sent.id is None:
            raise Invalid("A message alone needs the id of its chat.")
        found = _retried(sent)
        below = replace(history, turns=said.turns[-1:], joins=False, below=NEWEST)
        wanted = InThread(below) if found is None else Retry(found)
    return context().asker.ask(
        wanted,
        user_id=current_user(),
        model=sent.model,
        options=sent.answers,
        key=same.key,
        request_hash=same.request_hash,
        key_id=principal().key_id,
    )


def _retried(sent: UIChat) -> uuid.UUID | None:
    """The answer beside which another one is wanted, where the client sends no history."""
    if not sent.regenerates:
        return None
    if sent.message_id is not None and (named := ui_request.message_id(sent.message_id)):
        return named
    found = conversation(sent.id or "")
    branch = branch_of(found.id, limit=1) if found is not None else ()
    return branch[-1].id if branch else None


def goes_on_in(sent: UIChat) -> str | None:
    """The client's id of the message in which the answer goes on after outputs of tools."""
    goes_on = sent.last.role == "assistant" and not sent.regenerates
    return sent.last.id if goes_on else None


def resumable(chat: str) -> Sequence[Message] | None:
    """The newest answer of a chat, and what stands before it, if it is open or ended lately."""
    found = conversation(chat)
    branch = branch_of(found.id, limit=1) if found is not None else ()
    if not branch or branch[-1].role != "assistant":
        return None
    ended_at = branch[-1].ended_at
    if ended_at is not None and datetime.now(UTC) - ended_at > REPLAYED:
        return None
    return with_steps(branch[-1])


def with_steps(answer: Message) -> Sequence[Message]:
    """A branch that ends in this answer, as far as the first step of it reaches."""
    branch = branch_of(answer.conversation_id, leaf=answer.id, limit=2)
    if branch and results_of(branch[0].body):
        branch = branch_of(answer.conversation_id, leaf=answer.id, limit=STEPS)
    return branch or (answer,)


def conversation(chat: str) -> conversations.Conversation | None:
    """What a client calls by this name, or by its id; None if there is none."""
    try:
        named = threads.id_of_name(context().db, current_user(), chat)
        return conversations.load(context().db, current_user(), named)
    except NotFound:
        return None


def branch_of(
    conversation_id: uuid.UUID, leaf: uuid.UUID | None = None, *, limit: int
) -> Sequence[Message]:
    """The last turns of a branch: of the newest, or of the one that ends in `leaf`."""
    page = branches.turns(context().db, current_user(), conversation_id, leaf, limit=limit)
    return [turn.message for turn in page.turns]


def sentence(error: Exception) -> Response:
    """What went wrong, for the person who reads it; its code and the rest are in the headers."""
    problem = errors.of_any(error)
    document: dict[str, Any] = problem.get_json(silent=True) or {}
    if not document:
        return problem
    response = Response(
        str(document["detail"]), problem.status_code, content_type="text/plain; charset=utf-8"
    )
    for name, value in problem.headers.items():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    response.headers["Outlive-Error"] = str(document["code"])
    return response
