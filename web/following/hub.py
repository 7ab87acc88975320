"""The hub: keeps true all that readers of this process follow, each topic once.

A topic is a message or a user's list of conversations. What a topic holds, how it is read and what
a payload on its channel means is known by its *keeper* (`MessageKeeper`, `Notices`). The hub knows
their common life, over one Redis connection:

    enter     A first reader comes: the topic is entered under its channel.
    open      The hub subscribes, waits for the confirmation, and only then has the keeper read
              Postgres. In any other order something could be published in between and be lost.
              Topics that are entered at the same moment are opened together, since after a deploy
              all readers return at once: one SUBSCRIBE and one call of the keeper for a batch.
    keep      A payload goes to the keeper. So does a subscription that was confirmed late or again,
              because something may have been missed.
    poll      Each keeper polls what has been silent, every POLL_EVERY seconds.
    close     A topic without readers is forgotten after LINGER seconds. They usually come back.

Redis only wakes. Without it nothing is lost and nothing is promised to be quick: opening does not
wait for a confirmation, polling finds what changed, and when the listener is connected again it
subscribes to all channels, each of which is then read. Without Postgres topics stay as they are.
A bug in a keeper is logged, and polling goes on.

When the process is told to stop (*draining*), all topics are closed: their readers are cut and
resume in another process.

The invariant to keep in mind: greenlets switch only where something waits. Between reading
`_topics` and the change that follows from it nothing here waits.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Generic, TypeVar

import gevent
import structlog

from shared import awake
from shared.bus.listener import Listener, Subscription
from web.following.topic import Topic

#: Seconds for which a topic without readers is kept.
LINGER: Final = 5.0
#: Seconds between two polls of a keeper.
POLL_EVERY: Final = 0.5
#: Seconds for which the confirmation of a subscription is waited for. Postgres is read without it,
#: and again when it comes.
CONFIRM: Final = 1.0

AnyTopic = TypeVar("AnyTopic", bound=Topic[Any])

log = structlog.get_logger("hub")


class Keeper(ABC, Generic[AnyTopic]):
    """What is particular to one sort of topic."""

    #: Topics that are opened by one call: few, since the body of each may be long.
    open_batch: ClassVar[int] = 20

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        #: its topics by channel; only the hub changes it
        self.topics: dict[str, AnyTopic] = {}
        hub.add_keeper(self)

    def begin(self) -> None:
        """Called once, when the process begins to follow anything."""

    @abstractmethod
    def open(self, topics: Sequence[AnyTopic]) -> None:
        """Read these for the first time. Sets `refusal` of those that cannot be read.

        What it raises is the refusal of all.
        """

    @abstractmethod
    def receive(self, topic: AnyTopic, payload: str) -> None:
        """A payload came on a topic's channel. Must not wait: it holds up all others."""

    @abstractmethod
    def subscribed(self, topic: AnyTopic) -> None:
        """The subscription was confirmed: what was published before may be missing."""

    @abstractmethod
    def poll(self) -> None:
        """Read those of `topics` that have been silent for too long."""

    def count_changed(self) -> None:
        """A topic came or went."""


class Hub:
    """The topics of this process, and the greenlets that keep them true."""

    def __init__(self, connect: Callable[[], Subscription]) -> None:
        """`connect` makes a connection to Redis that listens."""
        self._listener = Listener(
            connect, received=self._receive, subscribed=self._subscribed, lost=self._lost
        )
        self._keepers: list[Keeper[Any]] = []
        #: by channel: a payload names nothing else
        self._topics: dict[str, Topic[Any]] = {}
        #: by keeper, topics that nothing opens yet
        self._unopened: dict[Keeper[Any], list[Topic[Any]]] = {}
        self._started = False
        #: false as soon as the process is told to stop
        self._serving: Callable[[], bool] = lambda: True

    def add_keeper(self, keeper: Keeper[Any]) -> None:
        """Keep its topics, too; before the hub starts."""
        self._keepers.append(keeper)
        self._unopened[keeper] = []

    def serving_while(self, serving: Callable[[], bool]) -> None:
        """Start, and be draining as soon as `serving` is false."""
        self._serving = serving
        self._start()

    def draining(self) -> bool:
        """Whether the process stops and readers have to go."""
        return not self._serving()

    @property
    def connected(self) -> bool:
        """Whether Redis is there, as far as is known. While it is not, asking it costs seconds."""
        return self._listener.connected

    # --- the life of a topic

    def enter(self, topic: AnyTopic, keeper: Keeper[AnyTopic]) -> None:
        """Know a topic; it is not opened by this."""
        self._start()
        topic.keeper = keeper
        self._topics[topic.channel] = keeper.topics[topic.channel] = topic
        keeper.count_changed()

    def open_soon(self, topic: Topic[Any]) -> None:
        """Open it, together with others that come at the same moment."""
        unopened = self._unopened[topic.keeper]
        unopened.append(topic)
        if len(unopened) == 1:
            gevent.spawn(self._open, topic.keeper)

    def _open(self, keeper: Keeper[Any]) -> None:
        unopened, size = self._unopened[keeper], keeper.open_batch
        topics, self._unopened[keeper] = unopened[:size], unopened[size:]
        if self._unopened[keeper]:
            gevent.spawn(self._open, keeper)
        self.subscribe(topics)
        self._read_first(keeper, topics)
        for topic in topics:
            if topic.refusal is not None:
                self.drop(topic)
            topic.opened.set()

    def _read_first(self, keeper: Keeper[Any], topics: Sequence[Topic[Any]]) -> None:
        try:
            keeper.open(topics)
        except Exception as error:  # noqa: BLE001 - raised again where each reader waits
            for topic in topics:
                topic.refusal = error

    def subscribe(self, topics: Sequence[Topic[Any]], seconds: float = CONFIRM) -> None:
        """Subscribe; returns when all are confirmed, or after `seconds`."""
        self._listener.subscribe(*[topic.channel for topic in topics])
        if not self._listener.connected:
            return  # the listener subscribes when it is
        deadline = time.monotonic() + seconds
        for topic in topics:
            topic.subscribed.wait(max(0.0, deadline - time.monotonic()))

    @contextmanager
    def reading(self, topic: Topic[Any]) -> Iterator[None]:
        """A reader's time with a topic, from when it is open. Raises its refusal."""
        topic.readers += 1
        try:
            topic.opened.wait()
            if topic.refusal is not None:
                raise topic.refusal
            yield
        finally:
            topic.readers -= 1
            if not topic.readers:
                self.forget_later(topic)

    def forget_later(self, topic: Topic[Any]) -> None:
        """Drop it after LINGER seconds if nothing reads it then."""
        gevent.spawn_later(LINGER, self._forget, topic)

    def _forget(self, topic: Topic[Any]) -> None:
        if not topic.readers:
            self.drop(topic)

    def drop(self, topic: Topic[Any]) -> None:
        """Keep it true no more: readers are cut, and another topic may take its place."""
        if self._topics.get(topic.channel) is not topic:
            return  # it was dropped before, and another one may have its place
        del self._topics[topic.channel], topic.keeper.topics[topic.channel]
        topic.keeper.count_changed()
        topic.close()
        self._listener.unsubscribe(topic.channel)

    # --- what comes from Redis

    def _receive(self, channel: str, payload: str) -> None:
        topic = self._topics.get(channel)
        if topic is not None:
            topic.keeper.receive(topic, payload)

    def _subscribed(self, channel: str) -> None:
        topic = self._topics.get(channel)
        if topic is not None:
            topic.subscribed.set()
            topic.keeper.subscribed(topic)

    def _lost(self) -> None:
        for topic in self._topics.values():
            topic.subscribed.clear()

    # --- greenlets

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._listener.start()
            gevent.spawn(awake.watch)
            gevent.spawn(self._drain)
            for keeper in self._keepers:
                gevent.spawn(self._poll_for_ever, keeper)

    def _poll_for_ever(self, keeper: Keeper[Any]) -> None:
        keeper.begin()
        while True:
            gevent.sleep(POLL_EVERY)
            try:
                keeper.poll()
            except Exception:  # a bug here would leave every topic as it is
                log.exception("hub.poll")

    def _drain(self) -> None:
        while not self.draining():
            gevent.sleep(0.1)
        for topic in list(self._topics.values()):
            topic.close()
