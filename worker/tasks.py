"""The Celery tasks: write the message with this id, and name its conversation."""

import uuid
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Ignore

from shared.errors import GenerationFailed, StorageDown
from shared.jobs import Queue
from shared.lifecycle import Status
from shared.queue_entries import TASK, TITLE_TASK
from shared.store.owning import StoredState
from worker.titles import Titles
from worker.writer import Writer

log = structlog.get_logger("task")


class TaskFailed(Exception):
    """A bug of ours. The sweep ends the message."""


def register(app: Celery, writer: Callable[[], Writer], titles: Callable[[], Titles]) -> None:
    """Give the app its tasks. `writer` and `titles` are called when a task runs, not before."""
    queue = Queue(app)
    register_titles(app, writer, titles)

    @app.task(name=TASK, throws=(GenerationFailed,))
    def generate(message_id: Any) -> None:
        """Write one message; fails with its code if it ended in ERROR, so that Flower shows it.

        A task is only a hint: an id that is no SENDING message has no effect.
        """
        message = _id(message_id)
        if message is None:
            return
        if writer().draining:
            # Celery takes tasks for a moment after SIGTERM. Another worker should begin now, and
            # not only when the sweep dispatches the message again.
            queue.enqueue(message)
            raise Ignore
        try:
            ending = writer().write(message)
            if ending is None:
                _report(writer().stored_state(message))
        except StorageDown as error:
            log.warning("task.waits", message_id=message_id, code=error.code)
            raise Ignore from None
        except (Ignore, GenerationFailed):
            raise
        except Exception as error:
            # Celery would log its message and send it to Flower, and it may quote a text.
            log.exception("task.bug", message_id=message_id)
            raise TaskFailed(type(error).__name__) from None
        if ending is not None and ending.status == Status.ERROR and ending.error_code:
            raise GenerationFailed(ending.error_code)
        if ending is not None and ending.status == Status.DONE and titles().wants(message):
            queue.enqueue_title(message)


def _report(state: StoredState) -> None:
    """End the task of a message that this worker did not write to its end.

    All deliveries of a message are one task for Flower. While the message is open, the worker that
    owns it will report; an ended one is reported as it ended.
    """
    if state.open:
        raise Ignore
    if state.error_code:
        raise GenerationFailed(state.error_code)


def register_titles(
    app: Celery, writer: Callable[[], Writer], titles: Callable[[], Titles]
) -> None:
    """Give the app the task that names conversations."""

    @app.task(name=TITLE_TASK)
    def title(message_id: Any) -> None:
        """Name the conversation of an answer. If that fails, the title just stays as it is."""
        message = _id(message_id)
        if message is None or writer().draining:
            return
        try:
            titles().write(message)
        except Exception as error:
            log.exception("title.bug", message_id=message_id)
            raise TaskFailed(type(error).__name__) from None


def _id(message_id: Any) -> uuid.UUID | None:
    """The argument of a task as an id; None if it is something else."""
    try:
        return uuid.UUID(message_id)
    except (ValueError, TypeError, AttributeError):
        log.warning("task.refused", reason="not a message id")
        return None
