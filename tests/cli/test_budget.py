"""`outlive budget`: shows and sets the budgets of a user and of a service key."""

import json

from shared.store import token_use
from shared.store.token_use import TokenLimits
from tests.client import new_id
from tests.credentials import new_key, operate
from tests.rig import Rig


def test_a_budget_is_set_shown_and_taken_back(rig: Rig) -> None:
    user = rig.rows("INSERT INTO users (id, name) VALUES (gen_random_uuid(), 'x') RETURNING id")
    whose = user[0].id
    rig.rows(
        "INSERT INTO token_use (user_id, day, answers, input_tokens, estimated_tokens)"
        " VALUES (:user, CAST(now() AT TIME ZONE 'UTC' AS date), 1, 1200, 300) RETURNING day",
        user=whose,
    )

    done = operate(rig, "budget", str(whose), "--daily", "1000", "--monthly", "0")

    assert done.exit_code == 0, done.output
    assert done.output == (
        f"user {whose}: daily 1,000, monthly without a budget\n"
        "  used today 1,200 tokens (300 estimated), this month 1,200\n"
    )
    day, month = token_use.use_of(rig.db, TokenLimits(5, 5), whose, None)
    assert (day.limit, month.limit) == (1_000, 0)
    operate(rig, "budget", str(whose), "--daily", "default")
    day, month = token_use.use_of(rig.db, TokenLimits(5, 5), whose, None)
    assert (day.limit, month.limit) == (5, 0)


def test_a_key_has_a_budget_too(rig: Rig) -> None:
    _, key = new_key(rig, "ask")

    done = operate(rig, "budget", key, "--monthly", "70", "--json")

    assert json.loads(done.stdout) == {
        "id": key,
        "kind": "key",
        "daily_tokens": None,
        "monthly_tokens": 70,
        "used_today": 0,
        "used_this_month": 0,
    }


def test_a_mistake_is_refused(rig: Rig) -> None:
    unknown = operate(rig, "budget", new_id())
    wrong = operate(rig, "budget", new_id(), "--daily", "-1")

    assert unknown.exit_code != 0
    assert "no such user and no such service key" in unknown.output + str(unknown.exception)
    assert wrong.exit_code != 0
