"""What a conversation is called: by its question at first, by a model afterwards. Pure.

The question's title leaves out what is polite and says nothing ("Can you help me …"), and ends at
a word. A model's title replaces it only if it is better: one short line about this conversation.
Small models echo the question, repeat what they were asked for ("At most six words"), answer the
question or run on; the question's own words are better than each of these.
"""

import re
from collections.abc import Iterator
from typing import Final

#: Code points, and words, that a title may have.
CHARS: Final = 60
WORDS: Final = 9
#: Code points of a question that are looked at.
BEGINNING: Final = 4 * CHARS
#: Shorter words say little about what a title is about; longer ones are compared by their
#: beginning, so that "boiling" is about "boil".
SHORT: Final = 3
STEM: Final = 4
#: The part of a title's words that has to be in the conversation, and the part of a question's
#: words from which on a title echoes it.
ABOUT: Final = 0.6
ECHO: Final = 0.8

#: What is polite and says nothing: a greeting before something else, and a request to do it.
_GREETING: Final = re.compile(r"^(?:hi|hello|hey)\b[ ,!.]+(?=\w+ \w)", re.IGNORECASE)
_POLITE: Final = re.compile(
    r"^(?:please )?"
    r"(?:(?:can|could|would|will) you (?:please |kindly )?(?:help me (?:to )?|tell me )?"
    r"|i(?: would|'d) like (?:you )?to |i want (?:you )?to |i need (?:you )?to |help me (?:to )?"
    r"|(?:kannst|könntest) du (?:mir )?(?:bitte )?|bitte |please )(?:please )?(?=\w+ \w)",
    re.IGNORECASE,
)
#: The end of a first sentence that says enough on its own.
_SENTENCE: Final = re.compile(r"(?<=\w[.!?])\s+|(?<=[。！？])")  # noqa: RUF001

#: What models put before a title.
_PREFIX: Final = re.compile(r"^[\s#*_>\"'“”„«»`-]*(?:title\s*:)?[\s*_\"'“”„«»`]*", re.IGNORECASE)
#: What was asked of the model, an answer instead of a title, more than one sentence, or code.
_NO_TITLE: Final = re.compile(
    r"\b(?:(?:at (?:most|least)|\w+ words or|no more than|under) (?:\w+ )?(?:words?|less|fewer)"
    r"|at (?:most|least) \w*\d|words? or (?:less|fewer)|(?:six|five|\d+) words|no quot\w*|quotation"
    r"|full stop|char(?:acter)?s? max|name this|this (?:question|conversation|title))\b"
    r"|^(?:here(?:'s| is| are)|sure\b|certainly|of course|as an ai|you can)"
    r"|^i(?:'m| am|'ll| will| can)\b"
    r"|(?:\w{4}[.]|[!?…])\s+\S|(?:\.\.|…|[!?:;,])$|[=<>{}|\\;]|\bselect \*",
    re.IGNORECASE,
)
_STOPWORDS: Final = frozenset({
    "and", "are", "but", "can", "das", "der", "die", "ein", "eine", "for", "from", "how", "into",
    "its", "las", "les", "los", "not", "the", "this", "una", "und", "une", "was", "what", "when",
    "where", "which", "who", "why", "with", "you", "your",
})  # fmt: skip
_THOUGHTS: Final = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


def by_question(question: str) -> str | None:
    """The title that a question gives its conversation; None: it has no text."""
    asked = " ".join(question[:BEGINNING].split())
    greeted = _GREETING.sub("", asked)
    title = _POLITE.sub("", greeted)
    if title != greeted:
        title = title.removesuffix("?")  # "Can you …?" is no question any more
    if title != asked:
        title = title[0].upper() + title[1:]
    first = _SENTENCE.split(title, maxsplit=1)[0]
    if len(first.split()) > 1:
        title = first.rstrip(" .")
    return _cut(title) or None


def by_file(name: str) -> str | None:
    """The title that a file gives a conversation that begins with files and no text."""
    return _cut(" ".join(name[:BEGINNING].split())) or None


def _cut(title: str) -> str:
    """At most CHARS code points; its end is a word's, unless that would leave too little."""
    if len(title) <= CHARS:
        return title
    cut = title[: CHARS - 1]
    word = cut.rpartition(" ")[0]
    return (word if len(word) > CHARS // 2 else cut).rstrip(" ,;:-(") + "…"


def by_model(text: str, question: str, answer: str) -> str | None:
    """The title in a model's answer; None if the question's own words are better."""
    text = _THOUGHTS.sub("", text)
    line = next((line for line in text.split("\n") if line.strip()), "")
    title = " ".join(_PREFIX.sub("", line, count=1).split()).rstrip(" *_\"'“”«»`").removesuffix(".")
    title = title.rstrip(" *_\"'“”«»`")
    if not title or len(title) > CHARS or len(title.split()) > WORDS or _NO_TITLE.search(title):
        return None
    if _echoes(title, question) or not _is_about(title, f"{question} {answer}"):
        return None
    return title


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _echoes(title: str, question: str) -> bool:
    """Whether it is the question again, or most of it, word by word."""
    asked, named = _words(question), _words(title)
    rest: Iterator[str] = iter(asked)
    return (
        all(word in rest for word in named) and len(named) >= ECHO * len(asked) and len(named) > 3
    )


def _is_about(title: str, conversation: str) -> bool:
    """Whether enough of its words, or of its characters where words have no spaces, were said."""
    named = [word for word in _words(title) if len(word) >= SHORT and word not in _STOPWORDS]
    if not named:
        return len(_words(title)) > 0 and title.lower() in conversation.lower()
    if any(ord(character) > 0x2E80 for character in title):
        return sum(one in conversation for one in title) >= ABOUT * len(title)
    said = {word[:STEM] for word in _words(conversation)}
    return sum(word[:STEM] in said for word in named) >= ABOUT * len(named)
