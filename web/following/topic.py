"""A topic: a source with a channel in Redis, kept true by the hub for as long as it has readers."""

from typing import TYPE_CHECKING, Any, TypeVar

from gevent.event import Event

from web.following.source import Source

if TYPE_CHECKING:
    from web.following.hub import Keeper

Place = TypeVar("Place")


class Topic(Source[Place]):
    """One message, or one list, as all its readers in this process see it.

    Its life: entered in the hub, subscribed to, opened (read for the first time) or refused, then
    kept true by its keeper until it has had no readers for a while, and then closed.
    """

    #: set when it is entered in the hub
    keeper: "Keeper[Any]"

    def __init__(self, channel: str) -> None:
        super().__init__()
        #: the channel that wakes it
        self.channel = channel
        self.readers = 0
        #: Redis has confirmed the subscription, and has not been lost since
        self.subscribed = Event()
        #: it was read for the first time, or refused
        self.opened = Event()
        #: why it could not be opened
        self.refusal: Exception | None = None
