"""clients/js in real Chromium, by itself: a page that imports it, over links that are cut."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from local.processes import ROOT
from local.programs import Web
from scripted import done, expected, finish, hold, hostile, say, script
from tests.client import Client, new_id, proof
from tests.cutting import IN_FRAMES, CutPoint, CuttingProxy, Manner
from tests.foreign import npm_packages
from tests.rig import PATIENCE, Rig
from tests.signing_in import PASSWORD, new_account
from tests.stories import NEVER

pytestmark = pytest.mark.usefixtures("worker")

#: The first cut is within `accepted`: the question is sent again. So it may be after the next ones,
#: as a browser drops what it has received when a connection breaks at the same moment.
PLAN = (CutPoint(b"data: ", 1, 8), IN_FRAMES[0], IN_FRAMES[3])
READ = """async ({ question, id }) => {
  const { Outlive } = await import("/static/outlive.js");
  const outlive = new Outlive();
  const cuts = [];
  const onCut = () => cuts.push(1);
  const answer = id ? outlive.follow(id, { onCut }) : await outlive.ask(question, { onCut });
  const deltas = [];
  let failure = null;
  try {
    for await (const delta of answer) deltas.push(delta);
  } catch (error) {
    failure = error.constructor.name;
  }
  const { text, parts, end, asked } = answer;
  return { id: answer.id, text, parts, end, asked, deltas, failure, cuts: cuts.length };
}"""


@pytest.fixture
def page(browser: Browser, web: Web) -> Iterator[Page]:
    """A page of the service that runs nothing of ours, whose policy would let nothing run."""
    page = browser.new_page(bypass_csp=True)
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{web.url}/healthz")
    yield page
    page.close()


def quick(*steps: Any) -> str:
    """A question that nobody else asks."""
    return script(*(steps or (say("An answer."), finish(), done())), tag=new_id())


@pytest.mark.parametrize("manner", ["reset", "close"])
def test_answer_is_exact_through_every_cut_and_asked_once(
    rig: Rig, web: Web, page: Page, manner: Manner
) -> None:
    question = quick(hostile(30_000, chunk=400), finish(), done())
    text = expected(question).text
    with CuttingProxy(web.url, PLAN, manner) as link:
        page.goto(f"{link.url}/healthz")

        read = page.evaluate(READ, {"question": question})

    assert read["failure"] is None
    assert read["text"] == "".join(delta["text"] for delta in read["deltas"]) == text
    assert (read["end"]["length"], read["end"]["sha256"]) == proof(text)
    assert read["asked"]["assistant"]["id"] == read["id"]
    assert link.cuts == read["cuts"] == len(PLAN)
    assert len(rig.scripted.requests(contains=question)) == 1


def test_ended_answer_is_followed_through_cuts(web: Web, client: Client, page: Page) -> None:
    question = quick(hostile(20_000, chunk=400), finish(), done())
    answer = client.ask(question)
    client.ended(answer)
    with CuttingProxy(web.url, IN_FRAMES) as link:
        page.goto(f"{link.url}/healthz")

        read = page.evaluate(READ, {"id": answer})

    assert (read["failure"], read["text"]) == (None, expected(question).text)
    assert link.cuts == len(IN_FRAMES)


class ChangingLink(CuttingProxy):
    """A link that changes one character of a stream."""

    def changed(self, data: bytes) -> bytes:
        return super().changed(data.replace(b" time", b" dime"))


def test_link_that_changes_a_character_is_found_out(web: Web, page: Page) -> None:
    with ChangingLink(web.url) as link:
        page.goto(f"{link.url}/healthz")

        read = page.evaluate(
            READ, {"question": quick(say("Once upon a time", chunk=16), finish(), done())}
        )

    assert (read["failure"], read["text"]) == ("ProofMismatch", "Once upon a dime")


def test_everything_else_that_it_offers(page: Page) -> None:
    steps = [quick(), quick(say("Half"), hold(NEVER))]

    found = page.evaluate(
        """async ([question, open]) => {
          const { Outlive } = await import("/static/outlive.js");
          const outlive = new Outlive({ url: location.origin + "/", token: async () => "ignored" });
          const { id } = await outlive.createConversation({ title: "Mine", system: "Be brief." });
          const first = await (await outlive.ask(question, { conversation: id })).read();
          const again = await (await outlive.retry(first.id)).read();
          const held = await outlive.ask(open, { conversation: id, parent: first.id });
          for await (const _ of held) break;
          await outlive.stop(held.id);
          await held.read();
          const more = await outlive.continue(held.id, { model: "other", options: { seed: 1 } });
          more.close();
          const left = await more.read();
          await outlive.stop(more.id);
          const refused = [];
          for (const call of [
            () => outlive.message("../../readyz"),
            () => outlive.continue(first.id),
            () => outlive.ask("", { conversation: id }),
            () => outlive.follow(crypto.randomUUID()).read(),
          ]) await call().catch(({ status, code }) => refused.push([status, code]));
          return {
            texts: [first.text, again.text, held.text], status: held.end.status, left: left.end,
            model: (await outlive.message(more.id)).model,
            roles: (await outlive.conversation(id)).messages.map(({ role }) => role),
            listed: (await outlive.conversations({ limit: 1 })).items[0].id === id,
            hits: (await outlive.search("Mine", { limit: 5 })).items.length > 0,
            models: (await outlive.models()).default,
            refused,
          };
        }""",
        steps,
    )

    assert found == {
        "texts": ["An answer.", "An answer.", "Half"], "status": "CANCELLED", "left": None,
        "model": "other", "roles": ["user", "assistant"] * 3, "listed": True, "hits": True,
        "models": "scripted",
        "refused": [
            [404, "not_found"], [409, "complete"], [422, "invalid"], [404, "not_found"],
        ],
    }  # fmt: skip


def test_session_of_a_page_asks_shares_and_takes_everything_along(
    browser: Browser, required_web: Web, rig: Rig
) -> None:
    """The cookie is the browser's; the CSRF token that changes need is sent by the module."""
    page = browser.new_page(bypass_csp=True)
    page.goto(f"{required_web.url}/healthz")

    found = page.evaluate(
        """async ([login, password, question]) => {
          const { Outlive } = await import("/static/outlive.js");
          const outlive = new Outlive();
          const code = (call) => call.then(() => "done", (error) => error.code);
          const before = await code(outlive.signIn(login, "wrong"));
          await outlive.signIn(login, password);
          const answer = await (await outlive.ask(question)).read();
          const id = answer.asked.user.conversation_id;
          const link = await outlive.share(id, { days: 1 });
          const reader = new Outlive({ token: link.token });
          const read = await reader.follow(answer.id).read();
          const listed = await outlive.shares(id);
          const shared = await reader.shared();
          await outlive.revokeShare(link.id);
          const revoked = await code(reader.message(answer.id));
          const all = await outlive.exportAll();
          const markdown = await (await outlive.exportAll("markdown")).text();
          const wrong = await code(outlive.exportAll("pdf"));
          const { day } = await outlive.usage();
          await outlive.signOut();
          return {
            before, text: answer.text, read: read.text, path: link.path.startsWith("/s#"),
            listed: listed.map((one) => one.id === link.id), shared: shared[0].id === id, revoked,
            lines: (await all.text()).trimEnd().split("\\n").map((line) => JSON.parse(line).type),
            markdown: markdown.includes("An answer."), wrong, answers: day.answers,
            after: await code(outlive.usage()),
          };
        }""",
        [new_account(rig), PASSWORD, quick()],
    )
    page.close()

    lines = found.pop("lines")
    assert lines[-4:] == ["conversation", "message", "message", "end"]
    assert found == {
        "before": "sign_in_failed", "text": "An answer.", "read": "An answer.", "path": True,
        "listed": [True], "shared": True, "revoked": "not_found", "markdown": True,
        "wrong": "invalid_format", "answers": 1, "after": "unauthenticated",
    }  # fmt: skip


def test_call_over_a_rate_limit_waits_as_long_as_the_service_says(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { Outlive } = await import("/static/outlive.js");
          const tries = async (patience, seconds, code) => {
            const answers = [[429, { code }], [200, {}]];
            const transport = async () => {
              const [status, body] = answers.shift();
              const headers = new Map([["Retry-After", seconds]]);
              return { status, headers, text: JSON.stringify(body) };
            };
            await new Outlive({ transport, patience }).models().catch(() => null);
            return 2 - answers.length;
          };
          return [
            await tries(60_000, "0", "rate_limited"),
            await tries(1_000, "2", "rate_limited"),
            await tries(Infinity, "0", "rate_limited"),
            await tries(60_000, "0", "budget_exhausted"),
          ];
        }"""
    )

    assert found == [2, 1, 1, 1]


def test_cancelled_reading_ends_at_once(page: Page) -> None:
    found = page.evaluate(
        """async (question) => {
          const { Outlive } = await import("/static/outlive.js");
          const control = new AbortController();
          const answer = await new Outlive().ask(question, { signal: control.signal });
          setTimeout(() => control.abort(), 100);
          return await answer.read().catch((error) => [answer.id, error.name]);
        }""",
        quick(say("Once"), hold(NEVER)),
    )

    assert found[1] == "AbortError"


def test_types_are_those_of_the_code(tmp_path: Path) -> None:
    """`npm run types` writes outlive.d.ts from the comments, and checks the code by them."""
    source = ROOT / "clients" / "js"
    place = npm_packages(source, "js-client", "tsconfig.json", "outlive.js")

    words = ["node_modules/.bin/tsc", "--project", ".", "--outDir", str(tmp_path)]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "outlive.d.ts").read_text() == (source / "outlive.d.ts").read_text()


def test_hash_and_events_without_help_of_the_browser(page: Page) -> None:
    """Plain HTTP has no SubtleCrypto; events are the same however their bytes are cut."""
    sent = "retry: 5\n: x\nevent: a\ndata: {\u2028\u0085}\ndata:two\r\nid: 7\r\rdata\n\nid: 8\n\n"

    differing = page.evaluate(
        """async (sent) => {
          const { EventDecoder, sha256 } = await import("/static/outlive.js");
          const differing = [];
          for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 70_001]) {
            const bytes = crypto.getRandomValues(new Uint8Array(Math.min(length, 60_000)));
            const right = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
            if (String(sha256(bytes)) !== String(right)) differing.push(length);
          }
          const bytes = new TextEncoder().encode(sent);
          for (let size = 1; size <= bytes.length; size++) {
            const decoder = new EventDecoder();
            const events = [];
            for (let at = 0; at < bytes.length; at += size)
              events.push(...decoder.feed(bytes.subarray(at, at + size)));
            const found = JSON.stringify([events, decoder.retry]);
            if (!differing.includes(found)) differing.push(found);
          }
          return differing;
        }""",
        sent,
    )

    [found] = differing
    assert json.loads(found) == [
        [
            {"event": "a", "data": "{\u2028\u0085}\ntwo", "id": "7"},
            {"event": "message", "data": "", "id": ""},
        ],
        5,
    ]
