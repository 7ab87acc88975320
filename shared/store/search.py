"""Search in a person's conversations: titles and texts, in any language.

Words are looked up by their beginnings (`message_words`, the third migration). Scripts that put
no blanks between words are one long word to Postgres, so text in them is searched for as it stands.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.parts import traits
from shared.store.access import owns
from shared.store.database import Database, QueryBudget
from shared.store.part_sql import joined_text, part_lengths

#: Code points of a message that are searched, of a snippet before and after its first hit, and of
#: the text around it that is read as Markdown.
SEARCHED: Final = 100_000
AROUND: Final = (40, 120)
READ_AROUND: Final = (400, 800)
#: Words of a query that count.
WORDS: Final = 12
#: A search at each keystroke must not take Postgres from everything else.
SEARCHES: Final = QueryBudget(connections=2, patience=1.0, statement=3.0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Han, kana, Thai, Lao, Burmese, Khmer: written without blanks.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A conversation, and the newest of its messages that fits; none where only the title does."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime
    message_id: uuid.UUID | None
    #: of the first hit in the message's body
    position: int | None
    #: the newest message below it
    leaf: uuid.UUID | None
    #: (text, whether it is a hit)
    snippet: list[tuple[str, bool]]

    @property
    def place(self) -> int:
        """Where it stands in the list: microseconds, the greatest first."""
        return (self.updated_at - _EPOCH) // timedelta(microseconds=1)


_TEXT = f"left({joined_text('m.body', lambda its: its.searched)}, :searched)"

_SEARCH = f"""
WITH hits AS (
    SELECT DISTINCT ON (m.conversation_id) m.conversation_id, m.id FROM messages m
    WHERE {owns("m")} AND m.body IS NOT NULL AND {{fits}}
    ORDER BY m.conversation_id, m.seq DESC
)
SELECT c.id, c.title, c.created_at, c.updated_at, m.id AS message_id, m.role,
    {_TEXT} AS text, {part_lengths("m.body")} AS parts
FROM conversations c LEFT JOIN hits ON hits.conversation_id = c.id
LEFT JOIN messages m ON m.id = hits.id
WHERE {owns("c")} AND c.deleted_at IS NULL
    AND (hits.id IS NOT NULL OR lower(c.title) LIKE ALL(CAST(:patterns AS text[])))
    AND (CAST(:before AS timestamptz) IS NULL OR c.updated_at < :before)
ORDER BY c.updated_at DESC LIMIT :limit
"""

_LEAVES = f"""
WITH RECURSIVE below AS (
    SELECT id AS hit, id, seq FROM messages
    WHERE id = ANY(CAST(:ids AS uuid[])) AND {owns("messages")}
    UNION ALL SELECT below.hit, m.id, m.seq FROM messages m JOIN below ON m.parent_id = below.id
)
SELECT DISTINCT ON (hit) hit, id FROM below ORDER BY hit, seq DESC
"""


def words_of(query: str) -> list[str]:
    """The words that are searched for."""
    return [word.lower() for word in re.findall(r"\w+", query)][:WORDS]


def search(
    db: Database, user_id: uuid.UUID, query: str, limit: int, before: int | None
) -> list[Hit]:
    """Conversations of this user where every word of the query is, most recently active first.

    Raises Busy and TooSlow: see `Database.rows_within`.
    """
    words = words_of(query)
    if not words:
        return []
    patterns = [f"%{word.replace('_', chr(92) + '_')}%" for word in words]
    unspaced = any(_UNSPACED.search(word) for word in words)
    by_word = "message_words(m.body) @@ to_tsquery('pg_catalog.simple', :words)"
    fits = f"lower({_TEXT}) LIKE ALL(CAST(:patterns AS text[]))" if unspaced else by_word
    rows = db.rows_within(
        SEARCHES,
        _SEARCH.format(fits=fits),
        user=user_id,
        words=" & ".join(f"'{word}':*" for word in words),
        patterns=patterns,
        searched=SEARCHED,
        before=None if before is None else _EPOCH + timedelta(microseconds=before),
        limit=limit,
    )
    leaves = _leaves(db, user_id, rows)
    return [
        Hit(
            id=row.id,
            title=row.title,
            created_at=row.created_at,
            updated_at=row.updated_at,
            message_id=row.message_id,
            position=position(row.text, row.parts, words) if row.message_id else None,
            leaf=leaves.get(row.message_id),
            snippet=snippet(row.text or row.title or "", words, markdown=row.role == "assistant"),
        )
        for row in rows
    ]


def _leaves(db: Database, user_id: uuid.UUID, rows: Sequence[Any]) -> dict[uuid.UUID, uuid.UUID]:
    ids = [str(row.message_id) for row in rows if row.message_id]
    return {row.hit: row.id for row in db.rows_within(SEARCHES, _LEAVES, ids=ids, user=user_id)}


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)), re.IGNORECASE)


def position(text: str, parts: Sequence[tuple[str, int]], words: Sequence[str]) -> int:
    """Where in a body the first hit of its searched `text` is; (kind, code points) of its parts."""
    found = _pattern(words).search(text)
    rest, start = found.start() if found else 0, 0
    for kind, length in parts:
        if traits(kind).searched:
            if rest < length:
                break
            rest -= length
        start += length
    return start + rest


def snippet(text: str, words: Sequence[str], *, markdown: bool = False) -> list[tuple[str, bool]]:
    """The text around the first hit, in pieces that are hits and pieces that are not.

    `markdown`: as a reader sees it, without what only marks it up; unless the hit is in that.
    """
    pattern = _pattern(words)
    first = pattern.search(text)
    if markdown:
        at, after = first.span() if first else (0, 0)
        start = max(0, at - READ_AROUND[0])
        if start:  # the beginning of a line says what it is
            start = text.find("\n", start, at) + 1 or start
        stop = after + READ_AROUND[1]
        shown = plain(text[start:stop])
        seen = pattern.search(shown)
        if seen or not first:
            return _pieces(shown, pattern, seen, before=start > 0, more=stop < len(text))
    return _pieces(text, pattern, first)


def _pieces(
    text: str,
    pattern: re.Pattern[str],
    first: re.Match[str] | None,
    *,
    before: bool = False,
    more: bool = False,
) -> list[tuple[str, bool]]:
    """AROUND the first hit. `before`, `more`: there is text on that side of this one."""
    begin = max(0, (first.start() if first else 0) - AROUND[0])
    end = min(len(text), (first.end() if first else 0) + AROUND[1])
    shown = " ".join(text[begin:end].split())
    shown = f"{'…' if begin or before else ''}{shown}{'…' if end < len(text) or more else ''}"
    pieces: list[tuple[str, bool]] = []
    at = 0
    for found in pattern.finditer(shown):
        pieces += [(shown[at : found.start()], False), (found.group(), True)]
        at = found.end()
    return [piece for piece in [*pieces, (shown[at:], False)] if piece[0]]


#: What marks Markdown up, and what is left of it; in this order. Each is linear in the text.
_MARKUP: Final = [
    (re.compile(pattern, re.MULTILINE), left)
    for pattern, left in (
        (r"^[ \t]*(?:`{3,}|~{3,})[^\n]*$", ""),  # fences
        (r"^[ \t]*\|?(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t:|-]*$", ""),  # the line below a table's head
        (r"^[ \t]*(?:[-*_][ \t]*){3,}$", ""),  # rules
        (r"^(?:[ \t]*>)+[ \t]?", ""),  # quotes
        (r"^[ \t]{0,3}#{1,6}[ \t]+", ""),  # headings
        (r"^[ \t]*[-*+][ \t]+(?:\[[ xX]\][ \t]+)?", ""),  # items of lists
        (r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{0,500}(?:[ \t]\"[^\"\n]{0,300}\")?\)", r"\1"),  # links
        (r"</?[a-zA-Z][^<>\n]{0,100}>", " "),  # tags
        (r"[ \t]*(?<!\\)\|[ \t]*", " "),  # cells
        (r"(?<!\\)(\*{1,3}|~~)(?=\S)|(?<=\S)(?<!\\)(\*{1,3}|~~)", ""),  # bold, italic, struck
        (r"(?<![\w\\])_{1,3}(?=\S)|(?<=\S)(?<!\\)_{1,3}(?!\w)", ""),
        (r"`+", ""),  # code
        (r"\\([!-/:-@\[-`{-~])", r"\1"),  # escapes
    )
]


def plain(markdown: str) -> str:
    """A piece of Markdown as text: what it says, without what only marks it up."""
    for pattern, left in _MARKUP:
        markdown = pattern.sub(left, markdown)
    return markdown
