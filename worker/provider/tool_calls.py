"""Collects tool calls from their pieces. Pure.

Several calls may grow in turns, but a body grows only at its end. So the first call can be written
as it comes; the others are collected, and written as parts when the reply is closed.
"""

from typing import Any

from shared.body import Part
from shared.text import Normaliser


class ToolCall:
    """A tool call that is being collected.

    Its arguments are normalised piece by piece: 4 million characters at once would take 50 ms.
    """

    __slots__ = ("_arguments", "_normaliser", "meta")

    def __init__(self) -> None:
        #: `id` and `name`, as far as they have come
        self.meta: dict[str, Any] = {}
        self._arguments = Part("tool_call", 0)
        self._normaliser = Normaliser()

    def grow(self, arguments: str) -> None:
        """Append to the arguments."""
        storable = self._normaliser.feed(arguments)
        if storable:
            self._arguments.grow(storable)

    @property
    def can_begin(self) -> bool:
        """Whether all that is fixed when its part begins has come, and some of its arguments."""
        return bool(self.meta.get("id") and self.meta.get("name") and self._arguments.end)

    def take(self) -> str:
        """Return the arguments that can be shown now, and forget them."""
        taken, self._arguments = self._arguments.text, Part("tool_call", 0)
        return taken

    def arguments(self, *, ended: bool) -> str:
        """The arguments that were not taken. Half a surrogate pair at the end is kept, as U+FFFD,
        only if `ended`."""
        half = self._normaliser.flush()
        return self._arguments.text + half if ended else self._arguments.text


class ToolCalls:
    """Tool calls by their index and, where two share one, by their id."""

    def __init__(self) -> None:
        self._all: list[ToolCall] = []
        self._by_index: dict[int, ToolCall] = {}
        self._by_id: dict[tuple[int, str], ToolCall] = {}
        #: characters of all arguments, names and ids that are held
        self.size = 0
        #: pieces that brought something new, ever
        self.pieces = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def first(self) -> ToolCall | None:
        """The call that came first."""
        return self._all[0] if self._all else None

    def add(self, index: int, call_id: str, name: str, arguments: str) -> bool:
        """Add a piece of a call; whether it brought something new."""
        call = self._call(index, call_id, name)
        new = bool(arguments)
        for key, value in (("id", call_id), ("name", name)):
            if value and call.meta.get(key) != value:
                self.size += len(value) - len(call.meta.get(key, ""))
                call.meta[key] = value
                new = True
        if arguments:
            call.grow(arguments)
            self.size += len(arguments)
        self.pieces += new
        return new

    def _call(self, index: int, call_id: str, name: str) -> ToolCall:
        """The call that a piece belongs to, which may be a new one."""
        current = self._by_index.get(index)
        known = self._by_id.get((index, call_id)) if call_id else None
        if known is None and current is not None:
            # Another id with a name of its own is another call, though some give it the same index.
            other = call_id and name and current.meta.get("id", call_id) != call_id
            known = None if other else current
        if known is None:
            known = ToolCall()
            self._all.append(known)
            self.pieces += 1
        self._by_index[index] = known
        if call_id and current is not known:
            self._by_id[index, call_id] = known
        return known

    def take(self) -> list[ToolCall]:
        """Return all calls, and forget them."""
        calls = self._all
        self._all, self._by_index, self._by_id, self.size = [], {}, {}, 0
        return calls
