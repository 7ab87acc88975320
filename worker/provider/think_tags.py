"""Separates thoughts in tags, `<think>…</think>`, from the answer that follows them. Pure.

Only an answer that begins with such a tag has thoughts in it. Text that may be the beginning of a
tag is held back until more has come.
"""

from typing import Final

#: Blanks before a `<think>` for which the beginning of an answer is held back.
BLANKS_MAX: Final = 200

_TAGS: Final = (("<think>", "</think>"), ("<thinking>", "</thinking>"))


class ThinkTags:
    """The beginning of an answer. Once `passed`, all text is the answer's."""

    __slots__ = ("_after", "_closing_tag", "held", "passed")

    def __init__(self, *, enabled: bool) -> None:
        #: no tag is searched for any more
        self.passed = not enabled
        #: text that may be the beginning of a tag
        self.held = ""
        #: the tag that ends the thoughts, once they have begun
        self._closing_tag = ""
        #: the thoughts have ended, but no text has come
        self._after = False

    def split(self, text: str) -> tuple[str, str]:
        """(thought, text) of what came, as far as the two can be separated yet."""
        if self.passed:
            return "", text
        if self._after:
            return "", self._strip(text)
        text, self.held = self.held + text, ""
        return self._thought(text) if self._closing_tag else self._begin(text)

    def flush(self) -> tuple[str, str]:
        """(thought, text) of what is held back, as nothing more will come."""
        held, self.held = self.held, ""
        return (held, "") if self._closing_tag else ("", held)

    def _begin(self, text: str) -> tuple[str, str]:
        """The first text: it begins with a tag, may begin with one, or does not."""
        begun = text.lstrip().lower()
        for opening, closing in _TAGS:
            if begun.startswith(opening):
                self._closing_tag = closing
                return self._thought(text.lstrip()[len(opening) :])
        if len(text) - len(begun) <= BLANKS_MAX and any(tag.startswith(begun) for tag, _ in _TAGS):
            self.held = text
            return "", ""
        self.passed = True
        return "", text

    def _thought(self, text: str) -> tuple[str, str]:
        """Text after the opening tag, which may hold the closing one."""
        tag = self._closing_tag
        thought, found, rest = text.partition(tag)
        if found:
            self._after = True
            return thought, self._strip(rest)
        # The last characters may be the beginning of the tag.
        kept = next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept], ""

    def _strip(self, text: str) -> str:
        """Text after the thoughts, without the empty lines that models put between."""
        text = text.lstrip("\r\n")
        if text:
            self.passed = True
        return text
