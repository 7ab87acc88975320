"""Entries of the queue: which ones are ours, and what is taken from them. Pure.

Anyone who reaches Redis can write to the queue, and the next version of this service may write more
than this one knows. Celery would end the worker over an entry of a form it does not expect, and run
whatever a valid one carries along (callbacks, times, limits). Therefore only three fields of an
entry are read, strictly, and Celery gets a message that is made anew of these three.
"""

import base64
import json
import re
import uuid
from typing import Any, Final, NamedTuple

TASK: Final = "outlive.generate"
TITLE_TASK: Final = "outlive.title"
#: The largest entry that is read, in bytes. Ours have about a thousand.
ENTRY_BYTES: Final = 16_384

#: What a task's id may be: Flower shows it, and logs quote it.
_TASK_ID: Final = re.compile("[0-9A-Za-z._-]{1,100}", re.ASCII)


class Entry(NamedTuple):
    """All that a worker takes from an entry of the queue."""

    task: str
    task_id: str
    message_id: str

    def message(self, queue: str) -> dict[str, Any]:
        """The message that Celery gets from its channel, made of these fields alone."""
        body = [[self.message_id], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]
        return {
            "body": base64.b64encode(json.dumps(body).encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {
                "lang": "py",
                "task": self.task,
                "id": self.task_id,
                "root_id": self.task_id,
                "argsrepr": f"['{self.message_id}']",
                "kwargsrepr": "{}",
                "ignore_result": True,
                "retries": 0,
                "timelimit": [None, None],
            },
            "properties": {
                "correlation_id": self.task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": self.task_id,
            },
        }


class BadEntry(ValueError):
    """An entry is not a task of ours. Its text is a short reason, without the content."""


def read_entry(data: bytes) -> Entry:
    """What an entry of the queue asks for. Raises BadEntry, and nothing else."""
    if len(data) > ENTRY_BYTES:
        raise BadEntry("too large")
    headers, body = _unwrap(_json_object(_parse_json(data)))
    task, task_id = headers.get("task"), headers.get("id")
    if task not in (TASK, TITLE_TASK):
        raise BadEntry("unknown task")
    if not (isinstance(task_id, str) and _TASK_ID.fullmatch(task_id)):
        raise BadEntry("no id")
    match _parse_json(body):
        case [[str(message_id), *_], dict(), dict()] if _is_id(message_id):
            return Entry(task, task_id, message_id)
    raise BadEntry("no message")


def read_control_message(data: bytes) -> dict[str, Any]:
    """A message of Celery's processes to each other, if its body is an object or a list of objects.

    Raises BadEntry if it is not.
    """
    message = _json_object(_parse_json(data))
    _, body = _unwrap(message)
    content = _parse_json(body)
    for one in content if isinstance(content, list) else [content]:
        _json_object(one)
    return message


def _unwrap(entry: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The headers and the body of a Kombu message."""
    properties, body = _json_object(entry.get("properties")), entry.get("body")
    if entry.get("content-type") != "application/json" or not isinstance(body, str):
        raise BadEntry("not JSON")
    try:
        wrapped = properties.get("body_encoding") == "base64"
        body_bytes = base64.b64decode(body) if wrapped else body.encode()
    except ValueError:
        raise BadEntry("no body") from None
    return _json_object(entry.get("headers")), body_bytes


def _parse_json(data: bytes) -> Any:
    """A JSON value."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):  # ValueError: also if it is not UTF-8
        raise BadEntry("not JSON") from None


def _json_object(value: Any) -> dict[str, Any]:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise BadEntry("no object")
    return value


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
