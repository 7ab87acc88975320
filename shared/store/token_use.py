"""What answers and titles cost: the ledger of tokens, and the budgets that are compared with it.

**Guaranteed.** Each answer that a worker began is counted exactly once, and no crash loses it: its
row of the ledger is written by the statement that ends it, under the guard of that same status.

**How.** The table `token_use` has one row for each user, service key and day (UTC) of the end. It
outlives conversations. What the provider reported is taken as it is. What it did not report is
estimated from the length of the text, TOKEN_CHARS characters for each token, and counted in
`estimated_tokens` too: an answer that was stopped, failed or lost its worker, and each try before
the last one, of which nothing came but whose prompt was sent. A title is counted as an estimate
when a worker begins to ask for it, and put right when the provider has reported.

**Budgets.** A question is refused once the tokens of the day or month have reached a budget of its
user or its service key. Answers that are open then are written to their end, so a budget is overrun
by what those cost and no more.

**Invariant.** A transaction that ends several answers does so in the order of user and key. So two
transactions never wait for each other's rows here.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Connection

from shared.errors import BudgetExhausted, NotFound
from shared.settings import Settings
from shared.store.database import Database, run

#: The key of what was asked without a service key.
NO_KEY: Final = uuid.UUID(int=0)
#: Characters that are taken for one token where no provider has counted.
TOKEN_CHARS: Final = 4
#: What one answer may count, either way: a provider may report anything, and the sum must fit.
MOST: Final = 10**9


class Tokens(NamedTuple):
    """What a provider reported; None where it reported nothing."""

    input: int | None
    output: int | None


def reported(usage: Mapping[str, Any] | None) -> Tokens:
    """The counts of a message's usage, by the names that providers give them."""
    if not usage or usage.get("source") != "reported":
        return Tokens(None, None)
    return Tokens(
        _count(usage, "prompt_tokens", "input_tokens"),
        _count(usage, "completion_tokens", "output_tokens"),
    )


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    """The first of these that is a count; 0 means that nothing was counted."""
    for name in names:
        found = usage.get(name)
        if isinstance(found, int) and found > 0:
            return min(found, MOST)
    return None


def estimated(chars: str) -> str:
    """SQL: tokens of so many characters."""
    return f"CAST(ceil({chars} / {TOKEN_CHARS}.0) AS bigint)"


#: Adds rows (user_id, key_id, day, answers, input, output, estimated) of `cost` to the ledger.
ADD: Final = f"""
    INSERT INTO token_use AS known
        (user_id, key_id, day, answers, input_tokens, output_tokens, estimated_tokens)
    SELECT user_id, coalesce(key_id, '{NO_KEY}'), day, answers, input, output, estimated FROM cost
    ON CONFLICT (user_id, key_id, day) DO UPDATE SET answers = known.answers + excluded.answers,
        input_tokens = known.input_tokens + excluded.input_tokens,
        output_tokens = known.output_tokens + excluded.output_tokens,
        estimated_tokens = known.estimated_tokens + excluded.estimated_tokens
"""
#: The cost of what a CTE `ended` ended; wants `input` and `output`, as reported. An answer that no
#: worker began costs nothing.
COST: Final = f"""
    SELECT user_id, key_id, CAST(ended_at AT TIME ZONE 'UTC' AS date) AS day, 1 AS answers,
        tries * input AS input, output,
        (tries - 1) * input + CASE WHEN CAST(:input AS bigint) IS NULL THEN input ELSE 0 END
            + CASE WHEN CAST(:output AS bigint) IS NULL THEN output ELSE 0 END AS estimated
    FROM ended CROSS JOIN LATERAL (SELECT
        coalesce(CAST(:input AS bigint), {estimated("coalesce(prompt_chars, 0)")}) AS input,
        coalesce(CAST(:output AS bigint), {estimated("length")}) AS output) AS tokens
    WHERE tries > 0
"""


# --- budgets -------------------------------------------------------------------------------------


class TokenLimits(NamedTuple):
    """Tokens that a user may use in a day and in a month (UTC) if nothing else is said for them; 0
    is no budget."""

    daily: int
    monthly: int

    @classmethod
    def checked(cls, settings: Settings) -> Self | None:
        """Those of a deployment; None where no user has a budget: then nothing is asked about
        budgets."""
        limits = cls(settings.daily_tokens, settings.monthly_tokens)
        return limits if settings.auth != "local" or any(limits) else None


@dataclass(frozen=True, slots=True)
class Use:
    """What a user or a service key used in a day or a month (UTC), and may use."""

    #: "user" or "key"
    whose: str
    #: "day" or "month"
    period: str
    #: tokens; 0 is no budget
    limit: int
    input_tokens: int
    output_tokens: int
    #: how many of them no provider reported
    estimated_tokens: int
    answers: int
    since: datetime
    renews_at: datetime
    #: seconds until then
    renews_in: float

    @property
    def used(self) -> int:
        """Tokens of both kinds."""
        return self.input_tokens + self.output_tokens


# A key's budget counts what it asked for all users. Without a budget the use is only read for
# whoever wants to see it (`shown`).
_USE: Final = """
WITH clock AS (SELECT clock_timestamp() AS now), budgets AS (
    SELECT 'user' AS whose, coalesce(daily_tokens, :daily) AS daily,
        coalesce(monthly_tokens, :monthly) AS monthly
    FROM users WHERE id = :user
    UNION ALL
    SELECT 'key', coalesce(daily_tokens, 0), coalesce(monthly_tokens, 0)
    FROM service_keys WHERE id = CAST(:key AS uuid)
), periods AS (
    SELECT whose, 'day' AS period, daily AS tokens, date_trunc('day', now, 'UTC') AS since,
        date_trunc('day', now, 'UTC') + interval '1 day' AS renews FROM budgets, clock
    UNION ALL
    SELECT whose, 'month', monthly, date_trunc('month', now, 'UTC'),
        date_trunc('month', now, 'UTC') + interval '1 month' FROM budgets, clock
)
SELECT whose, period, tokens, use.input, use.output, use.estimated, use.answers, since, renews,
    CAST(extract(epoch FROM renews - now) AS float8)
FROM periods CROSS JOIN clock CROSS JOIN LATERAL (
    SELECT CAST(coalesce(sum(input_tokens), 0) AS bigint) AS input,
        CAST(coalesce(sum(output_tokens), 0) AS bigint) AS output,
        CAST(coalesce(sum(estimated_tokens), 0) AS bigint) AS estimated,
        CAST(coalesce(sum(answers), 0) AS bigint) AS answers
    FROM (
        SELECT * FROM token_use WHERE whose = 'user' AND user_id = :user
        UNION ALL
        SELECT * FROM token_use WHERE whose = 'key' AND key_id = CAST(:key AS uuid)
    ) AS u
    WHERE u.day >= CAST(since AS date) AND u.day < CAST(renews AS date)
) AS use
WHERE tokens > 0 OR :shown
ORDER BY whose DESC, period
"""


def _uses(rows: Sequence[Any]) -> list[Use]:
    return [Use(*row) for row in rows]


def within_budget(
    connection: Connection, limits: TokenLimits, user_id: uuid.UUID, key_id: uuid.UUID | None
) -> None:
    """Raise BudgetExhausted if a budget of this user or key is used up."""
    rows = run(connection, _USE, user=user_id, key=key_id, **limits._asdict(), shown=False)
    spent = [use for use in _uses(rows.all()) if use.used >= use.limit]
    if spent:
        use = max(spent, key=lambda use: use.renews_at)  # until then any of them refuses
        raise BudgetExhausted(
            limit=use.limit,
            used=use.used,
            budget=f"{use.whose}_{use.period}",
            renews_at=use.renews_at.isoformat().replace("+00:00", "Z"),
            retry_after=use.renews_in,
        )


def use_of(
    db: Database, limits: TokenLimits, user_id: uuid.UUID, key_id: uuid.UUID | None
) -> list[Use]:
    """What this user, and this service key, used today and this month, with their budgets."""
    rows = db.rows(_USE, user=user_id, key=key_id, **limits._asdict(), shown=True)
    return _uses(rows)


@dataclass(frozen=True, slots=True)
class Budget:
    """What was set for a user or a service key; None is the default."""

    #: "user" or "key"
    whose: str
    id: uuid.UUID
    #: the user, or the key's
    user_id: uuid.UUID
    daily: int | None
    monthly: int | None


def set_budget(db: Database, whose: uuid.UUID, **changes: int | None) -> Budget:
    """Change `daily_tokens` and `monthly_tokens` of the user or service key of this id; what holds
    then. Raises NotFound."""
    values = {
        "daily": changes.get("daily_tokens"),
        "monthly": changes.get("monthly_tokens"),
        "set_daily": "daily_tokens" in changes,
        "set_monthly": "monthly_tokens" in changes,
    }
    for table, kind, user in (("users", "user", "id"), ("service_keys", "key", "user_id")):
        rows = db.rows(
            f"UPDATE {table} SET"
            " daily_tokens = CASE WHEN :set_daily THEN CAST(:daily AS bigint)"
            " ELSE daily_tokens END, monthly_tokens ="
            " CASE WHEN :set_monthly THEN CAST(:monthly AS bigint) ELSE monthly_tokens END"
            f" WHERE id = :id RETURNING '{kind}', id, {user}, daily_tokens, monthly_tokens",
            id=whose,
            **values,
        )
        if rows:
            return Budget(*rows[0])
    raise NotFound
