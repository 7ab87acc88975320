"""The audit table, for operators: who did what and when, without content."""

from functools import partial
from operator import attrgetter
from typing import Final

from flask import Blueprint, Response, request

from shared.errors import Invalid
from shared.store import audit
from shared.store.audit import Action
from web import paging, requests, responses, schemas
from web.context import context

blueprint = Blueprint("audit_table", __name__, url_prefix="/api")

#: Rows of a page, by default and at most.
PAGE: Final = 50
PAGE_MAX: Final = 200


@blueprint.get("/audit")
def read_audit() -> Response:
    """Who did what and when, the newest first: ids, codes and addresses, never a text.

    `?user_id=` gives what a user did and what was done to them, `?action=` only one kind.
    """
    named = request.args.get("action")
    if named is not None and named not in [*Action]:
        raise Invalid(code="invalid_action")
    fetch = partial(
        audit.listed,
        context().db,
        user_id=requests.identifier("user_id"),
        action=None if named is None else Action(named),
    )
    found, cursor = paging.page(
        paging.fetching_one_more(fetch), attrgetter("id"), default=PAGE, most=PAGE_MAX
    )
    items = [schemas.AuditRowShape.of(one) for one in found]
    return responses.reply(schemas.AuditList(items=items, next=cursor))
