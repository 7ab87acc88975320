"""Notices, and the list that they begin with: what the page's sidebar shows."""

from functools import partial
from operator import attrgetter
from typing import Any

from flask import Blueprint, Request, Response, jsonify

from shared import sse
from shared.store import sidebar
from shared.store.sidebar import Change, State
from web import paging
from web.auth import current_user
from web.context import context
from web.event_source import EventSourceFace
from web.following.face import Then, Written
from web.page.notices import SidebarTopic, Version, shape
from web.streams import stream_response

blueprint = Blueprint("notices", __name__, url_prefix="/api")

PAGE, PAGE_MAX = 50, 200


class NoticesFace(EventSourceFace[SidebarTopic, Version]):
    """`state` with the list, then `change` with what is different. It has no end."""

    start = Version(None)

    def position(self, request: Request) -> Version:  # noqa: ARG002
        """Always the beginning: a reader that comes back is shown the list."""
        return self.start

    def write(self, source: SidebarTopic, place: Version) -> Written[Version]:
        """What a reader that was shown `place` has to be shown."""
        current = source.current
        if current is place or current.state is None:
            return b"", place, Then.WAIT
        frames = _list(current.state) if place.state is None else _diff(place.state, current.state)
        return frames, current, Then.WAIT


FACE = NoticesFace()


def _list(state: State) -> bytes:
    following = None if state.more is None else paging.encode_cursor(state.more)
    shown = [shape(entry) for entry in state.entries.values()]
    return sse.encode("state", {"conversations": shown, "next": following})


def _diff(seen: State, state: State) -> bytes:
    found = [_change(change) for change in sidebar.changes(seen, state)]
    return sse.encode("change", {"changes": found}) if found else b""


def _change(change: Change) -> dict[str, Any]:
    if change.entry is None:
        return {"what": change.what, "id": str(change.id)}
    return {"what": change.what, "conversation": shape(change.entry)}


@blueprint.get("/notices")
def notices() -> Response:
    """The list as it is, and then what changes in it."""
    return stream_response(FACE, context().notices.follow)


@blueprint.get("/sidebar")
def older() -> Response:
    """A page of the same list, the most recently active first."""
    fetch = paging.fetching_one_more(partial(sidebar.page, context().db, current_user()))
    entries, cursor = paging.page(fetch, attrgetter("place"), default=PAGE, most=PAGE_MAX)
    return jsonify(items=[shape(one) for one in entries], next=cursor)
