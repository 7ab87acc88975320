"""SQL: how the pieces of an answer, and what was noted of it, become its tape.

A piece carries the time of the save that brought it (`owning`), in milliseconds since the claim;
one that a sweep salvaged from Redis has none, since nobody knows when it came. What happened is in
`message_marks` while the answer is open (`marks`). Both go with the end into its row, by the
statement that ends it.
"""

from typing import Final

from shared.tape import NUMBER_MAX, SAMPLES_MAX

#: SQL: milliseconds from the claim of a row `m` until now.
SINCE_CLAIM: Final = (
    "CAST(greatest(0, least(extract(epoch FROM clock_timestamp() - m.started_at) * 1000, 1e9))"
    " AS int)"
)


def number(value: str) -> str:
    """SQL: `value`, a column of integers, as `shared/tape.py` writes a number.

    It is no function of Postgres: one takes 20 us a call, and this 1 us.
    """
    groups = [f"({value} & 127)"] + [
        f"((({value} >> {7 * place}) & 127 | 128) << {8 * place})" for place in (1, 2, 3)
    ]
    return f"""CASE WHEN {value} <= 0 THEN '\\x00'::bytea
        WHEN {value} < {1 << 7} THEN substr(int4send({value}), 4)
        WHEN {value} < {1 << 14} THEN substr(int4send({" | ".join(groups[:2])}), 3)
        WHEN {value} < {1 << 21} THEN substr(int4send({" | ".join(groups[:3])}), 2)
        WHEN {value} <= {NUMBER_MAX} THEN int4send({" | ".join(groups)})
        ELSE '\\xffffff7f'::bytea END"""


def tape_of(message: str) -> str:
    """SQL: the tape of the pieces of one message, coded as in `shared/tape.py`; NULL without any
    time.

    Pieces of one save are one sample. A clock that jumped back stands still until it is where it
    was.
    """
    return f"""(
    SELECT string_agg({number("further")} || {number("later")}, '' ORDER BY number)
    FROM (
        SELECT number, reached - lag(reached, 1, 0) OVER recorded AS further,
            ms - lag(ms, 1, 0) OVER recorded AS later
        FROM (
            SELECT reached, max(at) OVER (ORDER BY reached) AS ms,
                row_number() OVER (ORDER BY reached) AS number, count(*) OVER () AS count
            FROM (
                SELECT max(start + char_length(text)) AS reached, at FROM pieces
                WHERE message_id = {message} AND at IS NOT NULL GROUP BY at
            ) AS saves
        ) AS samples
        WHERE number % (count / {SAMPLES_MAX} + 1) = 0 OR number = count
        WINDOW recorded AS (ORDER BY number)
    ) AS thinned
)"""


def marks_of(message: str, created_at: str) -> str:
    """SQL: what was noted of one message, oldest first: [milliseconds since it was asked, kind,
    device]; NULL without any."""
    return f"""(
    SELECT jsonb_agg(jsonb_build_array(
        CAST(extract(epoch FROM at - {created_at}) * 1000 AS bigint), kind, device) ORDER BY at)
    FROM message_marks WHERE message_id = {message}
)"""


def attempt_ended(rows: str, kind: str) -> str:
    """SQL: note of `rows` (id, started_at) that an attempt took them and has ended without text.

    `kind`: "lost" (its worker died), or "released" (its worker stopped). The attempt that follows
    sets `started_at` anew.
    """
    return (
        "INSERT INTO message_marks (message_id, at, kind)"
        " SELECT id, coalesce(noted.at, clock_timestamp()), noted.kind"
        f" FROM {rows} CROSS JOIN LATERAL (VALUES (started_at, 'taken'),"
        f" (CAST(NULL AS timestamptz), '{kind}')) AS noted (at, kind)"
    )
