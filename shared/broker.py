"""Kombu's Redis transport, without acknowledgements and with a check of every entry.

It replaces Kombu's own under the names "redis" and "rediss" in Kombu's table of transports. That is
action at a distance, but under another name Celery and Flower would show that name as part of the
broker's address.
"""

import logging
from queue import Empty
from typing import Any, Final

from kombu.connection import Connection
from kombu.transport import TRANSPORT_ALIASES, redis
from prometheus_client import Counter

from shared.queue_entries import BadEntry, read_control_message, read_entry

#: Seconds between tries to reach Redis again: the first pause, how much each grows, the longest.
RECONNECT_PAUSES: Final = (0.5, 0.5, 2.0)

BAD_ENTRIES = Counter("outlive_bad_entries", "Entries of the queue that were dropped", ["reason"])

logger = logging.getLogger(__name__)


class Channel(redis.Channel):
    """Kombu's channel, which drops entries that are not ours and acknowledges nothing."""

    from_transport_options: Any = (
        *redis.Channel.from_transport_options,
        "task_queue",
        "keyprefix_queue",
        "keyprefix_binding_permanent",
        "keyprefix_binding_deadlines",
    )
    #: The list whose entries are tasks; `make_app` sets it.
    task_queue = ""

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Do nothing: no queue of ours is acknowledged, but Kombu would still ask Redis."""

    def _brpop_read(self, **options: Any) -> bool:
        """Deliver what BRPOP returned.

        Kombu's own method raises over an entry that it cannot read, and that ends Celery's worker.
        """
        try:
            try:
                found = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not found:
                raise Empty
            name = bytes(found[0]).decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(name)
            if name == self.task_queue:
                self._deliver_task(bytes(found[1]))
            else:
                self._deliver_control(bytes(found[1]), name)
            return True
        finally:
            self._in_poll: Any = None

    def _receive_one(self, subclient: Any) -> bool:
        """Deliver what was published on a channel, likewise."""
        try:
            reply = subclient.parse_response()
        except self.connection_errors:
            self._in_listen: Any = None
            raise
        handle: Any = self._handle_message
        message = handle(subclient, reply) if isinstance(reply, list | tuple) else {}
        if bytes(message.get("type", b"")).endswith(b"message") and message["data"]:
            topic = bytes(message["channel"]).decode().removeprefix(self.keyprefix_fanout)
            queue = self._fanout_to_queue.get(topic.split("/", 1)[0])
            if queue is not None:
                self._deliver_control(bytes(message["data"]), queue)
        return True

    def _deliver_task(self, data: bytes) -> None:
        try:
            message = read_entry(data).message(self.task_queue)
        except BadEntry as error:
            _drop(str(error), data)
        else:
            self.connection._deliver(message, self.task_queue)

    def _deliver_control(self, data: bytes, queue: str) -> None:
        """Deliver what Celery's processes send each other.

        Celery finds faults in it at many places, so any error drops it. No text of it is logged,
        and the processes send such messages again and again.
        """
        try:
            self.connection._deliver(read_control_message(data), queue)
        except BadEntry as error:
            _drop(str(error), data)
        except Exception as error:  # noqa: BLE001
            _drop(type(error).__name__, data)


def _drop(reason: str, data: bytes) -> None:
    BAD_ENTRIES.labels(reason).inc()
    logger.warning("bad entry dropped: %s, %d bytes", reason, len(data))


class Transport(redis.Transport):
    """Kombu's transport, with our channels."""

    Channel = Channel


TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))


class EagerConnection(Connection):
    """A connection that is back two seconds after Redis is, however long that was away.

    Kombu's own pauses grow to thirty seconds, during which questions would wait in the queue.
    """

    def ensure_connection(self, *arguments: Any, **options: Any) -> Connection:
        """Connect, with the pauses of RECONNECT_PAUSES."""
        names = ("interval_start", "interval_step", "interval_max")
        pauses = dict(zip(names, RECONNECT_PAUSES, strict=True))
        return super().ensure_connection(*arguments, **options | pauses)  # type: ignore[no-untyped-call,no-any-return]
