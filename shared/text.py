"""Text as every server and reader can hold it. Pure.

Postgres refuses U+0000 and lone surrogates, JSON brings both. What is shown must be what is
saved, so text is normalised once, before any reader sees it: NUL and lone surrogates become
U+FFFD; a surrogate pair that was split over two chunks is joined.
"""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _join(match: re.Match[str]) -> str:
    return match.group().encode("utf-16", "surrogatepass").decode("utf-16")


def is_storable(text: str) -> bool:
    """Whether every server and reader can hold it as it is."""
    if text.isascii():  # most is, and the search takes longer
        return "\0" not in text
    return not _UNSTORABLE.search(text)


def normalise(text: str) -> str:
    """A whole text with pairs joined and everything that cannot be stored as U+FFFD."""
    if not _UNSTORABLE.search(text):
        return text
    return _UNSTORABLE.sub("\ufffd", _PAIR.sub(_join, text))


class Normaliser:
    """The same over a stream of chunks: a high surrogate waits for its other half."""

    __slots__ = ("_high",)

    def __init__(self) -> None:
        self._high = ""

    def feed(self, chunk: str) -> str:
        """What of the text so far can be shown now."""
        text = self._high + chunk
        self._high = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._high, text = text[-1], text[:-1]
        return normalise(text)

    def flush(self) -> str:
        """The end of the text: half a pair that waits will never be whole."""
        high, self._high = self._high, ""
        return "\ufffd" if high else ""
