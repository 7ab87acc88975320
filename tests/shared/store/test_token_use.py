"""The ledger: each answer that was begun is counted once, whoever ends it. And budgets."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from shared.body import Body, text_body
from shared.errors import BudgetExhausted
from shared.lifecycle import Status
from shared.store import asking, conversations, owning, reaping, stopping, titles, token_use
from shared.store.ending import Ending, end_locked
from shared.store.token_use import MOST, NO_KEY, TokenLimits, Use
from tests.store_fixtures import ME, Store, at_once, body_of, save_of

REPORTED = {"prompt_tokens": 100, "completion_tokens": 40, "source": "reported"}
DONE = Ending(Status.DONE, "stop", REPORTED)
#: "Why?" is one token of four characters, and so is what is written here for each.
FOUR = body_of("Four")
LIMITS = TokenLimits(0, 0)


def ledger(store: Store, user: uuid.UUID) -> list[tuple[int, int, int, int]]:
    """(answers, input, output, estimated) of each row."""
    rows = store.db.rows(
        "SELECT answers, input_tokens, output_tokens, estimated_tokens FROM token_use"
        " WHERE user_id = :user ORDER BY key_id, day",
        user=user,
    )
    return [tuple(row) for row in rows]


def claimed(store: Store, user: uuid.UUID, **more: Any) -> owning.Claim:
    return store.claim(store.ask(user, **more).answer.id)


def finish(store: Store, claim: owning.Claim, ending: Ending = DONE, body: Body = FOUR) -> bool:
    return owning.finish(store.db, ME, save_of(claim, body), ending) is not None


# --- each end -------------------------------------------------------------------------------------


def test_reported_tokens_are_taken_as_they_are(store: Store) -> None:
    user = store.user()

    for _ in range(3):
        assert finish(store, claimed(store, user))

    assert ledger(store, user) == [(3, 300, 120, 0)]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, (1, 1, 1, 2)),
        ({"completion_tokens": 7, "source": "estimated"}, (1, 1, 1, 2)),
        ({"prompt_tokens": 9, "source": "reported"}, (1, 9, 1, 1)),
        ({"input_tokens": 9, "output_tokens": 5, "source": "reported"}, (1, 9, 5, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "source": "reported"}, (1, 1, 1, 2)),
        ({"prompt_tokens": {"x": 1}, "source": "reported"}, (1, 1, 1, 2)),
        ({**REPORTED, "prompt_tokens": (1 << 53) - 1}, (1, MOST, 40, 0)),
    ],
)
def test_what_was_not_reported_is_estimated_and_marked(
    store: Store, usage: dict[str, Any] | None, counted: tuple[int, ...]
) -> None:
    user = store.user()

    assert finish(store, claimed(store, user), Ending(Status.DONE, "stop", usage))

    assert ledger(store, user) == [counted]


def test_the_prompt_is_estimated_with_the_conversation_above_and_the_system_text(
    store: Store,
) -> None:
    user = store.user()
    place = conversations.create(store.db, user, None, "s" * 40).id
    for text in ("q" * 100, "r" * 100):
        asked = asking.ask(store.db, store.asking(user), place, text_body(text))
        claim = store.claim(asked.answer.id)
        assert finish(store, claim, Ending(Status.CANCELLED), body_of("a" * 60))

    # 140 characters; then those, the answer and the second question
    assert ledger(store, user) == [(2, 35 + 75, 15 + 15, 140)]


def test_the_prompt_is_estimated_with_the_tools_that_it_declares(store: Store) -> None:
    user = store.user()
    options = {"tools": [{"type": "function", "function": {"name": "add"}}]}
    claim = store.claim(store.ask(user, options=options).answer.id)

    assert store.row(claim.id).prompt_chars == len("Why?") + len(json.dumps(options["tools"]))


def lost(store: Store, claim: owning.Claim) -> None:
    store.publish(claim, FOUR)
    store.make_overdue(claim.id, "lease_until")
    assert store.sweep().run().ended == 1


def stopped(store: Store, claim: owning.Claim) -> None:
    assert finish(store, claim, Ending(Status.CANCELLED))


def failed(store: Store, claim: owning.Claim) -> None:
    assert finish(store, claim, Ending.error("provider_cut"))


def restarted_and_expired(store: Store, claim: owning.Claim) -> None:
    store.make_overdue(claim.id, "lease_until")
    assert store.sweep().run().restarted == 1
    store.make_overdue(claim.id, "queue_deadline")
    assert reaping.expire(store.db) == [claim.id]


def restarted_and_deleted(store: Store, claim: owning.Claim) -> None:
    store.make_overdue(claim.id, "lease_until")
    assert store.sweep().run().restarted == 1
    row = store.row(claim.id)
    conversations.delete(store.db, row.user_id, row.conversation_id)


def restarted_and_done(store: Store, claim: owning.Claim) -> None:
    store.make_overdue(claim.id, "lease_until")
    assert store.sweep().run().restarted == 1
    assert finish(store, store.claim(claim.id))


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        (stopped, (1, 1, 1, 2)),
        (failed, (1, 1, 1, 2)),
        (lost, (1, 1, 1, 2)),
        (restarted_and_expired, (1, 1, 0, 1)),
        (restarted_and_deleted, (1, 1, 0, 1)),
        # the prompt was sent twice; the first try reported nothing
        (restarted_and_done, (1, 200, 40, 100)),
    ],
)
def test_every_end_is_counted_in_the_same_transaction(
    store: Store, end: Callable[[Store, owning.Claim], None], counted: tuple[int, ...]
) -> None:
    user = store.user()
    claim = claimed(store, user)
    assert ledger(store, user) == []

    end(store, claim)

    assert ledger(store, user) == [counted]


def test_what_no_worker_began_costs_nothing(store: Store) -> None:
    user = store.user()
    stopping.stop(store.db, store.sending(user), user)
    store.make_overdue(store.sending(user), "queue_deadline")
    reaping.expire(store.db)

    assert ledger(store, user) == []


def test_an_answer_that_all_end_at_once_is_counted_once(store: Store) -> None:
    user = store.user()
    claims = [claimed(store, user) for _ in range(5)]
    for claim in claims:
        assert owning.save(store.db, ME, 60, [save_of(claim, FOUR)])
        store.make_overdue(claim.id, "lease_until")

    def end(number: int) -> object:
        claim = claims[number % 5]
        if number % 2:
            return store.sweep().run()
        return owning.finish(store.db, ME, save_of(claim, FOUR, 4), DONE)

    _, errors = at_once(20, end)

    assert errors == []
    [(answers, *_)] = ledger(store, user)
    assert answers == 5
    assert store.db.rows("SELECT 1 FROM messages WHERE status = 'STREAMING'") == []


def test_a_transaction_that_is_undone_counts_nothing(store: Store) -> None:
    user = store.user()
    claim = claimed(store, user)

    def end_and_fail() -> None:
        with store.db.transaction() as connection:
            end_locked(connection, claim.id, Ending(Status.CANCELLED))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        end_and_fail()
    assert ledger(store, user) == []
    assert finish(store, claim)
    assert ledger(store, user) == [(1, 100, 40, 0)]


def test_many_ends_in_one_transaction_do_not_wait_for_each_other(store: Store) -> None:
    users = [store.user() for _ in range(4)]
    keys = [None, uuid.uuid4(), uuid.uuid4()]
    rounds = 3
    for _ in range(rounds):
        asked = [store.ask(user, key_id=key) for user in users for key in keys for _ in range(2)]
        for one in asked:
            store.make_overdue(store.claim(one.answer.id).id, "lease_until")
        assert store.sweep().run().restarted == len(asked)
        store.run("UPDATE messages SET queue_deadline = now() WHERE status = 'SENDING'")
        places = {(one.answer.user_id, one.answer.conversation_id) for one in asked}

        def end(number: int, places: Any = tuple(places)) -> object:
            if number < 4:
                return reaping.expire(store.db)
            return [conversations.delete(store.db, *place) for place in places[number::4]]

        _, errors = at_once(8, end)
        assert errors == []

    for user in users:
        assert ledger(store, user) == [(2 * rounds, 2 * rounds, 0, 2 * rounds)] * len(keys)


# --- titles ---------------------------------------------------------------------------------------


def test_a_title_is_counted_before_it_is_asked_for_and_put_right_after(store: Store) -> None:
    user, key = store.user(), uuid.uuid4()
    claim = claimed(store, user, key_id=key)
    assert finish(store, claim)

    assert titles.claim(store.db, claim.id) is not None
    # the worker may die now: "Why?" and "Four" are two tokens, and 32 may come back
    assert ledger(store, user) == [(1, 100 + 2, 40 + 32, 34)]

    titles.set_title(store.db, claim.id, "Because", {**REPORTED, "prompt_tokens": 50})
    assert ledger(store, user) == [(1, 100 + 50, 40 + 40, 0)]
    titles.set_title(store.db, claim.id, "Again", REPORTED)
    assert ledger(store, user) == [(1, 150, 80, 0)]


def test_a_title_that_was_not_made_costs_nothing_and_one_not_reported_its_estimate(
    store: Store,
) -> None:
    user = store.user()
    claim = claimed(store, user)
    assert finish(store, claim)

    assert titles.claim(store.db, claim.id) is not None
    titles.release(store.db, claim.id)
    assert ledger(store, user) == [(1, 100, 40, 0)]

    assert titles.claim(store.db, claim.id) is not None
    place = store.row(claim.id).conversation_id
    conversations.change(store.db, user, place, title="Mine")
    titles.set_title(store.db, claim.id, "The model's", {})
    assert ledger(store, user) == [(1, 102, 72, 34)]


# --- budgets --------------------------------------------------------------------------------------


def budget(store: Store, user: uuid.UUID, **columns: int | None) -> None:
    names = ", ".join(f"{name} = :{name}" for name in columns)
    assert store.run(f"UPDATE users SET {names} WHERE id = :user", user=user, **columns) == 1


def service_key(store: Store, user: uuid.UUID, **columns: int | None) -> uuid.UUID:
    key = uuid.uuid4()
    values = {"daily_tokens": None, "monthly_tokens": None, **columns}
    store.run(
        "INSERT INTO service_keys (id, user_id, name, prefix, token_hash, scopes, daily_tokens,"
        " monthly_tokens) VALUES (:id, :user, 'k', 'olk_', :hash, '{}', :daily_tokens,"
        " :monthly_tokens)",
        id=key,
        user=user,
        hash=str(key),
        **values,
    )
    return key


def refusal(store: Store, user: uuid.UUID, **more: Any) -> BudgetExhausted:
    with pytest.raises(BudgetExhausted) as refused:
        store.ask(user, **more)
    return refused.value


@pytest.mark.parametrize(
    ("limits", "period"), [(TokenLimits(280, 0), "day"), (TokenLimits(0, 280), "month")]
)
def test_a_question_is_refused_once_the_budget_is_reached(
    store: Store, limits: TokenLimits, period: str
) -> None:
    user = store.user()
    for _ in range(2):
        assert finish(store, claimed(store, user, tokens=limits))
    before = store.db.rows("SELECT count(*) AS n FROM messages")[0].n

    refused = refusal(store, user, tokens=limits)

    assert (refused.status, refused.code) == (429, "budget_exhausted")
    assert refused.fields["limit"] == 280
    assert refused.fields["used"] == 280
    assert refused.fields["budget"] == f"user_{period}"
    days = 1 if period == "day" else 31
    assert refused.retry_after is not None
    assert 0 < refused.retry_after <= days * 86_400
    assert store.db.rows("SELECT count(*) AS n FROM messages")[0].n == before
    assert store.ask(tokens=limits).fresh  # somebody else


def test_a_user_may_have_another_budget_or_none(store: Store) -> None:
    limits = TokenLimits(100, 100)
    more, none, less = store.user(), store.user(), store.user()
    budget(store, more, daily_tokens=150, monthly_tokens=1_000)
    budget(store, none, daily_tokens=0, monthly_tokens=0)
    budget(store, less, daily_tokens=10)
    for user in (more, none, less):
        assert finish(store, claimed(store, user, tokens=limits))

    assert store.ask(more, tokens=limits).fresh
    assert store.ask(none, tokens=limits).fresh
    # of two that refuse the one that renews last is told
    assert refusal(store, less, tokens=limits).fields["budget"] == "user_month"


def test_a_key_has_a_budget_of_its_own_for_all_whom_it_asks_for(store: Store) -> None:
    owner, other = store.user(), store.user()
    key = service_key(store, owner, daily_tokens=200)
    assert finish(store, claimed(store, owner, tokens=LIMITS, key_id=key))
    assert finish(store, claimed(store, other, tokens=LIMITS, key_id=key))

    refused = refusal(store, other, tokens=LIMITS, key_id=key)

    assert (refused.fields["budget"], refused.fields["used"]) == ("key_day", 280)
    assert store.ask(other, tokens=LIMITS).fresh
    assert store.ask(other, tokens=LIMITS, key_id=service_key(store, owner)).fresh


@pytest.mark.parametrize("again", ["retry", "continue", "key"])
def test_retry_and_continue_are_refused_too_and_a_repeated_request_is_not(
    store: Store, again: str
) -> None:
    user, limits = store.user(), TokenLimits(100, 0)
    place = store.conversation(user)
    first = asking.ask(
        store.db, store.asking(user, key="k", tokens=limits), place, text_body("Why?")
    )
    claim = store.claim(first.answer.id)
    assert finish(store, claim, Ending(Status.DONE, "length", REPORTED))
    terms = store.asking(user, tokens=limits)

    if again == "key":
        asked = asking.ask(
            store.db, store.asking(user, key="k", tokens=limits), place, text_body("Why?")
        )
        assert asked.answer.id == first.answer.id
    elif again == "retry":
        with pytest.raises(BudgetExhausted):
            asking.ask_again(store.db, terms, claim.id)
    else:
        with pytest.raises(BudgetExhausted):
            asking.ask_to_continue(store.db, terms, claim.id, text_body("Go on."))


def test_yesterdays_tokens_count_for_the_month_and_last_months_for_nothing(store: Store) -> None:
    user, other = store.user(), store.user()
    for day, tokens in (("- interval '1 month'", 1_000), ("", 7)):
        store.run(
            "INSERT INTO token_use (user_id, day, answers, input_tokens)"
            f" VALUES (:user, CAST(now() AT TIME ZONE 'UTC' {day} AS date), 1, :tokens)",
            user=user,
            tokens=tokens,
        )

    found = {use.period: use for use in token_use.use_of(store.db, TokenLimits(5, 0), user, None)}

    assert {period: (use.limit, use.used) for period, use in found.items()} == {
        "day": (5, 7),
        "month": (0, 7),
    }
    assert found["day"].since <= found["day"].renews_at
    nothing = token_use.use_of(store.db, LIMITS, other, None)
    assert [(use.whose, use.used, use.answers) for use in nothing] == [("user", 0, 0)] * 2


def test_the_use_of_a_key_is_shown_beside_that_of_its_user(store: Store) -> None:
    user, other = store.user(), store.user()
    key = service_key(store, user, monthly_tokens=9)
    assert finish(store, claimed(store, user))
    assert finish(store, claimed(store, user, key_id=key))
    assert finish(store, claimed(store, other, key_id=key))

    found = token_use.use_of(store.db, LIMITS, user, key)

    def shown(use: Use) -> tuple[str, str, int, int]:
        return use.whose, use.period, use.limit, use.used

    assert [shown(use) for use in found] == [
        ("user", "day", 0, 280),
        ("user", "month", 0, 280),
        ("key", "day", 0, 280),
        ("key", "month", 9, 280),
    ]
    assert NO_KEY.int == 0
