"""Shares of a conversation: made, listed and revoked by its owner, and found by their readers.

What a reader may then read is decided in Postgres, by each statement that reads
(`shared/store/access.py`), so reading what is shared needs no routes of its own.
"""

import uuid
from collections import Counter
from datetime import timedelta

from flask import Blueprint, Response

from shared.errors import Conflict
from shared.secret_token import SHARE_LINK, hashed
from shared.store import conversations, shares
from web import requests, responses, schemas
from web.auth import current_user, principal
from web.auth.host_users import UNNAMED
from web.context import context
from web.rate_limits import address
from web.wake_ups import end_streams

blueprint = Blueprint("sharing", __name__, url_prefix="/api")


@blueprint.post("/conversations/<uuid:conversation_id>/shares")
def share(conversation_id: uuid.UUID) -> Response:
    """201 with a share. A link's token is in it, and nowhere else."""
    new = requests.json_body(schemas.NewShare)
    conversations.must_own(context().db, current_user(), conversation_id)
    must_have_sign_in()
    token = SHARE_LINK.new() if new.user is None else None
    made = shares.add(
        context().db,
        current_user(),
        conversation_id,
        token_hash=None if token is None else hashed(token),
        name=new.user,
        issuer=context().settings.jwt_issuer or UNNAMED,
        lifetime=None if new.days is None else timedelta(days=new.days),
        by=credential(),
        address=address(),
    )
    # The fragment of an address stays in the browser.
    path = f"/s/{conversation_id}" if token is None else f"/s#{token}"
    plain = schemas.ShareShape.of(made, 0).model_dump()
    return responses.reply(schemas.MadeShareShape(**plain, token=token, path=path), 201)


@blueprint.get("/conversations/<uuid:conversation_id>/shares")
def list_shares(conversation_id: uuid.UUID) -> Response:
    """The shares of a conversation that are not revoked, and how many read by each."""
    db, user = context().db, current_user()
    conversations.must_own(db, user, conversation_id)
    found = shares.of(db, user, conversation_id)
    readers = context().dashboard.readers_of(conversation_id) if found else Counter()
    items = [schemas.ShareShape.of(one, readers[one.reader_id]) for one in found]
    return responses.reply(schemas.ShareList(items=items))


@blueprint.delete("/shares/<uuid:share_id>")
def revoke_share(share_id: uuid.UUID) -> Response:
    """204. Its readers' streams end at once, and what it led to is not there for them any more."""
    gone = shares.revoke(context().db, current_user(), share_id, by=credential(), address=address())
    # A named reader comes back with what they may still read.
    if gone.with_user_id is None:
        end_streams(context().livelog, "share", gone.id)
    else:
        end_streams(context().livelog, "user", gone.with_user_id)
    return Response(status=204)


@blueprint.get("/shared")
def list_shared() -> Response:
    """What others share with the one who asks: a user, or the bearer of a link."""
    found = shares.shared_with(context().db, current_user())
    items = [schemas.SharedShape.of(one) for one in found]
    return responses.reply(schemas.SharedList(items=items))


def must_have_sign_in() -> None:
    """Raise Conflict where there is only the local user."""
    if context().settings.auth == "local":
        raise Conflict(code="needs_sign_in")


def credential() -> str:
    """The credential of the request, for the audit table."""
    proved = principal().credential
    return f"{proved.kind} {proved.id}".strip()
