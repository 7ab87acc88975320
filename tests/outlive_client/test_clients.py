"""Both Python clients against a real service, over links that are cut.

Each story is written once, for the client without an event loop. For the other one every call is
awaited by a loop of the test's own.
"""

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest

import outlive_client
from local.programs import Web, Worker
from outlive_client import AsyncAnswer, AsyncOutlive, Outlive, ProofMismatch
from scripted import cut, done, expected, finish, hold, hostile, reasoning, say, script, tool_call
from tests.client import Client, new_id, proof
from tests.credentials import new_key, operate
from tests.credentials import token as signed
from tests.cutting import IN_FRAMES, CutPoint, CuttingProxy, Manner
from tests.rig import Rig, eventually
from tests.stories import NEVER, sweep
from tests.tcp_proxy import TcpProxy

#: Everything that is more than a byte, and whatever a careless reader would split.
PIECES = ["你好，世界。", "👩‍👧 and 😀", "words, ", "\r\n\n", "e\u0301\u2028\x85", '"data: \\n"']
TEXT = "".join(f"{number}{piece}" for number in range(1500) for piece in PIECES)
#: The first cut is within `accepted`: the question is sent again. The others are within frames.
PLAN = (CutPoint(b"data: ", 1, 8), *IN_FRAMES)


class Awaited:
    """An async client or answer whose methods wait."""

    def __init__(self, subject: Any, loop: asyncio.Runner) -> None:
        self._subject = subject
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._subject, name)
        return self._waiting(found) if inspect.iscoroutinefunction(found) else found

    def _waiting(self, method: Any) -> Any:
        def call(*words: Any, **named: Any) -> Any:
            async def awaited() -> Any:
                return await method(*words, **named)

            found = self._loop.run(awaited())
            return Awaited(found, self._loop) if isinstance(found, AsyncAnswer) else found

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] == "_":
            super().__setattr__(name, value)
        else:
            setattr(self._subject, name, value)

    def __enter__(self) -> "Awaited":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def follow(self, message_id: str) -> Any:
        return Awaited(self._subject.follow(message_id), self._loop)

    def __iter__(self) -> Iterator[Any]:
        return self._each(self._subject)

    def texts(self) -> Iterator[Any]:
        return self._each(self._subject.texts())

    def export_all(self, *words: str) -> Iterator[Any]:
        return self._each(self._subject.export_all(*words))

    def _each(self, them: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(them, None)

        while (found := self._loop.run(following())) is not None:
            yield found


@contextmanager
def client_of(kind: str, url: str, **named: Any) -> Iterator[Outlive]:
    """A client of this kind, used as the one without a loop."""
    if kind == "sync":
        with Outlive(url, **named) as client:
            yield client
        return
    with asyncio.Runner() as loop:
        waiting = Awaited(AsyncOutlive(url, **named), loop)
        yield cast("Outlive", waiting)
        waiting.close()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def outlive(kind: str, web: Web, worker: Worker) -> Iterator[Outlive]:
    with client_of(kind, web.url) as client:
        yield client


def quick(*steps: Any) -> str:
    """A question that nobody else asks."""
    return script(*(steps or (say("An answer."), finish(), done())), tag=new_id())


# --- cut -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("manner", ["reset", "close"])
def test_answer_is_exact_through_every_cut_and_asked_once(
    rig: Rig, web: Web, worker: Worker, kind: str, manner: Manner
) -> None:
    question = quick(hostile(30_000, chunk=400), finish(), done())
    text = expected(question).text
    with CuttingProxy(web.url, PLAN, manner) as link, client_of(kind, link.url) as outlive:
        answer = outlive.ask(question)
        pauses: list[None] = []
        answer.on_cut = lambda: pauses.append(None)

        deltas = list(answer)

    assert "".join(delta.text for delta in deltas) == text
    assert [delta.start for delta in deltas] == _starts(deltas)
    assert answer.text == text
    assert answer.end
    assert (answer.end.length, answer.end.sha256) == proof(text)
    assert link.cuts == len(PLAN)
    assert 0 < len(pauses) < len(PLAN)  # the first was before `ask` returned
    assert len(rig.scripted.requests(contains=question)) == 1


def _starts(deltas: list[Any]) -> list[int]:
    ends = [0]
    for delta in deltas:
        ends.append(ends[-1] + len(delta.text))
    return ends[:-1]


def test_answer_is_followed_through_cuts_while_it_is_written_and_later(
    rig: Rig, web: Web, worker: Worker, kind: str
) -> None:
    gate = f"clients {new_id()}"
    parts = (reasoning("Let me see. "), say(TEXT[:5000]), hold(gate), say(TEXT[5000:]))
    with ExitStack() as stack:
        link = stack.enter_context(CuttingProxy(web.url, IN_FRAMES[1:3]))
        outlive = stack.enter_context(client_of(kind, link.url))
        with outlive.ask(quick(*parts, finish(), done())) as asked:
            for delta in asked:
                if delta.start + len(delta.text) >= 2000:
                    break
        rig.scripted.release(gate)

        late = outlive.follow(asked.id).read()
        again = outlive.follow(asked.id).read()

    assert link.cuts == 2
    for answer in (late, again):
        assert [part.kind for part in answer.parts] == ["reasoning", "text"]
        assert answer.text == TEXT


def test_wait_that_was_cancelled_can_be_taken_up_again(rig: Rig, web: Web, worker: Worker) -> None:
    gate = f"cancelled {new_id()}"

    async def story() -> str:
        async with AsyncOutlive(web.url) as outlive:
            answer = await outlive.ask(quick(say("Once "), hold(gate), say("more."), done()))
            first = await anext(answer)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(answer), 0.1)
            rig.scripted.release(gate)
            return first.text + "".join([text async for text in answer.texts()])

    assert asyncio.run(story()) == "Once more."


def test_link_that_changes_a_character_is_found_out(web: Web, worker: Worker, kind: str) -> None:
    with ChangingLink(web.url) as link, client_of(kind, link.url) as outlive:
        answer = outlive.ask(quick(say("Once upon a time", chunk=16), finish(), done()))

        with pytest.raises(ProofMismatch) as found:
            answer.read()

    assert answer.text == "Once upon a dime"
    assert found.value.message
    assert found.value.message.text == "Once upon a time"


class ChangingLink(CuttingProxy):
    """A link that changes one character of a stream."""

    def changed(self, data: bytes) -> bytes:
        return super().changed(data.replace(b" time", b" dime"))


def test_service_that_is_away_for_a_moment_is_waited_for(
    web: Web, worker: Worker, kind: str
) -> None:
    with TcpProxy(web.url) as link:
        with client_of(kind, link.url) as outlive:
            outlive.models()
            link.cut()
            threading.Timer(0.5, link.mend).start()
            assert outlive.ask(quick()).read().text == "An answer."
        with client_of(kind, link.url, patience=0.3) as hasty:
            hasty.models()
            link.cut()
            with pytest.raises(outlive_client.Unreachable) as found:
                hasty.models()
            assert found.value.temporary


def test_address_that_was_never_reached_is_given_up_at_once(nowhere: str, kind: str) -> None:
    with client_of(kind, f"http://{nowhere}") as outlive:
        for attempt in (outlive.models, lambda: outlive.ask("Why?"), outlive.follow(new_id()).read):
            with pytest.raises(outlive_client.Unreachable, match="Nothing answers") as found:
                attempt()
            assert not found.value.temporary


# --- calls ---------------------------------------------------------------------------------------


def test_everything_that_the_service_offers(outlive: Outlive, rig: Rig) -> None:
    word = f"w{new_id()[:8]}"
    place = outlive.create_conversation(title=f"About {word}", system="Be brief.").id
    first = outlive.ask(quick(), conversation=place).read()
    assert first.asked
    assert first.asked.question.conversation_id == place
    assert (first.end and first.end.status) == "DONE"

    # another answer, a stopped one, and one that goes on
    again = outlive.retry(first.id, model="other").read()
    assert outlive.message(again.id).model == "other"
    held = outlive.ask(quick(say("Half"), hold(NEVER)), conversation=place, parent=first.id)
    assert next(iter(held.texts())) == "Half"
    outlive.stop(held.id)
    assert held.read().end
    assert (held.end and held.end.status, held.text) == ("CANCELLED", "Half")
    more = outlive.continue_(held.id, options={"max_tokens": 9}).read()
    assert outlive.message(more.id).continues_id == held.id

    # lists
    assert outlive.conversations(limit=1).items[0].id == place
    page = outlive.conversations(limit=1)
    assert page.next is None or outlive.conversations(cursor=page.next).items[0].id != place
    [hit] = outlive.search(word)
    assert hit.conversation.id == place
    assert outlive.models().default == "scripted"

    # one branch, and all of them
    branch = outlive.conversation(place)
    assert [message.role for message in branch.messages] == ["user", "assistant"] * 3
    assert outlive.conversation(place, leaf=again.id).messages[-1].id == again.id
    markdown = outlive.export(place)
    assert markdown.startswith(f"# About {word}\n\n> Be brief.\n\n## Question\n\n")
    assert "## Answer (scripted, cancelled)\n\nHalf" in markdown
    exported = json.loads(outlive.export(place, "json"))
    ids = {message["id"] for message in exported["messages"]}
    assert {first.id, again.id, held.id, more.id} <= ids
    assert len(ids) == 7

    assert outlive.change_conversation(place, title="Other").title == "Other"
    outlive.delete_conversation(place)
    with pytest.raises(outlive_client.NotFound):
        outlive.conversation(place)
    assert outlive.undelete_conversation(place).title == "Other"


def test_refusals_are_exceptions_with_code_and_status(outlive: Outlive) -> None:
    failed = outlive.ask(quick(say("Half"), cut())).read()
    assert failed.end
    assert failed.end.error
    assert (failed.end.error.code, failed.text) == ("provider_cut", "Half")
    whole = outlive.ask(quick(tool_call("f", "{}"), say("."), finish(), done())).read()
    for kind, status, code, attempt in (
        (outlive_client.NotFound, 404, "not_found", lambda: outlive.message(new_id())),
        (outlive_client.NotFound, 404, "not_found", lambda: outlive.follow(new_id()).read()),
        (outlive_client.NotFound, 404, "not_found", lambda: outlive.message("../../readyz")),
        (outlive_client.Conflict, 409, "complete", lambda: outlive.continue_(whole.id)),
        (outlive_client.Invalid, 422, "invalid", lambda: outlive.ask("", conversation=new_id())),
    ):
        with pytest.raises(kind) as found:
            attempt()
        assert (found.value.status, found.value.code) == (status, code)


def test_same_key_is_the_same_question(outlive: Outlive) -> None:
    place, question, key = outlive.create_conversation().id, quick(), new_id()

    first = outlive.ask(question, conversation=place, key=key).read()
    second = outlive.ask(question, conversation=place, key=key).read()

    assert second.id == first.id
    assert second.text == "An answer."


def test_any_string_can_be_asked(outlive: Outlive) -> None:
    answer = outlive.ask(f"\ud800 é \x00 \U0001f600 {quick()}")

    assert answer.asked
    assert answer.asked.question.text.startswith("\ufffd é \ufffd \U0001f600 ")
    outlive.stop(answer.id)
    answer.close()


def test_branch_that_comes_in_pages_is_read_whole(web: Web, worker: Worker) -> None:
    long = "0123456789" * 60_000
    with Outlive(web.url) as outlive:
        place = outlive.create_conversation().id
        for number in range(2):
            outlive.ask(f"{number}{long}", conversation=place).read()

        messages = outlive.conversation(place).messages

    assert [message.role for message in messages] == ["user", "assistant"] * 2
    assert [message.text[0] for message in messages[::2]] == ["0", "1"]
    assert all(len(message.text) == message.length for message in messages)


# --- who asks ------------------------------------------------------------------------------------


def test_everybody_reads_their_own(required_web: Web, rig: Rig, worker: Worker, kind: str) -> None:
    key, _ = new_key(rig, "ask,act_as")
    with ExitStack() as stack:

        def client(token: Any, user: str | None = None) -> Outlive:
            return stack.enter_context(client_of(kind, required_web.url, token=token, user=user))

        subject = new_id()
        alice, person = client(key, new_id()), client(lambda: signed(subject))
        answers = [one.ask(quick()).read() for one in (alice, person)]
        assert [answer.text for answer in answers] == ["An answer."] * 2

        for other in (client(key, new_id()), client(key), person):
            with pytest.raises(outlive_client.NotFound):
                other.follow(answers[0].id).read()
        with pytest.raises(outlive_client.Unauthorized) as found:
            client(key[:-1] + "~").ask("Why?")
        assert found.value.status == 401


def test_sharing_use_and_all_that_is_theirs(required_web: Web, worker: Worker, kind: str) -> None:
    alice, bob = new_id(), new_id()
    with ExitStack() as stack:

        def client(token: Any) -> Outlive:
            return stack.enter_context(client_of(kind, required_web.url, token=token))

        hers, his = client(lambda: signed(alice)), client(lambda: signed(bob))
        assert his.shared() == ()
        place = hers.create_conversation(title="Plans").id
        answer = hers.ask(quick(), conversation=place).read()

        # with a named user, and by a link
        named = hers.share(place, user=bob, days=1)
        link = hers.share(place)
        assert (named.user, named.token, link.user) == (bob, None, None)
        assert link.token
        assert link.token not in repr(link)
        assert [one.id for one in hers.shares(place)] == [link.id, named.id]
        assert [one.id for one in his.shared()] == [place]
        reader = client(link.token)
        for one in (his, reader):
            assert one.follow(answer.id).read().text == "An answer."
            assert one.conversation(place).title == "Plans"
        for share in (named, link):
            hers.revoke_share(share.id)
        assert hers.shares(place) == ()
        for one in (his, reader):
            with pytest.raises(outlive_client.NotFound):
                one.message(answer.id)

        # tokens
        usage = hers.usage()
        assert (usage.day.answers, usage.day.limit, usage.key) == (1, None, None)
        assert usage.month.used >= usage.day.used > 0

        # everything
        lines = [json.loads(line) for line in hers.export_all("json")]
        assert lines[-1] == {"type": "end", "conversations": 1, "messages": 2}
        assert [line["type"] for line in lines[-4:-1]] == ["conversation", "message", "message"]
        assert "An answer." in "".join(hers.export_all())
        with pytest.raises(ValueError, match="pdf"):
            list(hers.export_all("pdf"))
        hers.delete_user()
        with pytest.raises(outlive_client.Unauthorized):
            hers.usage()


def test_revoked_key_ends_the_reading(
    required_web: Web, rig: Rig, worker: Worker, kind: str
) -> None:
    key, key_id = new_key(rig, "ask")
    with client_of(kind, required_web.url, token=key) as outlive:
        answer = outlive.ask(quick(say("Once"), hold(NEVER)))
        assert next(iter(answer)).text == "Once"

        assert operate(rig, "key", "revoke", key_id).exit_code == 0

        with pytest.raises(outlive_client.Unauthorized):
            answer.read()


# --- both ----------------------------------------------------------------------------------------


def test_both_clients_have_the_same_methods() -> None:
    def signatures(kind: type) -> dict[str, Any]:
        members = inspect.getmembers(kind, inspect.isfunction)
        found = {name: inspect.signature(one).parameters for name, one in members if name[0] != "_"}
        return {
            name: [str(one) for one in parameters.values()] for name, parameters in found.items()
        }

    assert signatures(Outlive) == signatures(AsyncOutlive)
    assert signatures(outlive_client.Answer) == signatures(AsyncAnswer)


def test_lost_worker_is_the_end_of_its_answers(
    rig: Rig, client: Client, web: Web, worker: Worker
) -> None:
    """Last, as it costs the worker."""
    with ExitStack() as stack:
        answers = []
        for kind in ("sync", "async"):
            outlive = stack.enter_context(client_of(kind, web.url))
            answer = outlive.ask(quick(say("So far"), hold(NEVER)))
            deltas = iter(answer)
            text = next(deltas).text
            while text != "So far":  # it may come in pieces
                text += next(deltas).text
            answers.append(answer)
        worker.kill()
        sweep(rig, died=worker.boot)

        for answer in answers:
            assert answer.read().text == "So far"
            assert answer.end
            assert answer.end.error
            assert answer.end.error.code == "worker_lost"
    eventually(lambda: not worker.alive())
