"""Entries of the queue have one form; everything else is refused with a short reason."""

import base64
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs import Queue, make_app
from shared.queue_entries import ENTRY_BYTES, TASK, TITLE_TASK, BadEntry, Entry, read_entry
from shared.settings import Settings

ID = "25898727-4a6d-4d3e-9d2b-0a6d0e1f2a3b"


def _ours(task: str = TASK) -> dict[str, Any]:
    """An entry as web writes it."""
    queue = Queue(make_app(Settings.model_validate({})))
    found: dict[str, Any] = json.loads(queue._template(task).render(ID, f"{ID}.x"))
    return found


OURS = _ours()


def _refused(data: bytes) -> str:
    with pytest.raises(BadEntry) as refusal:
        read_entry(data)
    return str(refusal.value)


@pytest.mark.parametrize("task", [TASK, TITLE_TASK])
def test_entries_that_web_writes_are_read(task: str) -> None:
    entry = read_entry(json.dumps(_ours(task)).encode())

    assert (entry.task, entry.message_id) == (task, ID)
    assert entry.task_id.startswith(f"{ID}.")


def test_only_three_fields_of_an_entry_have_an_effect() -> None:
    rich = json.loads(json.dumps(OURS))
    rich["headers"] |= {"eta": "2099-01-01", "expires": 1, "timelimit": [1, 1], "shadow": "x"}
    rich["headers"]["of the next version"] = {"deep": [1]}
    embed = {"chain": [{"task": "evil"}], "callbacks": [{"task": "evil"}]}
    rich["body"] = base64.b64encode(json.dumps([[ID, 2], {"a": 1}, embed]).encode()).decode()

    plain, made = (read_entry(json.dumps(one).encode()) for one in (OURS, rich))

    assert made == plain
    assert made.message("outlive") == plain.message("outlive")
    assert "evil" not in json.dumps(made.message("outlive"))


def _without(*path: str) -> dict[str, Any]:
    found = json.loads(json.dumps(OURS))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return dict(found)


def _with(value: Any, *path: str) -> dict[str, Any]:
    found = json.loads(json.dumps(OURS))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return dict(found)


def _bodied(body: Any) -> dict[str, Any]:
    return _with(base64.b64encode(json.dumps(body).encode()).decode(), "body")


ODD: tuple[Any, ...] = (None, True, 0, 1.5, "", "x", [], [None], {}, {"x": 1})


@pytest.mark.parametrize(
    "entry",
    [
        *ODD,
        *(_without(name) for name in ("headers", "properties", "body", "content-type")),
        *(_without("headers", name) for name in ("task", "id")),
        *(_with(odd, "headers") for odd in ODD),
        *(_with(odd, "properties") for odd in ODD),
        *(_with(odd, "body") for odd in ODD),
        *(_with(odd, "content-type") for odd in ODD),
        *(_with(odd, "headers", "task") for odd in ODD),
        *(_with(odd, "headers", "id") for odd in (*ODD[:5], *ODD[6:], "x\n", "x" * 101, "é")),
        *(_with(kind, "content-type") for kind in ("application/x-python-serialize", "text/plain")),
        *(_bodied(odd) for odd in (*ODD, [[]], [ID], {"0": [ID]}, [[ID]], [[ID], {}])),
        *(_bodied([odd, {}, {}]) for odd in (*ODD, ID, [1], [ID.upper()], [[ID]])),
        _bodied([[ID], [], {}]),
        _bodied([[{"__type__": "uuid", "__value__": ID}], {}, {}]),
        _with("celery.backend_cleanup", "headers", "task"),
        _with("!!!", "body"),
        _with("gASVCAAAAAAAAACMBGV2aWyULg==", "body"),
    ],
    ids=lambda entry: json.dumps(entry)[:80],
)
def test_foreign_entries_are_refused(entry: Any) -> None:
    assert len(_refused(json.dumps(entry).encode())) < 20


def test_entries_that_are_not_json_are_refused() -> None:
    whole = json.dumps(OURS).encode()
    assert _refused(b"x") == "not JSON"
    assert _refused(b"") == "not JSON"
    assert _refused(b"\xff\xfe") == "not JSON"
    assert _refused(b"\x80\x04\x95.") == "not JSON"
    assert _refused(b"[" * 10_000) == "not JSON"
    assert _refused(b"1" * 10_000) == "not JSON"
    assert _refused(whole + b" " * ENTRY_BYTES) == "too large"
    for cut in range(len(whole)):
        assert _refused(whole[:cut]) == "not JSON"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
PATHS = st.sampled_from(
    [("body",), ("headers",), ("properties",), ("content-type",), ("content-encoding",)]
    + [("headers", name) for name in OURS["headers"]]
    + [("properties", name) for name in OURS["properties"]]
)


@given(st.binary() | st.text().map(str.encode) | JSON.map(lambda one: json.dumps(one).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _read_or_refused(data)


@given(PATHS, JSON)
def test_any_value_in_any_field_is_read_or_refused(path: tuple[str, ...], value: Any) -> None:
    _read_or_refused(json.dumps(_with(value, *path)).encode())


@given(JSON)
def test_any_body_is_read_or_refused(body: Any) -> None:
    _read_or_refused(json.dumps(_bodied(body)).encode())


def _read_or_refused(data: bytes) -> None:
    try:
        entry = read_entry(data)
    except BadEntry:
        return
    assert isinstance(entry, Entry)
    assert str(uuid.UUID(entry.message_id)) == entry.message_id
    assert entry.task in (TASK, TITLE_TASK)
    assert entry.task_id.isascii()
    assert entry.task_id.isprintable()
