"""What a reply says, from the bytes of its body to pieces of an answer. Pure: no I/O, no clock.

    Reader.feed(bytes) ─▶ events, or one JSON document ─▶ Reply.take ─▶ write(kind, text)

Written against what servers send, not only against what they document. What it guarantees:

* **Done only when it was said.** `ended` is true after `[DONE]`, or after a finish reason that
  nothing followed: some servers put a reason into every chunk, or into the first one. Text that
  comes later takes the claim back until there is another end. `answered` tells whether there is
  anything that a person would call an answer; whoever reads a reply needs both to call it DONE.
* **Nothing good is lost to something odd.** Content of any shape and nesting becomes pieces
  (`pieces`); raw control characters, bytes that are no UTF-8 and empty packets are forgiven;
  images, for which a body has no parts, are left out and counted. What cannot be understood at
  all ends the reply as provider_malformed, with everything before it kept.
* **An error is one in whatever shape** (`fault_of`). While nothing was shown, refusals.py says
  whether it is worth another try; later it ends the answer as provider_error.
* **Everything is bounded.** Between two calls a reader holds at most LINE_LIMIT bytes besides the
  tool calls that it collects, which count against the answer's limit with their names and ids. A
  call costs little time, too: a document is not parsed that has more structure than STRUCTURE_MAX.

Finish reasons are known by one table (REASONS) and stored by one name each, so that a page or a
client needs five words and not fifty; what is not in the table is kept as it came.

A body grows only at its end, but several tool calls may grow in turns: they are collected and
written when the reply is closed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from shared.body import PARTS_MAX, Part
from shared.errors import GenerationFailed
from shared.sse import Decoder, Event, Gathered, LineTooLong
from shared.text import Normaliser, normalise
from worker.provider.refusals import WEB_PAGE, Asked, Refusal, judge_in_stream

#: Bytes of one line of a stream, and of a reply that is one document. With as many parts as an
#: answer may have, each of which costs 400 bytes, that is less than a MiB.
LINE_LIMIT: Final = 700_000
#: Lists and objects, and commas outside of strings, that a document may have: a parser takes half
#: a microsecond for each, and nobody else has a turn meanwhile. Below so many characters it is not
#: counted.
STRUCTURE_MAX: Final = 40_000
COMMAS_MAX: Final = 120_000
STRUCTURE_FREE: Final = 1 << 14
#: Quotes, but for escaped ones, of a document whose structure is counted without its strings.
QUOTES_MAX: Final = 100_000
#: Pieces that the content of one chunk may have, and choices or documents that may come at once.
PIECES_MAX: Final = 4_000
AT_ONCE_MAX: Final = 1_000
#: Counts of a usage object that are kept, and characters of a count's or a reason's name.
COUNTS_MAX: Final = 64
NAME_MAX: Final = 100
#: Blanks before a `<think>` for which the beginning of an answer is held back.
BLANKS_MAX: Final = 200

_decode: Final = json.JSONDecoder(strict=False).raw_decode
#: A string of JSON. (Written so that text without escapes costs nearly nothing.)
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
#: Bytes of a document in which a value is looked for first; then eight times as many, and so on.
WINDOW: Final = 1 << 12
#: Binary data inside a line: it is long, and nothing of it is text.
_BINARY: Final = re.compile(
    rb'(;base64,|[^\\]"(?:b64_json|data|image|audio|bytes)"\s*:\s*")[A-Za-z0-9+/=_-]{1024,}'
)

# --- finish reasons -------------------------------------------------------------------------------

#: Stored name -> spellings of it, in small letters, with `_` for every other separator.
REASONS: Final[Mapping[str, str]] = {
    spelling: name
    for name, spellings in {
        "stop": "stop stopped eos eos_token eot end end_turn end_of_turn complete completed done"
        " finish finished stop_sequence stop_token normal success",
        "length": "length max_tokens max_token max_length model_length token_limit"
        " max_output_tokens max_completion_tokens max_new_tokens max_context_length context_length"
        " context_length_exceeded context_window_exceeded model_context_window_exceeded"
        " token_limit_reached length_limit length_capped truncated incomplete",
        "content_filter": "content_filter content_filtered contentfilter filter filtered sensitive"
        " refusal refused safety blocked blocklist prohibited_content recitation spii image_safety"
        " guardrail guardrails guardrail_intervened error_toxic moderation policy_violation"
        " content_policy content_policy_violation risk_control unsafe",
        "tool_calls": "tool_calls tool_call tool_use tool tools toolcalls function_call"
        " function_calls",
        "error": "error errored abort aborted cancelled canceled cancel user_cancel failed failure"
        " insufficient_system_resource network_error internal_error server_error model_error"
        " engine_error timeout timed_out malformed_function_call unexpected_tool_call error_limit"
        " overloaded exception unavailable interrupted",
    }.items()
    for spelling in spellings.split()
}
#: Words that stand for no reason, which some send with every chunk.
_NO_REASON: Final = frozenset(
    ("", "null", "none", "nil", "undefined", "unspecified", "not_finished", "in_progress")
)


def finish_reason_of(said: Any) -> str | None:
    """The stored name of a finish reason; one that is unknown as it is; None for none."""
    if not isinstance(said, str):
        return None
    spelling = re.sub(r"[^a-z0-9]+", "_", said.strip().lower()).strip("_")
    spelling = spelling.removeprefix("finish_reason_")
    if spelling in _NO_REASON and said.isascii():
        return None
    return REASONS.get(spelling) or normalise(said[:NAME_MAX])


# --- content --------------------------------------------------------------------------------------

#: Keys of a part of content under which there are thoughts, and under which there is text.
_THOUGHT_KEYS: Final = ("thinking", "reasoning", "reasoning_content", "thought", "summary")
_TEXT_KEYS: Final = ("text", "content", "output_text", "refusal", "value", "parts")
_MEDIA_TYPES: Final = re.compile("image|audio|video|file|media")
_MEDIA_KEYS: Final = ("image_url", "b64_json", "inline_data", "inlineData", "input_audio")
#: What `pieces` calls something that a body has no part for.
LEFT_OUT: Final = "left out"


def pieces(content: Any, kind: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of any content, in order: a string, a part, a list of parts of any nesting.

    `kind` is what plain text in it is. (LEFT_OUT, "") stands for an image and the like. Raises
    GenerationFailed for numbers and such, which nobody can mean, and for too many pieces.
    """
    waiting = [(content, kind)]
    taken = 0
    while waiting:
        taken += 1
        if taken + len(waiting) > PIECES_MAX:
            raise GenerationFailed("provider_malformed")
        value, kind = waiting.pop()
        if isinstance(value, str):
            if value:
                yield kind, value
        elif isinstance(value, list):
            waiting += [(item, kind) for item in reversed(value)]
        elif isinstance(value, dict):
            if _is_media(value):
                yield LEFT_OUT, ""
            else:
                waiting += reversed(list(_inside(value, kind)))
        elif value:
            raise GenerationFailed("provider_malformed")


def _inside(part: dict[str, Any], kind: str) -> Iterator[tuple[Any, str]]:
    """What a part of content consists of."""
    name = part.get("type")
    name = name if isinstance(name, str) else ""
    if "tool" in name:
        return
    thought = part.get("thought") is True or re.search("think|thought|reason|summary", name)
    kind = "reasoning" if thought else kind
    for keys, of in ((_THOUGHT_KEYS, "reasoning"), (_TEXT_KEYS, kind)):
        found = next((part[key] for key in keys if part.get(key) not in (None, True, False)), None)
        if found is not None:
            yield found, of


def _is_media(part: dict[str, Any]) -> bool:
    name = part.get("type")
    return any(key in part for key in _MEDIA_KEYS) or (
        isinstance(name, str) and _MEDIA_TYPES.search(name) is not None
    )


# --- errors ---------------------------------------------------------------------------------------

_CODES: Final = ("code", "status", "status_code", "http_code", "error_code")
_ERROR_KEYS: Final = ("error_code", "errcode", "errorCode", "error_msg", "errmsg", "error_message")
_GOOD_CODES: Final = (None, 0, 200, "", "0", "200", "ok", "OK", "success", "Success")


def fault_of(chunk: dict[str, Any]) -> Any:
    """The error that a chunk is, in whatever shape; None if it is none."""
    if chunk.get("error"):
        return chunk["error"]
    base = chunk.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in _GOOD_CODES:
        return base
    if chunk.get("choices"):
        return None
    bad = (
        chunk.get("success") is False
        or chunk.get("ok") is False
        or "error" in (chunk.get("object"), chunk.get("type"))
        or chunk.get("status") in ("error", "failed", "fail")
        or chunk.get("errors")
        or chunk.get("detail")
        or any(chunk.get(key) not in _GOOD_CODES for key in _ERROR_KEYS)
    )
    if not bad and "choices" not in chunk and not chunk.get("object"):
        said = chunk.get("message") or chunk.get("msg")
        bad = isinstance(said, str) and bool(said)
    return chunk if bad else None


def status_of(fault: Any) -> int:
    """The HTTP status that an error calls itself by; 0 if it does not."""
    inner = fault.get("error") if isinstance(fault, dict) else None
    for place in (fault, inner):
        if isinstance(place, dict):
            codes = [str(place.get(key)) for key in _CODES]
            found = next((code for code in codes if re.fullmatch("[45][0-9]{2}", code)), None)
            if found:
                return int(found)
    return int(fault) if isinstance(fault, int) and 400 <= fault < 600 else 0


def _said_by(fault: Any) -> str:
    """The words of an error."""
    try:
        return json.dumps(fault, ensure_ascii=False)
    except RecursionError:
        return ""


# --- a reply --------------------------------------------------------------------------------------

#: Fields with thoughts; the same thought may stand in several. And fields that repeat them.
_THOUGHTS: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_REPEATED: Final = ("reasoning_details", "thinking_blocks")
#: Fields with something that a body has no part for.
_MEDIA: Final = ("images", "image", "audio")
#: Tags around thoughts, where an answer begins with one.
_TAGS: Final = (("<think>", "</think>"), ("<thinking>", "</thinking>"))
#: Data and names of events that only keep a connection open.
_NOTHING: Final = frozenset(("", "null", "ping", "pong", "keep-alive", "keepalive", "heartbeat"))
_KEEP_ALIVE: Final = frozenset(("ping", "keep-alive", "keepalive", "heartbeat"))
#: The reasons that say that something is missing: a plain stop afterwards does not take them back.
_INCOMPLETE: Final = ("length", "content_filter")


class Write(Protocol):
    """Takes text of the answer; `fresh` begins a part even if the last one is of this kind.

    Without text it says that more of this kind came, which is shown later.
    """

    def __call__(
        self, kind: str, text: str, meta: dict[str, Any] | None = None, *, fresh: bool = False
    ) -> object: ...


class Reply:
    """Turns events into text, a finish reason and usage.

    Raises GenerationFailed: provider_malformed for what cannot be understood, provider_error for
    an error in the stream. Raises Refusal for an error of which refusals.py knows more, as long
    as nothing was shown.
    """

    def __init__(
        self, write: Write, limit: int, *, think_tags: bool = True, asked: Asked | None = None
    ) -> None:
        """`limit`: characters of tool calls, with their names, that may wait for the end.

        `think_tags`: an answer that begins with `<think>` begins with thoughts.
        """
        self._write = write
        self._limit = limit
        self._asked = asked or Asked()
        self._kind = ""
        self._normaliser = Normaliser()
        self._calls = _Calls()
        #: what is held back while it may be a tag, and the tag that ends the thoughts
        self._held = ""
        self._closing_tag = ""
        self._may_think = think_tags
        #: how the answer begins is settled, and it has begun: pieces go straight on
        self._plain = False
        #: pieces of text that came, and what had moved at the time of the finish reason
        self._shown = 0
        self._moved_at_reason = 0
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        #: images and the like, which a body has no parts for
        self.left_out = 0
        self.answered = False
        self.done = False

    @property
    def moved(self) -> int:
        """Grows with everything new of the answer."""
        return self._shown + self._calls.grown

    @property
    def ended(self) -> bool:
        """Whether the provider said, explicitly, that this was all, and nothing followed."""
        return self.done or (self.finish_reason is not None and self._moved_at_reason == self.moved)

    def take(self, event: Event) -> None:
        """One event of the stream."""
        data = event.data
        if data[:1] == "{" and event.event != "error":
            chunk: dict[str, Any] = {}
            try:
                chunk, end = _decode(data) if _is_cheap(data) else (chunk, -1)
            except (ValueError, RecursionError):
                end = -1
            if end == len(data):
                self._chunk(chunk)
                return
        self._odd(event)

    def take_whole(self, document: bytes) -> Iterator[None]:
        """A reply that is one JSON document (or several, one after another) and no stream.

        Yields between two of them, where others may have a turn; what is held meanwhile of those
        that follow is only their bytes.
        """
        document = _clean(document)
        at, room, understood = 0, WINDOW, False
        while at < len(document) and not self.done:
            found = _value_at(document, at, room)
            if found is None:
                room *= 8
            else:
                room, at = WINDOW, found[1]
                understood = self._take_all(found[0]) or understood
                del found
            yield
        if not understood and not self.done:
            raise GenerationFailed("provider_malformed")

    def _take_all(self, value: Any) -> bool:
        """A value of a document, or each of a list of them; whether there was a choice."""
        understood = False
        for chunk in value if isinstance(value, list) else [value]:
            self._one_of_many(chunk)
            if self.done:
                break
            if isinstance(chunk, dict) and chunk.get("choices"):
                understood = True
                if self.finish_reason is None and "message" in chunk["choices"][0]:
                    self._finish("stop")  # it is whole, or it could not have been read
        return understood

    def close(self) -> None:
        """No more events: whatever waits for its other half is written as it is."""
        held, self._held = self._held, ""
        if held:
            self.answered = self.answered or not (self._closing_tag or held.isspace())
            self._text("reasoning" if self._closing_tag else "text", held)
        self._flush()
        for call in self._calls.taken():
            self._write("tool_call", call.whole() or "{}", call.meta, fresh=True)
        if self.left_out:
            reported = self.usage or {"source": "reported"}
            self.usage = {**reported, "left_out": {"images": self.left_out}}

    # --- events

    def _odd(self, event: Event) -> None:
        """Whatever is not one JSON object alone."""
        data = event.data.strip()
        if event.event == "error":
            try:
                fault = json.loads(data, strict=False)
            except (ValueError, RecursionError):
                fault = data
            raise self._failure(fault or "error")
        if data.strip('"') == "[DONE]":
            self.done = True
        elif data.lower() not in _NOTHING and event.event not in _KEEP_ALIVE:
            for number, value in enumerate(_values(data)):  # some leave out the blank line between
                self._one_of_many(value)
                if self.done:
                    return
                if number >= AT_ONCE_MAX:
                    raise GenerationFailed("provider_malformed")

    def _one_of_many(self, value: Any) -> None:
        if value is _DONE:
            self.done = True
        elif isinstance(value, dict):
            self._chunk(value)
        else:
            raise GenerationFailed("provider_malformed")

    def _chunk(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        if not choices or "error" in chunk or "base_resp" in chunk:
            fault = fault_of(chunk)
            if fault is not None:
                raise self._failure(fault)
        usage = chunk.get("usage")
        if usage:
            self._count(usage)
        for choice in _list(choices):
            if choice.get("index") in (0, None):
                self._choice(choice, chunk)

    def _choice(self, choice: dict[str, Any], chunk: dict[str, Any]) -> None:
        delta: Any = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        if text and type(text) is str and (len(delta) == 1 or _is_only_text(delta)):
            if self._plain:
                self._text("text", text)
            else:
                self._begin(text)
        else:
            self._delta(self._said_in(choice, chunk))
        if "usage" in choice:
            self._count(choice["usage"])
        if choice.get("error"):
            raise self._failure(choice["error"])
        reason = choice.get("finish_reason")
        if reason:
            self._finish(reason)

    def _said_in(self, choice: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
        """A delta, or what stands in its place: a message, or bare text.

        A whole message after text repeats that text.
        """
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict) and delta:
            return delta
        if isinstance(message, dict):
            repeats = chunk.get("object") == "chat.completion" and self.moved
            return {} if repeats else message
        return {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}

    def _delta(self, delta: dict[str, Any]) -> None:
        thoughts: set[str] = set()
        for field in _THOUGHTS:
            if delta.get(field):
                self._think(delta[field], thoughts)
        for field in _REPEATED:
            if not thoughts and delta.get(field):
                self._think(delta[field], thoughts)
        for field in ("content", "refusal"):
            self._content(delta.get(field), thoughts)
        for field in _MEDIA:
            if delta.get(field):
                found = delta[field]
                self._leave_out(len(found) if isinstance(found, list) else 1)
        for place, call in enumerate(_list(delta.get("tool_calls"))):
            self._call(call, place)
        if isinstance(delta.get("function_call"), dict):  # what tool calls were before
            self._call({"function": delta["function_call"]}, 0)

    def _content(self, content: Any, thoughts: set[str]) -> None:
        """Text and thoughts, but for those of `thoughts`, which other fields had."""
        for kind, text in pieces(content, "text"):
            if kind == "text":
                self._begin(text)
            elif kind == LEFT_OUT:
                self._leave_out(1)
            elif text not in thoughts:
                self._text(kind, text)

    def _leave_out(self, number: int) -> None:
        self.left_out += number
        self._write("image", "")

    # --- text

    def _think(self, value: Any, known: set[str]) -> None:
        """Thoughts of one field, unless another field of this chunk had the same."""
        thought = "".join(text for _, text in pieces(value, "reasoning"))
        if thought and thought not in known:
            known.add(thought)
            self._text("reasoning", thought)

    def _begin(self, text: str) -> None:
        """Text, which may be the beginning of the answer: thoughts in tags, or blanks."""
        if self._may_think:
            text = self._held + text
            self._held = ""
            text = self._inside(text) if self._closing_tag else self._at_first(text)
        if text:
            self.answered = self.answered or not text.isspace()
            self._plain = self.answered and not self._may_think
            self._text("text", text)

    def _at_first(self, text: str) -> str:
        """The first text of an answer: it is no thought, or may become one, or is."""
        begun = text.lstrip().lower()
        for opening, closing in _TAGS:
            if begun.startswith(opening):
                self._closing_tag = closing
                return self._inside(text.lstrip()[len(opening) :])
        if len(text) - len(begun) <= BLANKS_MAX and any(tag.startswith(begun) for tag, _ in _TAGS):
            self._held = text
            return ""
        self._may_think = False
        return text

    def _inside(self, text: str) -> str:
        """Thoughts in tags; returns what of the text stands after them."""
        tag = self._closing_tag
        if tag == _AFTER:
            return self._after(text)
        thought, found, rest = text.partition(tag)
        if not found:
            # the last characters may be the beginning of the tag
            kept = next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)
            thought = text[: len(text) - kept]
            self._held = text[len(text) - kept :]
        if thought:
            self._text("reasoning", thought)
        if not found:
            return ""
        self._closing_tag = _AFTER
        return self._after(rest)

    def _after(self, text: str) -> str:
        """The text after the thoughts, without the empty lines that models put between."""
        text = text.lstrip("\r\n")
        if text:
            self._closing_tag, self._may_think = "", False
        return text

    def _text(self, kind: str, text: str) -> None:
        if kind != self._kind:
            self._flush()
            self._kind = kind
        self._shown += 1
        shown = self._normaliser.feed(text)
        if shown:
            self._write(kind, shown)

    def _flush(self) -> None:
        rest = self._normaliser.flush()
        if rest:
            self._write(self._kind, rest)

    # --- ends

    def _finish(self, said: Any) -> None:
        reason = finish_reason_of(said)
        if reason is None:
            return
        if reason == "error":
            raise GenerationFailed("provider_error")
        if self.finish_reason is None:
            self._write(self._kind or "text", "")  # that it said so is news, if no text
        stays = self.finish_reason in _INCOMPLETE and reason == "stop" and self.ended
        if not stays:
            self.finish_reason = reason
        self._moved_at_reason = self.moved

    def _failure(self, fault: Any) -> Exception:
        """An error in the stream: one that refusals.py knows if nothing came before, else any."""
        if not (self.moved or self._held):
            status = status_of(fault)
            verdict = judge_in_stream(status, _said_by(fault), self._asked)
            if verdict is not None:
                return Refusal(verdict, status=status or None, in_stream=True)
        return GenerationFailed("provider_error")

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict) and usage:
            self.usage = usage_of(usage)

    # --- tool calls

    def _call(self, piece: dict[str, Any], place: int) -> None:
        """Collect a tool call: several may grow in turns, but a body grows only at its end."""
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        index = piece.get("index")
        index = (place if index is None else index) or 0
        if not isinstance(index, int):
            raise GenerationFailed("provider_malformed")
        call_id, name = _name(piece.get("id")), _name(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, (dict, list)) and arguments:
            arguments = json.dumps(arguments, ensure_ascii=False)
        self.answered = True
        if self._calls.add(index, call_id, name, arguments if isinstance(arguments, str) else ""):
            self._write("tool_call", "")
        if self._calls.size > self._limit or len(self._calls) >= PARTS_MAX:
            self.close()  # more than an answer may hold, so this is its end


#: Stands for the closing tag between the thoughts and the text.
_AFTER: Final = "\n"


class _Call:
    """A tool call that is being collected. Its arguments are normalised piece by piece, because 4 M
    characters at once take 50 ms."""

    __slots__ = ("_arguments", "_normaliser", "meta")

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}
        self._arguments = Part("tool_call", 0)
        self._normaliser = Normaliser()

    def grow(self, arguments: str) -> None:
        shown = self._normaliser.feed(arguments)
        if shown:
            self._arguments.grow(shown)

    def whole(self) -> str:
        return self._arguments.text + self._normaliser.flush()


class _Calls:
    """Tool calls by their index, and where two have the same one, by their id."""

    def __init__(self) -> None:
        self._all: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[tuple[int, str], _Call] = {}
        #: characters that they hold, with names and ids; pieces that came, ever
        self.size = 0
        self.grown = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, index: int, call_id: str, name: str, arguments: str) -> bool:
        """Whether anything grew."""
        call = self._call(index, call_id, name)
        before = self.size
        for key, value in (("id", call_id), ("name", name)):
            if value and call.meta.get(key) != value:
                self.size += len(value) - len(call.meta.get(key, ""))
                call.meta[key] = value
        if arguments:
            call.grow(arguments)
            self.size += len(arguments)
        self.grown += self.size != before
        return self.size != before

    def _call(self, index: int, call_id: str, name: str) -> _Call:
        current = self._by_index.get(index)
        known = self._by_id.get((index, call_id)) if call_id else None
        if known is None and current is not None:
            # Another id with a name of its own is another call, though some give it the same index.
            other = call_id and name and current.meta.get("id", call_id) != call_id
            known = None if other else current
        if known is None:
            known = _Call()
            self._all.append(known)
            self.grown += 1
        self._by_index[index] = known
        if call_id and current is not known:
            self._by_id[index, call_id] = known
        return known

    def taken(self) -> list[_Call]:
        """All of them; none are left."""
        found = self._all
        self._all, self._by_index, self._by_id, self.size = [], {}, {}, 0
        return found


def _name(value: Any) -> str:
    return normalise(value) if isinstance(value, str) else ""


# --- a body ---------------------------------------------------------------------------------------


class Reader:
    """The body of a 200 in pieces of any size, read into a reply.

    It is a stream of events, or one JSON document where the server ignored `stream`; which of
    them its first character tells, as content types are often wrong. A web page is neither.
    """

    def __init__(self, reply: Reply, content_type: str = "") -> None:
        self.reply = reply
        self._page = "html" in content_type.lower()
        self._decoder = Decoder(limit=LINE_LIMIT, errors="replace", shorten=self._shorten)
        self._events: bool | None = None
        self._document = Gathered()

    def feed(self, chunk: bytes) -> None:
        """What came. Raises what Reply raises; nothing counts after [DONE]."""
        reply = self.reply
        if not self._events and not self._is_events(chunk):
            return
        try:
            for event in self._decoder.feed(chunk):
                reply.take(event)
                if reply.done:
                    return
        except LineTooLong:
            raise GenerationFailed("provider_malformed") from None

    def end(self, *, whole: bool) -> Iterator[None]:
        """No more will come; `whole`: the body ended where it should.

        To be run to its end; yields where others may have a turn.
        """
        if self._events is not False:
            return
        try:
            yield from self.reply.take_whole(self._document.take())
        except GenerationFailed as failure:
            if whole or failure.code != "provider_malformed":
                raise

    def _is_events(self, chunk: bytes) -> bool:
        """Look at how it begins; keep it if it is no stream."""
        if self._events is None:
            begun = chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if begun == b"<" or (begun and self._page):
                raise GenerationFailed("provider_malformed", WEB_PAGE)
            self._events = begun not in (b"{", b"[") if begun else None
            if self._events is None:  # blanks, so far
                return True
        if self._events:
            return True
        self._document.add(chunk)
        if self._document.size > LINE_LIMIT:
            self._document.add(self._shorten(self._document.take()))
            if self._document.size > LINE_LIMIT:
                raise GenerationFailed("provider_malformed")
        return False

    def _shorten(self, line: bytes) -> bytes:
        """A line that is too long, without the binary data in it."""
        return _BINARY.sub(rb"\1", line)


# --- JSON -----------------------------------------------------------------------------------------

_DONE: Final = object()
_BLANKS: Final = re.compile(r"\s*")


def _values(data: str) -> Iterator[Any]:
    """The JSON values that follow one another; _DONE for [DONE]. Raises GenerationFailed."""
    at, data = 0, data.strip()
    if not _is_cheap(data):
        raise GenerationFailed("provider_malformed")
    while at < len(data):
        if _is_done(data, at):
            yield _DONE
            return
        try:
            value, at = _decode(data, at)
        except (ValueError, RecursionError):
            raise GenerationFailed("provider_malformed") from None
        yield value
        at = _next(data, at)


def _clean(document: bytes) -> bytes:
    """Valid UTF-8, without blanks around it. Raises GenerationFailed if it is too much."""
    text = document.decode("utf-8", "replace").strip()
    clean = text.encode()
    if len(clean) > LINE_LIMIT or not _is_cheap(text):  # what was not valid has grown
        raise GenerationFailed("provider_malformed")
    return clean


def _value_at(document: bytes, at: int, room: int) -> tuple[Any, int] | None:
    """The JSON value there, _DONE for [DONE], and where the next one begins; None if it may be
    that it does not end within `room` bytes. Raises GenerationFailed."""
    if _is_done(document, at):
        return _DONE, len(document)
    text = document[at : at + room].decode("utf-8", "ignore")  # half of its last character, at most
    last = at + room >= len(document)
    try:
        value, end = _decode(text)
    except (ValueError, RecursionError):
        if last:
            raise GenerationFailed("provider_malformed") from None
        return None
    end = _next(text, end)
    return (value, at + len(text[:end].encode())) if last or end < len(text) else None


def _is_done(data: str | bytes, at: int) -> bool:
    """Whether all that is left is [DONE]."""
    return len(data) - at == len("[DONE]") and data[at:] in ("[DONE]", b"[DONE]")


def _next(data: str, at: int) -> int:
    """Where the next value begins."""
    found = _BLANKS.match(data, at)
    return found.end() if found else at


def _is_cheap(data: str) -> bool:
    """Whether it is parsed soon: there is no turn for anybody else meanwhile."""
    if len(data) <= STRUCTURE_FREE or _structure(data):
        return True
    if data.count('"') - data.count('\\"') > QUOTES_MAX:
        return False
    return _structure(_STRING.sub("", data))  # so it may be text that looks like it


def _structure(data: str) -> bool:
    deep = data.count("[") + data.count("{")
    return deep <= STRUCTURE_MAX and data.count(",") <= COMMAS_MAX


def _is_only_text(delta: dict[str, Any]) -> bool:
    """Whether nothing but its content says anything: many send a role, and null for the rest."""
    return all(not delta[key] or key in ("content", "role") for key in delta)


def _list(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        return value
    if (
        not isinstance(value, list)
        or len(value) > AT_ONCE_MAX
        or not all(isinstance(item, dict) for item in value)
    ):
        raise GenerationFailed("provider_malformed")
    return value


def usage_of(usage: dict[str, Any]) -> dict[str, Any]:
    """The counts of a usage object: whole numbers, nested details kept one level deep."""
    details = {key: _counts(value) for key, value in _named(usage) if isinstance(value, dict)}
    return {**_counts(usage), **details, "source": "reported"}


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _named(usage) if _is_count(value)}


def _named(usage: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Few of them, with names that can be stored."""
    for key, value in list(usage.items())[:COUNTS_MAX]:
        yield normalise(key[:NAME_MAX]), value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
