"""Streams of readers who may not read any more end, in whichever process, and are refused then."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import say
from shared.bus.livelog import LiveLog
from tests.client import new_id
from tests.credentials import (
    bearer,
    client_with,
    disable,
    new_key,
    operate,
    token,
    user_id,
)
from tests.rig import Rig, eventually
from tests.stories import holding

#: Seconds, much fewer than until Postgres is asked again: it was the notification that ended them.
#: How soon is measured by `outlive bench promises`.
SOON = 30.0


class Reader:
    """A reader that notes when its stream began and ended, in a thread of its own.

    Leave it at the end: the web process is shared, and other tests count its readers.
    """

    def __init__(self, url: str, credential: str, **headers: str) -> None:
        self._url = url
        self.headers = bearer(credential) | headers
        self.began = threading.Event()
        self.ended_at = 0.0
        self.data = b""
        self._left = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self.began.wait(30)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        with suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)

    def _read(self) -> None:
        with httpx2.stream(
            "GET", self._url, headers=self.headers, timeout=60, verify=False
        ) as response:
            assert response.status_code == 200
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            try:
                for piece in response.iter_raw():
                    self.data += piece
                    self.began.set()
            except httpx2.HTTPError:
                if not self._left:
                    raise
        self.ended_at = time.monotonic()

    @property
    def open(self) -> bool:
        return self._thread.is_alive()

    def refusal(self) -> tuple[int, str]:
        """The answer to its next request."""
        answer = httpx2.get(self._url, headers=self.headers, verify=False)
        return answer.status_code, answer.json()["code"]


@contextmanager
def readers(rig: Rig, web: Web, credential: str, **headers: str) -> Iterator[list[Reader]]:
    """Eight readers of an open answer and of the list: in both processes, most likely."""
    with (
        client_with(web, credential, **headers) as client,
        holding(rig, client, say("Once upon a time")) as held,
        ExitStack() as stack,
    ):
        urls = [f"{web.url}/api/messages/{held.id}/stream", f"{web.url}/api/notices"] * 4
        yield [stack.enter_context(Reader(url, credential, **headers)) for url in urls]


def all_end_within(seconds: float, ones: list[Reader], since: float) -> None:
    eventually(lambda: not any(one.open for one in ones))
    assert max(one.ended_at for one in ones) - since < seconds


@pytest.fixture(autouse=True)
def _served(worker: Worker) -> None:
    """A worker writes the answers."""


def test_a_revoked_keys_streams_end_at_once(required_web: Web, rig: Rig) -> None:
    key, key_id = new_key(rig, "ask")
    with ExitStack() as stack:
        revoked = stack.enter_context(readers(rig, required_web, key))
        others = stack.enter_context(readers(rig, required_web, token(new_id())))

        operate(rig, "key", "revoke", key_id)
        all_end_within(SOON, revoked, time.monotonic())

        assert {one.refusal() for one in revoked} == {(401, "key_invalid")}
        assert all(one.open for one in others)
        assert all(b"retry:" in one.data for one in revoked)  # cut, not broken


def test_a_keys_streams_for_another_user_end_with_the_key(required_web: Web, rig: Rig) -> None:
    key, key_id = new_key(rig, "ask,act_as")
    subject = new_id()
    with (
        readers(rig, required_web, key, **{"Outlive-User": subject}) as revoked,
        Reader(f"{required_web.url}/api/notices", token(subject)) as own,
    ):
        operate(rig, "key", "revoke", key_id)
        all_end_within(SOON, revoked, time.monotonic())

        assert own.open


def test_a_disabled_users_streams_end_at_once(required_web: Web, rig: Rig) -> None:
    subject = new_id()
    with readers(rig, required_web, token(subject)) as theirs:
        disable(rig, subject)
        LiveLog(rig.redis.url, 60).notify_revoked("user", user_id(rig, subject))
        all_end_within(SOON, theirs, time.monotonic())

        assert {one.refusal() for one in theirs} == {(401, "user_disabled")}


def test_a_stream_ends_when_its_token_expires(required_web: Web) -> None:
    exp = int(time.time()) - 8  # accepted for another two seconds, as clocks differ
    reader = Reader(f"{required_web.url}/api/notices", token(new_id(), exp=exp))

    all_end_within(5.0, [reader], time.monotonic())

    assert reader.refusal() == (401, "token_expired")


def test_what_redis_loses_is_found_when_it_is_back(required_web: Web, rig: Rig) -> None:
    subject = new_id()
    reader = Reader(f"{required_web.url}/api/notices", token(subject))
    disable(rig, subject)  # and nobody is notified

    LiveLog(rig.redis.url, 60)._redis.client_kill_filter(_type="pubsub")
    eventually(lambda: not reader.open)

    assert reader.refusal() == (401, "user_disabled")
