"""R2, R3, R4, R7: claim, save, finish, stop. Each a guarded write; losing is an ordinary answer."""

import hashlib
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from sqlalchemy import text

from shared.body import Body, Delta, text_body
from shared.errors import MESSAGE_ERRORS, NotFound, StorageDown
from shared.lifecycle import MAX_TRIES, Status
from shared.store import admin_queries, asking, conversations, messages, owning, stopping
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.owning import Claim, LeaseState, Save, new_token
from tests.store_fixtures import ME, OTHER, Store, at_once, body_of, save_of
from tests.strategies import Opened, Written, grow, growth, thorough, writings
from tests.strategies import body_of as written_body

DONE = Ending(Status.DONE, "stop", {"total_tokens": 5})

#: Parts of every kind, neighbours of the same kind, and characters of every width.
LONG = written_body(
    [
        Written("reasoning", "Hm\u2028😀"),
        Written("text", "é\r\n𝄞"),
        Written("text", "fresh", fresh=True),
        Written("tool_call", '{"a":1}', {"id": "1", "name": "f"}),
        Written("tool_call", "{}", None, fresh=True),
        Written("text", "\ufffd end"),
    ]
)


def assert_whole(store: Store, message_id: uuid.UUID, body: Body) -> None:
    """The row holds exactly this body, with its proof, and no piece is left."""
    row = store.row(message_id)
    loaded = messages.load(store.db, message_id, row.user_id)
    assert loaded.body.since(0) == body.since(0)
    assert (row.length, row.saved_len) == (body.length, body.length)
    assert row.sha256 == hashlib.sha256(body.content.encode()).hexdigest()
    assert store.pieces(message_id) == []


# --- R2: claim ------------------------------------------------------------------------------------


def test_a_claim_brings_what_is_asked_and_begins_the_lease(store: Store) -> None:
    answer = store.sending()

    claim = owning.claim(store.db, answer, ME, 15, 900)

    assert claim is not None
    assert (claim.id, claim.attempt, claim.model, claim.options) == (
        answer,
        1,
        "model",
        {"seed": 1},
    )
    [row] = store.db.rows(
        "SELECT *, extract(epoch FROM lease_until - clock_timestamp()) AS lease,"
        " extract(epoch FROM hard_deadline - clock_timestamp()) AS hard FROM messages"
        " WHERE id = :id",
        id=answer,
    )
    assert (row.status, row.owner, row.tries) == ("STREAMING", ME, 1)
    assert 10 < row.lease <= 15
    assert 890 < row.hard <= 900
    assert row.started_at is not None


def test_one_of_many_workers_claims_the_message(store: Store) -> None:
    user = store.user()
    waiting = [store.sending(user) for _ in range(100)]

    def work(number: int) -> list[uuid.UUID]:
        turn = number * 17
        order = waiting[turn:] + waiting[:turn]
        return [
            message_id
            for message_id in order
            if owning.claim(store.db, message_id, f"host:boot-{number}", 60, 900)
        ]

    won, errors = at_once(6, work)

    assert errors == []
    assert sorted(message_id for ids in won for message_id in ids) == sorted(waiting)
    for number, ids in enumerate(won):
        for message_id in ids:
            row = store.row(message_id)
            assert (row.owner, row.attempt, row.tries) == (f"host:boot-{number}", 1, 1)


@pytest.mark.failure(6)
def test_a_second_delivery_finds_nothing_to_do(store: Store) -> None:
    claim = store.streaming()
    before = store.row(claim.id)

    assert owning.claim(store.db, claim.id, OTHER, 60, 900) is None

    assert store.row(claim.id) == before


def test_ended_and_unknown_messages_cannot_be_claimed(store: Store) -> None:
    for message_id in (store.ended(), store.ask().question.id, uuid.uuid4()):
        assert owning.claim(store.db, message_id, ME, 60, 900) is None


# --- R3: save and heartbeat -----------------------------------------------------------------------


def test_a_save_of_many_messages_writes_exactly_its_deltas(store: Store) -> None:
    claims = [store.streaming() for _ in range(3)]
    bodies = [LONG, body_of("only text"), Body()]

    done = owning.save(
        store.db,
        ME,
        60,
        [save_of(claim, body) for claim, body in zip(claims, bodies, strict=True)],
    )

    assert done == {claim.id: False for claim in claims}
    for claim, body in zip(claims, bodies, strict=True):
        assert store.pieces(claim.id) == [
            (delta.start, delta.part, delta.kind, delta.text, delta.meta) for delta in body.since(0)
        ]
        assert store.row(claim.id).saved_len == body.length
        loaded = messages.load(store.db, claim.id, store.row(claim.id).user_id)
        assert loaded.body.since(0) == body.since(0)


def test_a_save_without_text_renews_the_lease(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "lease_until")

    assert owning.save(store.db, ME, 60, [save_of(claim, Body())]) == {claim.id: False}

    [row] = store.db.rows(
        "SELECT lease_until > clock_timestamp() + interval '50 s' AS renewed FROM messages"
        " WHERE id = :id",
        id=claim.id,
    )
    assert row.renewed
    assert store.pieces(claim.id) == []


def test_saves_follow_one_another(store: Store) -> None:
    claim = store.streaming()
    body = Body()
    for piece in ("one ", "two ", "😀"):
        start = body.length
        body.write("text", piece)
        assert store.save(claim, body, start)

    assert [piece[0] for piece in store.pieces(claim.id)] == [0, 4, 8]
    assert store.row(claim.id).saved_len == 9


@pytest.mark.parametrize(
    ("owner", "claimed", "offset"), [(OTHER, True, 2), (ME, False, 2), (ME, True, 0), (ME, True, 3)]
)
def test_a_save_with_a_wrong_offset_writes_nothing_and_the_others_are_written(
    store: Store, owner: str, claimed: bool, offset: int
) -> None:
    claim, good = store.streaming(), store.streaming(owner=owner)
    store.save(claim, body_of("ab"))
    before = store.row(claim.id), store.pieces(claim.id)
    token = claim.token if claimed else new_token()
    wrong = Save(claim.id, token, offset, [Delta(offset, 0, "text", "X")])

    done = owning.save(store.db, owner, 60, [wrong, save_of(good, body_of("ok"))])

    assert list(done) == [good.id]
    assert (store.row(claim.id), store.pieces(claim.id)) == before
    assert store.row(good.id).saved_len == 2


def test_two_claims_of_one_message_in_a_save_write_what_the_newer_one_wrote(
    store: Store,
) -> None:
    # given: a worker that lost an answer without knowing, and then was handed it again
    old = store.streaming()
    assert release(store, old)
    new = store.claim(old.id)
    zombie, mine = save_of(old, body_of("old")), save_of(new, body_of("newer"))

    owning.save(store.db, ME, 60, [zombie, mine])

    assert [piece[3] for piece in store.pieces(old.id)] == ["newer"]
    assert store.row(old.id).saved_len == 5


@pytest.mark.parametrize("state", ["sending", "ended", "unknown"])
def test_nothing_is_saved_of_a_message_that_is_not_streaming(store: Store, state: str) -> None:
    message_id = {"sending": store.sending, "ended": store.ended, "unknown": uuid.uuid4}[state]()

    save = Save(message_id, new_token(), 0, [Delta(0, 0, "text", "X")])

    assert owning.save(store.db, ME, 60, [save]) == {}
    assert owning.lease_state(store.db, ME, [message_id]) == {}
    assert store.pieces(message_id) == []


@pytest.mark.failure(15)
def test_one_locked_row_does_not_hold_up_the_others(store: Store) -> None:
    claims = [store.streaming() for _ in range(20)]
    saves = [save_of(claim, body_of("text")) for claim in claims]
    locked = claims[7]
    begun = time.monotonic()

    with store.locked(locked.id):
        done = owning.save(store.db, ME, 60, saves)
        waited = time.monotonic() - begun
        rows = owning.lease_state(store.db, ME, [locked.id])

    assert set(done) == {claim.id for claim in claims} - {locked.id}
    assert waited < 1.0  # a lock is waited for up to two seconds
    assert rows == {
        locked.id: LeaseState(locked.token, 0, stop_requested=False)
    }  # ours: so it was locked
    assert list(owning.save(store.db, ME, 60, [saves[7]])) == [locked.id]


@pytest.mark.failure(15)
def test_two_savers_and_a_deletion_do_not_block_each_other(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)
    claims = [
        store.claim(asking.ask(store.db, store.asking(user), place, text_body("?"), None).answer.id)
        for _ in range(30)
    ]
    saves = [save_of(claim, Body()) for claim in claims]

    def act(number: int) -> None:
        if number == 0:
            conversations.delete(store.db, user, place)
        for _ in range(5):
            owning.save(store.db, ME, 60, saves if number % 2 else saves[::-1])

    _, errors = at_once(5, act)

    assert errors == []


@pytest.mark.failure(14)
def test_a_commit_of_unknown_outcome_is_recognised(store: Store) -> None:
    claim = store.streaming()
    save = save_of(claim, LONG)
    owning.save(store.db, ME, 60, [save])  # it landed, but the answer never came back

    again = owning.save(store.db, ME, 60, [save])

    assert again == {}
    [lease_state] = owning.lease_state(store.db, ME, [claim.id]).values()
    assert lease_state == LeaseState(claim.token, save.reaches, stop_requested=False)
    assert "".join(piece[3] for piece in store.pieces(claim.id)) == LONG.content


def test_a_save_returns_that_stop_was_pressed(store: Store) -> None:
    user = store.user()
    stopped, other = store.streaming(user), store.streaming(user)
    stopping.stop(store.db, stopped.id, user)

    done = owning.save(store.db, ME, 60, [save_of(stopped, Body()), save_of(other, Body())])

    assert done == {stopped.id: True, other.id: False}
    assert owning.lease_state(store.db, ME, [stopped.id])[stopped.id].stop_requested


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    one, other = store.streaming(), store.streaming()
    twice = Save(other.id, other.token, 0, [Delta(0, 0, "text", "a"), Delta(0, 0, "text", "b")])

    with pytest.raises(Exception, match="pieces_pkey"):
        owning.save(store.db, ME, 60, [save_of(one, body_of("x")), twice])

    assert [store.row(claim.id).saved_len for claim in (one, other)] == [0, 0]
    assert store.pieces(one.id) == []


# --- R4: finish -----------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [0, 1, 4, 12, LONG.length - 1, LONG.length])
def test_the_end_has_the_whole_text_wherever_the_last_save_stood(store: Store, saved: int) -> None:
    claim = store.streaming()
    first = [
        delta._replace(text=delta.text[: saved - delta.start])
        for delta in LONG.since(0)
        if delta.start < saved
    ]
    owning.save(store.db, ME, 60, [Save(claim.id, claim.token, 0, first)])

    assert owning.finish(store.db, ME, save_of(claim, LONG, saved), DONE)

    assert_whole(store, claim.id, LONG)
    row = store.row(claim.id)
    assert (row.status, row.finish_reason, row.usage) == ("DONE", "stop", {"total_tokens": 5})
    assert row.ended_at is not None


def test_any_body_saved_call_by_call_is_kept_exactly(tables: Store) -> None:
    user = tables.user()

    @thorough(15)
    @given(writings)
    def kept(calls: list[Written]) -> None:
        claim = tables.streaming(user)
        body = Body()
        for call in calls:
            start = body.length
            body.write(call.kind, call.text, call.meta, fresh=call.fresh)
            assert tables.save(claim, body, start)

        assert owning.finish(tables.db, ME, save_of(claim, body, body.length), DONE)

        assert_whole(tables, claim.id, body)

    kept()


def test_an_empty_part_is_stored_from_its_first_character_on(tables: Store) -> None:
    user = tables.user()

    @thorough(15)
    @given(growth)
    def kept(calls: list[Written | Opened]) -> None:
        claim = tables.streaming(user)
        body = Body()
        for call in calls:
            start = body.length
            grow(body, call)
            assert tables.save(claim, body, start)
        stored = Body(delta for delta in body.since(0) if delta.text)
        assert all(piece[3] for piece in tables.pieces(claim.id))

        assert owning.finish(tables.db, ME, save_of(claim, body, body.length), DONE)

        assert_whole(tables, claim.id, stored)

    kept()


def test_an_answer_without_text_is_complete(store: Store) -> None:
    claim = store.streaming()

    assert owning.finish(store.db, ME, save_of(claim, Body()), DONE)

    assert_whole(store, claim.id, Body())


@pytest.mark.parametrize("offset", [0, 1, 3, 10])
def test_done_only_at_the_right_length(store: Store, offset: int) -> None:
    claim = store.streaming()
    store.save(claim, body_of("ab"))
    before = store.row(claim.id), store.pieces(claim.id)
    last = Save(claim.id, claim.token, offset, [Delta(offset, 0, "text", "c")])

    assert not owning.finish(store.db, ME, last, DONE)

    assert (store.row(claim.id), store.pieces(claim.id)) == before
    assert owning.finish(
        store.db, ME, Save(claim.id, claim.token, 2, [Delta(2, 0, "text", "c")]), DONE
    )
    assert_whole(store, claim.id, body_of("abc"))


@pytest.mark.parametrize(
    "ending",
    [DONE, Ending(Status.DONE, "length"), Ending(Status.CANCELLED), Ending.error("provider_cut")],
)
def test_every_end_keeps_the_partial_and_forgets_the_owner(store: Store, ending: Ending) -> None:
    claim = store.streaming()

    assert owning.finish(store.db, ME, save_of(claim, LONG), ending)

    assert_whole(store, claim.id, LONG)
    row = store.row(claim.id)
    assert (row.status, row.finish_reason) == (ending.status, ending.finish_reason)
    assert (row.error_code, row.error_message) == (ending.error_code, ending.error_message)
    assert (row.owner, row.lease_until, row.hard_deadline) == (None, None, None)


@pytest.mark.parametrize("code", MESSAGE_ERRORS)
def test_an_error_has_the_sentence_of_its_code_or_a_better_one(code: str) -> None:
    assert Ending.error(code).error_message == MESSAGE_ERRORS[code][0]
    assert Ending.error(code, "Better.").error_message == "Better."


@pytest.mark.failure(14)
def test_an_end_whose_commit_outcome_is_unknown_is_recognised(store: Store) -> None:
    claim = store.streaming()
    last = save_of(claim, LONG)
    owning.finish(store.db, ME, last, DONE)

    assert not owning.finish(store.db, ME, last, DONE)

    assert owning.has_ended(store.db, claim.id, claim.token, claim.attempt)
    assert owning.lease_state(store.db, ME, [claim.id]) == {}


def test_has_ended_is_false_for_an_end_by_the_sweep(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "lease_until")
    store.sweep().run()

    assert store.row(claim.id).status == "SENDING"  # nothing was shown
    assert not owning.has_ended(store.db, claim.id, claim.token, claim.attempt)

    again = store.claim(claim.id, OTHER)
    assert owning.finish(store.db, OTHER, save_of(again, LONG), DONE)
    assert not owning.has_ended(store.db, claim.id, claim.token, claim.attempt)
    assert owning.has_ended(store.db, claim.id, again.token, again.attempt)


def test_a_finish_of_a_locked_row_returns_at_once(store: Store) -> None:
    claim = store.streaming()

    with store.locked(claim.id):
        assert not owning.finish(store.db, ME, save_of(claim, LONG), DONE)

    assert owning.finish(store.db, ME, save_of(claim, LONG), DONE)


# --- a drain gives back ---------------------------------------------------------------------------


def release(store: Store, claim: Claim, owner: str = ME) -> bool:
    return owning.release(store.db, owner, claim.id, claim.token, 60)


def test_release_returns_an_answer_without_text_to_the_queue(store: Store) -> None:
    claim = store.streaming()

    assert release(store, claim)

    row = store.row(claim.id)
    assert (row.status, row.attempt, row.tries, row.owner) == ("SENDING", 2, 1, None)
    assert not store.save(claim, body_of("late"))
    assert store.claim(claim.id, OTHER).attempt == 3


def test_an_answer_that_was_shown_stopped_or_taken_does_not_go_back(store: Store) -> None:
    user = store.user()
    shown, stopped, taken = (store.streaming(user) for _ in range(3))
    store.save(shown, body_of("a"))
    stopping.stop(store.db, stopped.id, user)

    assert not release(store, shown)
    assert not release(store, stopped)
    assert not release(store, taken, owner=OTHER)
    assert not release(store, replace(taken, token=new_token()))
    assert {store.row(one.id).status for one in (shown, stopped, taken)} == {"STREAMING"}


def test_an_answer_is_released_a_limited_number_of_times(store: Store) -> None:
    claim = store.streaming()
    for _ in range(MAX_TRIES - 1):
        assert release(store, claim)
        claim = store.claim(claim.id)

    assert not release(store, claim)
    assert store.row(claim.id).tries == MAX_TRIES


# --- R7: stop -------------------------------------------------------------------------------------


def test_stop_ends_an_unclaimed_answer(store: Store) -> None:
    user = store.user()
    answer = store.sending(user)

    assert stopping.stop(store.db, answer, user) == Status.SENDING

    assert store.row(answer).status == "CANCELLED"
    assert_whole(store, answer, Body())
    assert owning.claim(store.db, answer, ME, 60, 900) is None


def test_stop_flags_a_claimed_answer_and_its_owner_keeps_the_partial(store: Store) -> None:
    user = store.user()
    claim = store.streaming(user)
    store.save(claim, body_of("par"))

    assert stopping.stop(store.db, claim.id, user) == Status.STREAMING
    assert stopping.stop(store.db, claim.id, user) == Status.STREAMING

    assert store.row(claim.id).stop_requested
    end = Ending(Status.CANCELLED)
    assert owning.finish(store.db, ME, save_of(claim, body_of("partial"), 3), end)
    assert_whole(store, claim.id, body_of("partial"))


@pytest.mark.parametrize("ending", [DONE, Ending(Status.CANCELLED), Ending.error("deadline")])
def test_stop_changes_nothing_of_what_has_ended(store: Store, ending: Ending) -> None:
    user = store.user()
    answer = store.ended(user, ending)
    before = store.row(answer)

    assert stopping.stop(store.db, answer, user) == ending.status

    assert store.row(answer) == before


def test_stopping_a_question_changes_nothing_and_is_no_error(store: Store) -> None:
    user = store.user()
    question = store.ask(user).question.id

    assert stopping.stop(store.db, question, user) == Status.DONE


def test_stop_and_claim_at_once_lose_nothing(store: Store) -> None:
    user = store.user()
    for _ in range(10):
        answer = store.sending(user)

        def act(number: int, answer: uuid.UUID = answer) -> object:
            if number:
                return owning.claim(store.db, answer, ME, 60, 900)
            return stopping.stop(store.db, answer, user)

        _, errors = at_once(2, act)

        assert errors == []
        row = store.row(answer)
        assert row.status == "CANCELLED" or (row.status == "STREAMING" and row.stop_requested)


# --- polling --------------------------------------------------------------------------------------


def test_poll_states_returns_what_a_follower_needs(store: Store) -> None:
    fresh, lapsed, overdue = (store.streaming() for _ in range(3))
    waiting, expired, ended = store.sending(), store.sending(), store.ended()
    store.save(fresh, body_of("abc"))
    store.make_overdue(lapsed.id, "lease_until")
    store.make_overdue(overdue.id, "hard_deadline")
    store.make_overdue(expired, "queue_deadline")
    ids = [fresh.id, lapsed.id, overdue.id, waiting, expired, ended, uuid.uuid4()]

    seen = messages.poll_states(store.db, ids)

    assert [(g.saved, g.ended, g.lapsed) for g in (seen[one] for one in ids[:-1])] == [
        (3, False, False),
        (0, False, True),
        (0, False, True),
        (0, False, False),
        (0, False, True),
        (8, True, False),
    ]
    assert ids[-1] not in seen


def test_open_messages_are_counted_by_status(store: Store) -> None:
    assert admin_queries.count_open(store.db) == {"SENDING": 0, "STREAMING": 0}
    store.sending()
    store.streaming()
    store.streaming()
    store.ended()

    assert admin_queries.count_open(store.db) == {"SENDING": 1, "STREAMING": 2}


def test_the_prompt_is_the_path_from_the_root_without_the_answer(store: Store) -> None:
    user = store.user()
    place = conversations.create(store.db, user, None, "Be brief.").id
    first = asking.ask(store.db, store.asking(user), place, text_body("One?"))
    claim = store.claim(first.answer.id)
    owning.finish(store.db, ME, save_of(claim, LONG), DONE)
    asking.ask(store.db, store.asking(user), place, text_body("Aside?"), None)
    second = asking.ask(store.db, store.asking(user), place, text_body("Two?"), first.answer.id)

    claim = store.claim(second.answer.id)

    assert claim.system == "Be brief."
    assert [(role, body.text) for role, body in claim.path] == [
        ("user", "One?"),
        ("assistant", LONG.text),
        ("user", "Two?"),
    ]
    kinds = [part.kind for part in claim.path[1][1].parts]
    assert kinds == [part.kind for part in LONG.parts if part.kind != "reasoning"]


def test_an_unknown_message_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        messages.load(store.db, uuid.uuid4(), store.user())


# --- Postgres away --------------------------------------------------------------------------------


def test_a_connection_cut_in_a_transaction_is_storage_down_and_the_next_one_works(
    store: Store,
) -> None:
    claim = store.streaming()

    def lose_the_connection() -> None:
        with store.db.transaction() as connection:
            [pid] = connection.execute(text("SELECT pg_backend_pid()")).one()
            store.db.rows("SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
            connection.execute(text("SELECT 1"))

    with pytest.raises(StorageDown):
        lose_the_connection()

    assert store.save(claim, body_of("on we go"))


def test_a_postgres_that_is_not_there_is_storage_down() -> None:
    nowhere = Database("postgresql+psycopg2://user@127.0.0.1:1/nothing")

    with pytest.raises(StorageDown):
        admin_queries.count_open(nowhere)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("SET TRANSACTION READ ONLY", "25006"),
        ("RAISE EXCEPTION USING ERRCODE = 'disk_full'", "53100"),
        ("RAISE EXCEPTION USING ERRCODE = 'serialization_failure'", "40001"),
        ("RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'", "40P01"),
        ("RAISE EXCEPTION USING ERRCODE = 'admin_shutdown'", "57P01"),
        ("RAISE EXCEPTION USING ERRCODE = 'io_error'", "58030"),
    ],
)
def test_a_fault_of_the_server_is_storage_down(store: Store, fault: str, code: str) -> None:
    statement = fault if fault.startswith("SET") else f"DO $$ BEGIN {fault}; END $$"

    def write() -> None:
        with store.db.transaction() as connection:
            connection.execute(text(statement))
            connection.execute(text("DELETE FROM pieces"))

    with pytest.raises(StorageDown) as down:
        write()

    cause: Any = down.value.__cause__
    assert cause.orig.pgcode == code


def test_a_fault_of_the_statement_is_not_storage_down(store: Store) -> None:
    with pytest.raises(Exception, match="syntax error") as error:
        store.db.rows("SELEC 1")

    assert not isinstance(error.value, StorageDown)


def test_an_error_shows_no_text_of_a_message(store: Store) -> None:
    claim = store.streaming()
    twice = Save(
        claim.id, claim.token, 0, [Delta(0, 0, "text", "canary"), Delta(0, 0, "text", "canary")]
    )

    with pytest.raises(Exception, match="pieces_pkey") as error:
        owning.save(store.db, ME, 60, [twice])

    assert "canary" not in str(error.value)
