"""Notices: every tab and phone is shown what changes in the list of conversations."""

import json
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import gevent
import httpx2
import pytest
from gevent.event import Event

from local.programs import Web
from scripted import done, finish, hold, say, script
from shared.lifecycle import Status
from shared.sse import Decoder
from shared.store import conversations, sidebar
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.sidebar import State
from tests.client import Client, new_id
from tests.rig import PATIENCE, Rig, eventually, frozen, killing, until
from tests.store_fixtures import Store
from tests.stories import holding
from web.following.hub import Hub
from web.page.notices import FRESH, Notices, SidebarTopic


class Watching:
    """A client that follows the list: the list as it knows it, and the changes that it got."""

    def __init__(self, url: str) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.changes: list[tuple[str, str]] = []
        self.begun = threading.Event()
        self.closed = False
        self.decoder = Decoder()
        self._http = httpx2.Client(base_url=url, timeout=PATIENCE)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        assert self.begun.wait(PATIENCE)

    def _watch(self) -> None:
        with (
            suppress(httpx2.HTTPError),
            self._http,
            self._http.stream("GET", "/api/notices") as response,
        ):
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            for chunk in response.iter_raw():
                for event in self.decoder.feed(chunk):
                    self._take(event.event, json.loads(event.data))
        self.closed = True

    def _take(self, event: str, data: Any) -> None:
        if event == "state":
            self.known = {one["id"]: one for one in data["conversations"]}
            self.begun.set()
            return
        assert event == "change"
        for change in data["changes"]:
            entry = change.get("conversation")
            changed = entry["id"] if entry else change["id"]
            if entry:
                self.known[changed] = entry
            else:
                self.known.pop(changed, None)
            self.changes += [(changed, what) for what in change["what"]]

    def leave(self) -> None:
        """Close the tab."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)

    def receives(self, conversation: str, *what: str) -> None:
        """Wait until these changes came, in this order."""

        def received() -> bool:
            changes = iter([change for one, change in self.changes if one == conversation])
            return all(change in changes for change in what)

        eventually(received)

    def shows(self, conversation: str) -> str | None:
        entry = self.known.get(conversation)
        return entry["status"] if entry else None


@contextmanager
def watching(*webs: Web) -> Iterator[list[Watching]]:
    """A client that watches at each of these."""
    watchers = [Watching(web.url) for web in webs]
    try:
        yield watchers
    finally:
        for one in watchers:
            one.leave()


def every(watchers: list[Watching], conversation: str) -> set[str | None]:
    """What they all show."""
    return {one.shows(conversation) for one in watchers}


@pytest.mark.usefixtures("worker")
def test_every_process_sends_the_changes_of_a_conversations_life(
    rig: Rig, client: Client, web: Web, other_web: Web
) -> None:
    with watching(web, web, other_web) as watchers:
        # A state that comes and goes between two reads is not sent, so each is held until seen.
        with holding(rig, client, say("Done."), finish(), done()) as held:
            conversation, answer = held.conversation, held.id
            place = f"/api/conversations/{conversation}"
            for one in watchers:
                one.receives(conversation, "created", "started")
            held.go_on()
            client.ended(answer)
        for one in watchers:
            one.receives(conversation, "finished")
        eventually(lambda: every(watchers, conversation) == {"unseen"})
        client.http.patch(place, json={"title": "Renamed"})
        client.http.post(f"{place}/seen", json={"message_id": answer})
        for one in watchers:
            one.receives(conversation, "renamed")
        eventually(lambda: every(watchers, conversation) == {"idle"})
        client.http.delete(place)
        for one in watchers:
            one.receives(conversation, "deleted")
            assert conversation not in one.known
        client.http.post(f"{place}/undelete")
        for one in watchers:
            one.receives(conversation, "undeleted")
            assert one.known[conversation]["title"] == "Renamed"


@pytest.mark.usefixtures("worker")
def test_the_list_shows_what_is_being_written_and_how_it_ended(
    rig: Rig, client: Client, web: Web
) -> None:
    failing, stopped = client.conversation(), client.conversation()
    with holding(rig, client, say("On its way"), finish()) as held:
        client.ended(client.ask(script(say("x"), {"do": "cut"}, tag=new_id()), failing))
        stoppable = client.ask(script(say("y"), hold("never"), tag=new_id()), stopped)
        client.shown(stoppable)
        with watching(web) as [one]:
            assert one.shows(held.conversation) == "writing"
            assert one.known[held.conversation]["answer"]["id"] == held.id
            assert one.shows(failing) == "failed"
            assert one.known[failing]["answer"]["error_code"] == "provider_cut"
            client.stop(stoppable)
            one.receives(stopped, "stopped")
            assert one.shows(stopped) == "idle"
            held.go_on()
            one.receives(held.conversation, "finished")


@pytest.mark.usefixtures("worker")
def test_a_client_that_comes_back_gets_the_list_as_it_is(
    client: Client, web: Web, other_web: Web
) -> None:
    kept, deleted = client.conversation(), client.conversation()
    with watching(web) as [before]:
        eventually(lambda: {kept, deleted} <= set(before.known))
    answer = client.ask(script(say("Meanwhile."), finish(), done(), tag=new_id()), kept)
    client.ended(answer)
    client.http.delete(f"/api/conversations/{deleted}")

    with watching(other_web) as [after]:
        eventually(lambda: after.shows(kept) == "unseen")
        eventually(lambda: deleted not in after.known)


@pytest.mark.usefixtures("worker")
def test_without_redis_changes_are_found_by_polling(rig: Rig, client: Client, web: Web) -> None:
    conversation = client.conversation(title="Before")
    with watching(web) as [one]:
        eventually(lambda: conversation in one.known)
        with frozen(rig.redis):
            client.http.patch(f"/api/conversations/{conversation}", json={"title": "While away"})
            one.receives(conversation, "renamed")
        client.http.patch(f"/api/conversations/{conversation}", json={"title": "And back"})
        eventually(lambda: one.known[conversation]["title"] == "And back")
        assert not one.closed


def test_a_draining_process_cuts_its_streams_with_a_short_retry(rig: Rig) -> None:
    web = rig.web()
    with killing(web), watching(web) as [one]:
        web.signal(signal.SIGTERM)
        eventually(lambda: one.closed)
        assert one.decoder.retry is not None
        assert one.decoder.retry < 2_000


def test_older_conversations_come_in_pages(client: Client) -> None:
    made = [client.conversation(title=f"Old {number}") for number in range(5)]

    found: list[str] = []
    cursor = ""
    while len(found) < len(made):
        page = client.http.get(f"/api/sidebar?limit=2{cursor}").json()
        found += [one["id"] for one in page["items"]]
        cursor = f"&cursor={page['next']}"

    assert found[:5] == made[::-1]


def test_opening_a_list_that_keeps_changing_takes_one_read(store: Store) -> None:
    user = store.user()
    notices, topic = Notices(Hub(store.livelog.subscription), store.db), SidebarTopic(user)
    reads: list[State] = []

    def read(db: Database, user_id: uuid.UUID) -> State:
        notices._read(topic)  # it changes while it is read
        reads.append(found := sidebar.state(db, user_id))
        topic.closed = len(reads) > 5
        return found

    with patch("web.page.notices.sidebar", wraps=sidebar, state=read), gevent.Timeout(30):
        notices._read(topic)
        assert len(reads) == 1

        until(lambda: topic.closed)  # others go on


def test_a_stream_that_opens_during_a_read_does_not_begin_with_an_older_list(store: Store) -> None:
    user = store.user()
    notices, topic = Notices(Hub(store.livelog.subscription), store.db), SidebarTopic(user)
    notices.topics[topic.channel] = topic
    topic.opened.set()
    topic.take(sidebar.state(store.db, user), read_at=0.0)
    begun, go_on = Event(), Event()

    def read(db: Database, user_id: uuid.UUID) -> State:
        found = sidebar.state(db, user_id)
        begun.set()
        go_on.wait()
        return found

    def first_list() -> set[uuid.UUID]:
        with notices.follow(user) as followed:
            state = followed.current.state
        return set(state.entries) if state else set()

    with patch("web.page.notices.sidebar", wraps=sidebar, state=read), gevent.Timeout(PATIENCE):
        under_way = gevent.spawn(notices._read, topic)
        begun.wait()
        made = store.conversation(user)
        gevent.sleep(2 * FRESH)
        opening = gevent.spawn(first_list)
        gevent.sleep(0)
        go_on.set()
        assert made in opening.get()
        under_way.join()


# --- the changes between two states ---------------------------------------------------------------


def changes(store: Store, user: Any, between: Callable[[], object]) -> dict[Any, list[str]]:
    """The changes that a client gets that saw the list before."""
    before = sidebar.state(store.db, user)
    between()
    return {one.id: one.what for one in sidebar.changes(before, sidebar.state(store.db, user))}


def test_equal_states_have_no_changes(store: Store) -> None:
    user = store.user()
    store.ended(user)

    assert changes(store, user, lambda: None) == {}


def test_changes_between_two_reads_are_sent_as_their_outcome(store: Store) -> None:
    user = store.user()
    made: list[Any] = []

    found = changes(store, user, lambda: made.append(store.ended(user)))

    assert list(found.values()) == [["created", "finished"]]


def test_a_failure_is_marked_until_it_is_seen_and_a_stop_is_not(store: Store) -> None:
    user = store.user()
    store.ended(user, Ending.error("provider_cut"))
    store.ended(user, Ending(Status.CANCELLED))

    entries = sidebar.state(store.db, user).entries.values()

    assert sorted(one.status for one in entries) == ["failed", "idle"]


def test_a_conversation_that_leaves_the_top_of_the_list_is_not_deleted(store: Store) -> None:
    user = store.user()
    for _ in range(sidebar.STATE):
        store.conversation(user)

    found = changes(store, user, lambda: store.conversation(user))

    assert list(found.values()) == [["created"]]
    state: State = sidebar.state(store.db, user)
    assert (len(state.entries), state.more is None) == (sidebar.STATE, False)


def test_a_deletion_at_the_end_of_the_list_is_sent_when_others_sink_there(
    store: Store,
) -> None:
    user = store.user()
    last, *_ = [store.conversation(user) for _ in range(sidebar.STATE)]

    def between() -> None:
        conversations.delete(store.db, user, last)
        for _ in range(2):
            store.conversation(user)

    found = changes(store, user, between)

    assert found[last] == ["deleted"]
    assert sorted(what for [what] in found.values()) == ["created", "created", "deleted"]


def test_a_conversation_that_is_being_written_is_in_the_state_at_any_age(store: Store) -> None:
    user = store.user()
    open_one = store.row(store.sending(user)).conversation_id
    for _ in range(sidebar.STATE + 1):
        store.conversation(user)

    assert sidebar.state(store.db, user).entries[open_one].status == "waiting"
