"""What a local drill reads in Postgres, over a connection and by statements of its own."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg2

#: Seconds past its deadline after which an open row is a violation.
LATE: Final = 5
#: Seconds for which an answer may stay open that was begun before a jump of the clock.
ANEW: Final = 180.0

_OPEN = """
SELECT id, split_part(coalesce(owner, ''), ':', 2), saved_len FROM messages
WHERE status = 'STREAMING'
"""

_LATE = """
SELECT id, status FROM messages WHERE clock_timestamp() - make_interval(secs => %(late)s) >
    least(lease_until, CASE WHEN %(all)s THEN least(hard_deadline, queue_deadline) END)
"""

_ROWS = """
SELECT id, status, error_code, body, length, sha256, tries,
    (SELECT count(*) FROM pieces WHERE message_id = messages.id)
FROM messages WHERE role = 'assistant'
"""


@dataclass(frozen=True)
class Row:
    """An answer as Postgres has it in the end."""

    id: str
    status: str
    code: str | None
    text: str | None
    tries: int
    #: what is wrong with it, whatever its readers saw
    faults: tuple[str, ...]


class DatabaseProbe:
    """One connection to Postgres, made again when it broke. What cannot be read is None."""

    def __init__(self, url: str, lease: float) -> None:
        self._url = url
        self._lease = lease
        self._connection: Any = None
        #: since when Postgres has answered us and somebody could sweep, in monotonic seconds
        self._since = 0.0
        self.polls = 0
        #: until when only leases count; monotonic seconds
        self._only_leases = 0.0

    def open_rows(self) -> list[tuple[str, str, int]] | None:
        """(id, owner's boot, characters saved) of what is being written."""
        return self._ask(_OPEN)

    def late(self) -> list[str] | None:
        """Rows that are open past their deadline, as sentences."""
        rows = self._ask(_LATE, late=LATE, all=time.monotonic() > self._only_leases)
        # A sweep gives owners one lease to renew in, once Postgres is back; a process that was not
        # there to watch the clock gives it, too.
        if rows is None or time.monotonic() < self._since + self._lease + LATE:
            return None
        self.polls += 1
        return [f"{row[0]} is {row[1]} {LATE} s past its deadline" for row in rows]

    def still_open(self) -> int | None:
        """How many answers have not ended."""
        rows = self._ask("SELECT count(*) FROM messages WHERE status IN ('SENDING', 'STREAMING')")
        return None if rows is None else int(rows[0][0])

    def rows(self) -> list[Row] | None:
        """All answers."""
        rows = self._ask(_ROWS)
        return None if rows is None else [_row(*row) for row in rows]

    def clock_jumped(self) -> None:
        """Allow for a jump of Postgres' clock.

        Owners have one lease to renew in, and a deadline that was set before begins again.
        """
        self._since = time.monotonic()
        self._only_leases = self._since + ANEW

    def nobody_sweeps(self) -> None:
        """Allow for a moment in which no worker is at work."""
        self._since = time.monotonic()

    def run(self, sql: str, **values: Any) -> bool:
        """Run a statement outside any transaction; whether that was possible."""
        return self._ask(sql, **values) is not None

    def lock(self) -> Callable[[], None] | None:
        """Hold the row of an answer that is being written, until the result is called."""
        try:
            connection = _connect(self._url)
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT id FROM messages WHERE status = 'STREAMING' LIMIT 1 FOR UPDATE"
                )
        except psycopg2.Error:
            return None
        return connection.close  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the connection; the next statement makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, sql: str, **values: Any) -> list[Any] | None:
        try:
            if self._connection is None:
                self._connection = _connect(self._url)
                self._connection.autocommit = True
                self._since = time.monotonic()
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return list(cursor.fetchall()) if cursor.description else []
        except psycopg2.Error:
            self.close()
            return None


def _connect(url: str) -> Any:
    return psycopg2.connect(
        url,
        connect_timeout=2,
        application_name="drill",
        options="-c statement_timeout=3000 -c default_transaction_read_only=off",
    )


def _row(  # noqa: PLR0917
    id_: Any,
    status: str,
    code: str | None,
    body: Any,
    length: int,
    sha256: str,
    tries: int,
    pieces: int,
) -> Row:
    text = None if body is None else "".join(part["text"] for part in body)
    faults = []
    if text is None:
        faults.append("has not ended")
    elif (length, sha256) != (len(text), hashlib.sha256(text.encode()).hexdigest()):
        faults.append("has another length or sha256 than its text")
    if pieces:
        faults.append(f"has ended and left {pieces} pieces")
    return Row(str(id_), status, code, text, tries, tuple(faults))
