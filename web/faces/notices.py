"""Notices and the list that they begin with: what the page's sidebar shows."""

from functools import partial
from operator import attrgetter

from flask import Blueprint, Response, jsonify

from shared import sse
from shared.store import sidebar
from web import paging, requests
from web.auth import current_user
from web.context import context
from web.following.streaming import Face
from web.page.notices import shape

blueprint = Blueprint("notices", __name__, url_prefix="/api")

PAGE, PAGE_MAX = 50, 200

#: Notices have no text and no end; their own module writes what they have.
FACE = Face(lambda _: b"", lambda _: b"", sse.HEARTBEAT, sse.retry)


@blueprint.get("/notices")
def notices() -> Response:
    """The list as it is, and then whatever changes in it."""
    return requests.event_stream(lambda: context().notices.open(current_user(), FACE))


@blueprint.get("/sidebar")
def older() -> Response:
    """A page of the same list, the most recently active first."""
    fetch = paging.fetching_one_more(partial(sidebar.page, context().db, current_user()))
    entries, cursor = paging.page(fetch, attrgetter("place"), default=PAGE, most=PAGE_MAX)
    return jsonify(items=[shape(one) for one in entries], next=cursor)
