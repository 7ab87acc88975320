"""An answer as it is put together from a provider's stream. Pure: no I/O, no clock.

    bytes ─▶ ReplyParser ─▶ events ─▶ ChunkParser ─▶ text, calls, ends ─▶ Reply ─▶ write(kind, text)

Written against what servers send, not only against what they document. What the three guarantee:

* **Ended only when the provider said so.** `ended` is true after `[DONE]`, or after a finish reason
  that nothing followed: some servers put a reason into every chunk, or into the first one. Later
  text makes it false until there is another end. `answered`: whether there is anything that a
  person would call an answer. A caller needs both before it calls the reply complete.
* **Nothing good is lost to something odd.** Content of any shape is taken (content.py). Raw control
  characters, bytes that are not UTF-8 and empty packets are forgiven. Images and other media, for
  which a body has no parts, are left out and counted. Data that cannot be understood ends the reply
  as provider_malformed, with everything before it kept.
* **An error is one in whatever shape** (stream_errors.py). Before any text, refusals.py says
  whether it is worth another try; later it ends the answer as provider_error.
* **Text can be stored.** NUL and lone surrogates become U+FFFD, and a pair that was split over two
  chunks is joined. If the reply breaks off between the halves of a pair, the first half is dropped,
  as its other half never came; after an explicit end it is a lone one like any other.
* **Tool calls stream as far as a body can take them.** The first call is written as it comes, from
  the moment when its id, its name and some of its arguments are there. Other calls may grow at the
  same time, and text may follow: both are held until the reply is closed, the calls first.
* **Everything is bounded.** Between two calls at most LINE_LIMIT bytes are held, besides what waits
  for the end: tool calls, with their names and ids, and text after a call that is being written.
  Both count against the answer's limit.
"""

from typing import Any, Protocol

from shared.body import PARTS_MAX, Body
from shared.errors import GenerationFailed
from shared.text import Normaliser
from worker.provider.finish_reasons import INCOMPLETE, finish_reason_of
from worker.provider.think_tags import ThinkTags
from worker.provider.tool_calls import ToolCall, ToolCalls
from worker.provider.usage import usage_of


class Write(Protocol):
    """Takes text of the answer; `fresh` begins a part even if the last one is of this kind.

    Without text, something of this kind has come, and is written later.
    """

    def __call__(
        self, kind: str, text: str, meta: dict[str, Any] | None = None, *, fresh: bool = False
    ) -> object: ...


class Reply:
    """Writes the text of one reply, and keeps how it ends and what it cost.

    Raises GenerationFailed for a finish reason that stands for an error.
    """

    def __init__(self, write: Write, limit: int, *, think_tags: bool = True) -> None:
        """`limit`: characters of tool calls, with names and ids, and of text after them, that may
        be held.

        `think_tags`: an answer that begins with `<think>` begins with thoughts.
        """
        self._write = write
        self._limit = limit
        self._tags = ThinkTags(enabled=think_tags)
        self._calls = ToolCalls()
        #: the call that is being written
        self._written: ToolCall | None = None
        #: text that came after its beginning
        self._later = Body()
        #: kind of the last text, and what normalises it
        self._kind = ""
        self._normaliser = Normaliser()
        #: pieces of text that came
        self._pieces = 0
        #: `progress` at the finish reason
        self._progress_at_reason = 0
        #: the answer's text has begun: more of it may go straight to `append`
        self.plain = False
        #: there is text that is not blank, or a tool call
        self.answered = False
        #: [DONE] came
        self.done = False
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        #: images and other media that were left out
        self.left_out = 0

    @property
    def progress(self) -> int:
        """Grows with every new piece of the answer."""
        return self._pieces + self._calls.pieces

    @property
    def begun(self) -> bool:
        """Whether any of the answer came, even if it is held back."""
        return bool(self.progress or self._tags.held)

    @property
    def ended(self) -> bool:
        """Whether the provider said explicitly that this was all, and nothing followed."""
        return self.done or (
            self.finish_reason is not None and self._progress_at_reason == self.progress
        )

    # --- text and tool calls

    def text(self, text: str) -> None:
        """Take text that may be the beginning of the answer: thoughts in tags, or blanks."""
        thought, text = self._tags.split(text)
        if thought:
            self.append("reasoning", thought)
        if text:
            self.answered = self.answered or not text.isspace()
            self.plain = self.answered and self._tags.passed
            self.append("text", text)

    def append(self, kind: str, text: str) -> None:
        """Write text of this kind, or hold it until the call that is being written has ended."""
        if kind != self._kind:
            self._end_kind(kind)
        self._pieces += 1
        storable = self._normaliser.feed(text)
        if storable:
            if self._written is None:
                self._write(kind, storable)
            else:
                self._hold(kind, storable)

    def _end_kind(self, following: str) -> None:
        """Write, or hold, what the last kind of text has held back: another one follows."""
        half = self._normaliser.flush()
        if half:
            (self._write if self._written is None else self._hold)(self._kind, half)
        self._kind = following

    def _hold(self, kind: str, text: str) -> None:
        self._later.write(kind, text)
        self._write(kind, "")
        self._check_held()

    def tool_call(self, index: int, call_id: str, name: str, arguments: str) -> None:
        """Take a piece of a tool call: write it, or hold it."""
        self.answered = True
        if self._calls.add(index, call_id, name, arguments):
            self._write("tool_call", "")
        self._write_call()
        self._check_held()

    def _write_call(self) -> None:
        """Write what has come of the first call, once it can begin."""
        call = self._calls.first
        if call is None or (self._written is None and (self._tags.held or not call.can_begin)):
            return
        if self._written is None:
            self._end_kind("")
            self._written = call
            self._write("tool_call", call.take(), dict(call.meta), fresh=True)
        elif text := call.take():
            self._write("tool_call", text)

    def _check_held(self) -> None:
        parts = len(self._calls) + len(self._later.parts)
        if self._calls.size + self._later.length > self._limit or parts >= PARTS_MAX:
            self.close()  # more than an answer may hold: to write them raises TooLong

    def leave_out(self, number: int) -> None:
        """Count media for which a body has no part."""
        self.left_out += number
        self._write("image", "")

    # --- ends

    def set_usage(self, usage: Any) -> None:
        """Take a usage object; the last one counts."""
        if isinstance(usage, dict) and usage:
            self.usage = usage_of(usage)

    def finish(self, value: Any) -> None:
        """Take a finish reason, which may be none."""
        reason = finish_reason_of(value)
        if reason is None:
            return
        if reason == "error":
            raise GenerationFailed("provider_error")
        if self.finish_reason is None:
            self._write(self._kind or "text", "")  # progress, though without text
        # A plain stop right after "length" does not make an incomplete answer complete.
        stays = self.finish_reason in INCOMPLETE and reason == "stop" and self.ended
        if not stays:
            self.finish_reason = reason
        self._progress_at_reason = self.progress

    def close(self) -> None:
        """Write everything that was held back, as nothing more will come."""
        ended = self.ended  # now, because text that was held back counts as progress
        if self._written is not None:
            self._write_calls(ended=ended)
        later, self._later = self._later, Body()
        for part in later.parts:
            self._write(part.kind, part.text)
        thought, text = self._tags.flush()
        if thought:
            self.append("reasoning", thought)
        if text:
            self.answered = self.answered or not text.isspace()
            self.append("text", text)
        half = self._normaliser.flush()
        if half and ended:
            self._write(self._kind, half)
        self._write_calls(ended=ended)
        if self.left_out:
            reported = self.usage or {"source": "reported"}
            self.usage = {**reported, "left_out": {"images": self.left_out}}

    def _write_calls(self, *, ended: bool) -> None:
        """Write the rest of the call that is being written, and the calls that are held."""
        for call in self._calls.take():
            arguments = call.arguments(ended=ended)
            if call is not self._written:
                self._write("tool_call", arguments or "{}", call.meta, fresh=True)
            elif arguments:
                self._write("tool_call", arguments)
        self._written = None
