"""What a migration must not do to tables that are in use (CONTRIBUTING.md, "Migrations")."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

#: Functions whose value differs from row to row: as a new column's default they rewrite the table.
#: (now() does not: it is the same for the whole statement.)
_VOLATILE: Final = re.compile(
    r"CLOCK_TIMESTAMP|TIMEOFDAY|RANDOM|GEN_RANDOM_\w+|UUID\w+|NEXTVAL|TXID_\w+"
)
#: What begins like this, and what is wrong with it. The first that fits counts.
_STATEMENTS: Final = (
    (r"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)", "locks out writes: online.create_index"),
    (r"DROP INDEX (?!CONCURRENTLY)", "locks all others out: DROP INDEX CONCURRENTLY"),
    (r"REINDEX (?!.*CONCURRENTLY)", "locks out writes: REINDEX CONCURRENTLY"),
    (r"DROP (TABLE|COLUMN|FUNCTION|TRIGGER|VIEW|TYPE|SCHEMA)", "the old version may use it"),
    (r"(UPDATE|DELETE FROM) (?!.*\bLIMIT\b)(?!.*\bANY ?\()", "all rows at once: in batches"),
    (r"(LOCK|TRUNCATE|CLUSTER|VACUUM FULL|REFRESH)\b", "locks all others out"),
)
#: The same for each action of an ALTER TABLE.
_ACTIONS: Final = (
    (r"ADD CONSTRAINT \w+ (UNIQUE|PRIMARY KEY) USING INDEX", None),
    (r"ADD CONSTRAINT \w+ (UNIQUE|PRIMARY KEY)", "builds an index locked: online.add_unique"),
    (r"ADD CONSTRAINT \w+ EXCLUDE", "builds an index locked"),
    (r"ADD CONSTRAINT .* NOT VALID$", None),
    (r"ADD CONSTRAINT", "reads all rows locked: online.add_check, or NOT VALID and VALIDATE"),
    (r"ADD (CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b", "a constraint needs a name, and a step"),
    (
        r"ADD .*\b(UNIQUE|PRIMARY KEY|CHECK|REFERENCES)\b",
        "reads all rows locked: add the constraint by itself",
    ),
    (r"ADD .*\b(GENERATED|IDENTITY|(BIG|SMALL)?SERIAL)\b", "rewrites the table"),
    (r"ADD (?!.*\bDEFAULT\b).*\bNOT NULL\b", "the old version's rows have no value: a DEFAULT"),
    (r"ALTER .* TYPE\b", "rewrites the table: add a column instead"),
    (r"ALTER .* SET NOT NULL", "reads all rows locked, and the old version may insert none"),
    (r"(RENAME|DROP)\b", "the old version may use it: contract in a later release"),
    (r"SET (LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)", "rewrites the table"),
)
_ALTER: Final = re.compile(r"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?(\w+) (.*)")
_MAKES: Final = re.compile(r"CREATE (?:\w+ )?TABLE (?:IF NOT EXISTS )?(\w+)")
_ON: Final = re.compile(
    r"\b(?:ON|UPDATE|DELETE FROM|DROP TABLE|TRUNCATE TABLE|TRUNCATE|LOCK TABLE|LOCK) (\w+)"
)


def dangers(statements: Iterable[str]) -> list[str]:
    """What is wrong with the statements of one migration, in words.

    A table that it makes itself is empty and unused, and Alembic's own has one row.
    """
    own = {"ALEMBIC_VERSION"}
    found = []
    for statement in _single(statements):
        if made := _MAKES.match(statement):
            own.add(made[1])
        table = _ALTER.match(statement) or _ON.search(statement)
        if table is None or table[1] not in own:
            found += [f"{statement[:80]}: {what}" for what in _dangers_of(statement)]
    return found


def _dangers_of(statement: str) -> Iterator[str]:
    if alter := _ALTER.match(statement):
        for action in _actions(alter[2]):
            added = re.match(r"ADD .*\bDEFAULT\b(.*)", action)
            if added and _VOLATILE.search(added[1]):
                yield "rewrites the table: its default differs from row to row"
            else:
                yield from _first(_ACTIONS, action)
    else:
        yield from _first(_STATEMENTS, statement)


def _first(rules: Iterable[tuple[str, str | None]], words: str) -> Iterator[str]:
    for pattern, what in rules:
        if re.match(pattern, words):
            if what is not None:
                yield what
            return


def _single(statements: Iterable[str]) -> Iterator[str]:
    """Each statement by itself: upper case, one blank between words, no comments or literals."""
    for text in statements:
        plain = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.S)
        plain = re.sub(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'", "''", plain, flags=re.S)
        for one in plain.split(";"):
            words = " ".join(one.replace('"', "").split()).upper()
            if words:
                yield words.replace("PUBLIC.", "")


def _actions(words: str) -> Iterator[str]:
    """What stands between the commas that are not in brackets."""
    depth, begin = 0, 0
    for place, letter in enumerate(words):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            yield words[begin:place].strip()
            begin = place + 1
    yield words[begin:].strip()
