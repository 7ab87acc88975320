"""Canaries in a whole story where sign-in is required: each is found only where it belongs.

`test_privacy` does the same without sign-in, and for all that can fail. Here are credentials of
every kind, good and bad: a host product's token and the secret that signs it, a service key, logins
and passwords, cookies, an identity provider's code and client secret, a share's link. And what
strangers and operators are shown. Each face is asked, with everything that its API can hold.
"""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from local.programs import Flower, Web, Worker
from scripted import (
    done,
    error_object,
    finish,
    reasoning,
    say,
    script,
    status,
    tool_call,
    usage,
)
from shared.secret_token import SERVICE_KEY
from tests.client import Client, new_id
from tests.credentials import SECRET, bearer, client_with, new_key, token
from tests.end_to_end.test_privacy import Tap, _readable, _stored
from tests.identity_provider import CLIENT_SECRET, IdentityProvider
from tests.rig import API_KEY, Rig, eventually
from tests.signing_in import attempt, new_account, session_of
from tests.web.auth.test_oidc import Browser as OidcBrowser
from tests.web.faces.test_tools import PNG

PROMPT, OUTPUT, NAME, SUBJECT, COOKIE, PASSWORD, WRONG, CHANGED = (
    f"{what}-canary-{new_id()}"
    for what in ("prompt", "output", "name", "subject", "cookie", "password", "wrong", "changed")
)
QUOTING = {"error": {"message": f"You said {PROMPT} with {API_KEY}", "code": OUTPUT}}
#: An image with a canary in it; and what only this image has in base64.
IMAGE = base64.b64encode(PNG + PROMPT.encode()).decode()
PIXELS = IMAGE[-44:-4]
DATA, ADDRESS = f"data:image/png;base64,{IMAGE}", f"https://images.example/{PROMPT}.png"
ARGUMENTS = {"at": PROMPT}


@pytest.fixture(scope="module")
def window(rig: Rig) -> Iterator[Flower]:
    """Flower."""
    flower = rig.flower()
    yield flower
    flower.kill()


def _asked(user: Client) -> None:
    """Everything that a user does, also what fails."""
    conversation = user.conversation(title=f"title {PROMPT}", system=f"system {PROMPT}")
    steps = [reasoning(f"think {OUTPUT}"), say(f"say {OUTPUT}"), finish(), usage(), done()]
    answer = user.ask(script(*steps, tag=PROMPT), conversation, key=f"{PROMPT} {new_id()}")
    with user.http.stream("GET", f"/api/messages/{answer}/stream") as stream:
        assert OUTPUT in "".join(stream.iter_text())
    for failing in (
        [status(400, QUOTING)],
        [say(OUTPUT), error_object(QUOTING["error"])],
    ):
        failed = user.ask(script(*failing, tag=PROMPT), user.conversation())
        assert user.ended(failed)["error"]
    assert PROMPT in user.http.get(f"/api/conversations/{conversation}").text
    assert user.http.get("/api/search", params={"q": PROMPT}).status_code == 200
    streamed = user.http.post(
        f"/api/conversations/{conversation}/messages",
        json={"content": script(*steps, tag=PROMPT)},
        headers={"Accept": "text/event-stream"},
    )
    assert OUTPUT in streamed.text


def _bodies(question: str) -> dict[str, dict[str, Any]]:
    """A request of each face: instructions, images, a call and its result, and the question."""
    schema = {"type": "object", "description": PROMPT}
    function = {"name": "look", "description": PROMPT, "parameters": schema}
    called = {"name": "look", "arguments": json.dumps(ARGUMENTS)}
    call = {"id": "c1", "type": "function", "function": called}
    messages = [
        {"role": "system", "content": f"system {PROMPT}"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": PROMPT},
                *({"type": "image_url", "image_url": {"url": url}} for url in (DATA, ADDRESS)),
            ],
        },
        {"role": "assistant", "content": OUTPUT, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": f"result {PROMPT}"},
        {"role": "user", "content": question},
    ]
    items = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": PROMPT},
                *({"type": "input_image", "image_url": url} for url in (DATA, ADDRESS)),
            ],
        },
        {"type": "function_call", "call_id": "c1", **called},
        {"type": "function_call_output", "call_id": "c1", "output": f"result {PROMPT}"},
        {"role": "user", "content": question},
    ]
    sources = (
        {"type": "base64", "media_type": "image/png", "data": IMAGE},
        {"type": "url", "url": ADDRESS},
    )
    blocks = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": PROMPT},
                *({"type": "image", "source": source} for source in sources),
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": ARGUMENTS}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": f"result {PROMPT}"},
                {"type": "text", "text": question},
            ],
        },
    ]
    files = [{"type": "file", "mediaType": "image/png", "url": url} for url in (DATA, ADDRESS)]
    tool = {"type": "tool-look", "toolCallId": "c1", "state": "output-available"}
    chat = {
        "system": f"system {PROMPT}",
        "tools": [{"type": "function", "function": function}],
        "metadata": {"canary": PROMPT},
        "messages": [
            {
                "id": new_id(),
                "role": "user",
                "metadata": {"canary": PROMPT},
                "parts": [{"type": "text", "text": PROMPT}, *files],
            },
            {
                "id": new_id(),
                "role": "assistant",
                "parts": [{**tool, "input": ARGUMENTS, "output": {"result": PROMPT}}],
            },
            {"id": new_id(), "role": "user", "parts": [{"type": "text", "text": question}]},
        ],
    }
    images = [
        {"type": "image", "source": {"type": "data", "value": IMAGE, "mimeType": "image/png"}},
        {"type": "image", "source": {"type": "url", "value": ADDRESS}},
    ]
    run = {
        "threadId": f"thread {NAME}",
        "runId": f"run {NAME} {new_id()}",
        "messages": [
            {"role": "system", "content": f"system {PROMPT}"},
            {"role": "user", "content": [{"type": "text", "text": PROMPT}, *images]},
            {"role": "assistant", "toolCalls": [call], "metadata": {"canary": PROMPT}},
            {"role": "tool", "toolCallId": "c1", "content": f"result {PROMPT}"},
            {"role": "user", "content": question},
        ],
        "tools": [function],
        "context": [{"description": PROMPT, "value": PROMPT}],
        "forwardedProps": {"metadata": {"canary": PROMPT}, "user": PROMPT},
    }
    return {
        "/v1/chat/completions": {
            "messages": messages,
            "tools": [{"type": "function", "function": function}],
            "metadata": {"canary": PROMPT},
            "user": PROMPT,
        },
        "/v1/responses": {
            "input": items,
            "instructions": f"system {PROMPT}",
            "tools": [{"type": "function", **function}],
            "metadata": {"canary": PROMPT},
        },
        "/v1/messages": {
            "messages": blocks,
            "system": f"system {PROMPT}",
            "tools": [{"name": "look", "description": PROMPT, "input_schema": schema}],
            "metadata": {"user_id": PROMPT},
            "max_tokens": 99,
        },
        "/api/chat": {"id": f"chat {NAME}", **chat},
        "/streams/chat": {"id": f"stream {NAME}", **chat},
        "/ag-ui": run,
    }


def _asked_in_every_face(rig: Rig, web: Web, secrets: set[str]) -> list[httpx2.Response]:
    """Answers of each, and what each refuses, or a provider does; adds the keys that ask."""
    says = (
        say(f"say {OUTPUT}", chunk=1000),
        tool_call("c2", "look", json.dumps({"at": OUTPUT}), chunk=1000),
        finish("tool_calls"),
        usage(),
        done(),
    )
    refused = []
    good, streamed = (_bodies(script(*says, tag=f"{PROMPT} {new_id()}")) for _ in range(2))
    failing = _bodies(script(status(400, QUOTING), tag=PROMPT))
    for path, body in good.items():
        key, _ = new_key(rig, "ask")  # for each face, as a user's requests are limited
        secrets.add(key)
        with Client(web.url) as client:
            http = client.http
            http.headers.update({"x-api-key": key} if path == "/v1/messages" else bearer(key))
            bodies = [body]
            if path.startswith("/v1/"):
                bodies.append({**streamed[path], "stream": True})
            for sent in bodies:
                headers = {"Idempotency-Key": f"{PROMPT} {new_id()}"}
                assert OUTPUT in _read(http, http.post(path, json=sent, headers=headers)).text
            failed = _read(http, http.post(path, json=failing[path]))
            assert "error" in failed.text.lower()
            refused += [failed, *_refused_bodies(http, path, body)]
            http.headers["x-api-key"] = guessed = SERVICE_KEY.new()
            http.headers.pop("Authorization", None)
            secrets.add(guessed)
            unknown = http.post(path, json=body)
            assert unknown.status_code == 401
            refused.append(unknown)
    return refused


def _read(http: httpx2.Client, answer: httpx2.Response) -> httpx2.Response:
    """The answer; the one that it leads to, if it only says where that is."""
    if answer.status_code == 201:
        return http.get(f"{answer.headers['Location']}?offset=-1&live=sse")
    return answer


def _refused_bodies(http: httpx2.Client, path: str, good: dict[str, Any]) -> list[httpx2.Response]:
    """What a face answers to bodies that it does not take."""
    unknown, no_image = (
        {"id": "m", "role": "user", "content": [part], "parts": [part]}
        for part in (
            {"type": PROMPT * 9, "text": PROMPT},
            {"type": "image_url", "image_url": {"url": PROMPT}},
        )
    )
    wrong: list[dict[str, Any]] = [
        {"messages": [{"role": PROMPT}], "input": [{"role": PROMPT}]},
        {"messages": [unknown], "input": [unknown]},
        {"messages": [no_image], "input": [no_image]},
        {"messages": PROMPT, "input": {"it": PROMPT}},
        {"temperature": PROMPT, "forwardedProps": {"temperature": PROMPT}},
        {"metadata": PROMPT, "forwardedProps": {"metadata": PROMPT}},
        {"tools": [{"type": PROMPT, "name": [PROMPT]}]},
        {"model": [PROMPT], "forwardedProps": {"model": [PROMPT]}},
    ]
    found = []
    for one in wrong:
        known = {name: value for name, value in one.items() if _has(good, name)}
        if known:
            found.append(http.post(path, json=good | known))
    json_type = {"Content-Type": "application/json"}
    found += [
        http.post(path, content=f'{{"messages": "{PROMPT}', headers=json_type),
        http.post(path, content=f"messages={PROMPT}"),
        http.post(f"{path}/{new_id()}/nothing", json=good),
    ]
    if path != "/ag-ui":  # where the key is the run's
        found.append(http.post(path, json=good, headers={"Idempotency-Key": PROMPT * 9}))
    assert {one.status_code for one in found} <= {400, 404, 415, 422}, found
    return found


def _has(good: dict[str, Any], name: str) -> bool:
    """Whether this API has such a field."""
    runs = "runId" in good
    return name in good or (not runs and name in ("temperature", "model"))


def _refused(web: Web, good: str, key: str) -> list[httpx2.Response]:
    """What is answered to requests whose credential is not good, or in the wrong place."""
    guessed, expired = SERVICE_KEY.new(), token("late", exp=int(time.time()) - 99)
    forged = good[:-8] + "AAAAAAAA"
    ways: list[dict[str, Any]] = [
        {"headers": bearer(guessed)},
        {"headers": bearer(expired)},
        {"headers": bearer(forged)},
        {"headers": bearer(f"{key}x")},
        {"headers": {"Authorization": f"Basic {key}"}},
        {"headers": {"Authorization": key}},
        {"headers": {"Cookie": f"session={COOKIE}; token={good}"}},
        {"headers": {"X-API-Key": f"{key}x"}},
        {"headers": {"X-API-Key": good}},
        {"params": {"token": good, "access_token": key}},
    ]
    with Client(web.url) as client:
        found = [
            client.http.request(method, path, **way)
            for way in ways
            for method, path in (
                ("GET", "/"),
                ("GET", "/api/conversations"),
                ("POST", "/api/conversations"),
                ("GET", "/api/nothing"),
                ("GET", "/metrics"),
            )
        ]
    assert {answer.status_code for answer in found} == {401}
    for answer in found:
        shown = answer.text + str(answer.headers)
        assert not [one for one in (guessed, expired, forged, good, key) if one in shown]
    return found


def _signed_in(rig: Rig, web: Web, login: str, secrets: set[str]) -> list[httpx2.Response]:
    """What an account is refused; adds what only its browser and its readers may know."""
    # A password is also typed where the login belongs.
    refused = [attempt(web, login, WRONG), attempt(web, PASSWORD, WRONG), attempt(web, WRONG)]
    began = attempt(web, login, PASSWORD)
    session = session_of(web, began)
    secrets |= set(began.cookies.values())
    with session.client() as person:
        _asked(person)
        conversation = person.conversation()
        place = f"/api/conversations/{conversation}"
        link = person.http.post(f"{place}/shares", json={}).json()["token"]
        with client_with(web, link) as reader:
            assert reader.http.get(place).status_code == 200
            assert reader.http.get("/api/shared").status_code == 200
            refused.append(reader.http.post("/api/conversations", json={}))
    session.get("/api/export")
    refused += [
        session.post("/api/user/password", body)
        for body in ({"current": WRONG, "new": CHANGED}, {"current": PASSWORD, "new": CHANGED * 30})
    ]
    changed = session.post("/api/user/password", {"current": PASSWORD, "new": CHANGED})
    assert changed.status_code == 204
    secrets |= set(changed.cookies.values())
    secrets.add(link)
    refused += [
        httpx2.post(f"{web.url}{place}/shares", json={}, headers=session.cookie),  # without CSRF
        httpx2.get(f"{web.url}{place}", headers=bearer(f"{link[:-1]}_")),
        httpx2.get(f"{web.url}{place}", params={"token": link}),
    ]
    assert session.sign_out().status_code == 204
    refused.append(session.get("/api/conversations"))
    assert {answer.status_code for answer in refused} <= {401, 403, 404, 422}
    return refused


def _came_back(web: Web, secrets: set[str]) -> list[httpx2.Response]:
    """What browsers are answered that come back from the provider, with a code that is good or not;
    adds what only they may know."""
    with closing(OidcBrowser(web)) as browser, closing(OidcBrowser(web)) as thief:
        back = browser.at_provider(browser.begin(), subject=f"oidc {SUBJECT}")
        sent = parse_qs(urlsplit(back).query)
        secrets |= {*sent["code"], *sent["state"], *browser.http.cookies.values()}
        answers = [thief.finish(back), browser.finish(back), browser.finish(back)]
        assert browser.is_signed_in()
        assert not thief.is_signed_in()
        secrets |= set(browser.http.cookies.values())
        return answers


def _logs(rig: Rig) -> str:
    """What all of our own processes have logged, and the servers."""
    files = [one for one in rig.home.glob("log/*") if one.name != "oidc-provider.log"]
    return "".join(one.read_text(errors="replace") for one in files)


def _credentials_in_postgres(rig: Rig) -> str:
    """All rows of the tables that know of credentials."""
    tables = ("users", "sessions", "service_keys", "shares", "audit")
    return str([rig.rows(f"SELECT CAST(t AS text) FROM {name} t") for name in tables])


def _processes() -> Iterator[tuple[str, str]]:
    """Command line and environment of all processes of this machine, as far as they can be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_text(errors="replace")
            environ = ""
            with suppress(OSError):
                environ = (folder / "environ").read_text(errors="replace")
            yield words, environ


def test_no_canary_is_found_where_it_does_not_belong(
    rig: Rig, oidc_web: Web, identity_provider: IdentityProvider, window: Flower, worker: Worker
) -> None:
    good = token(SUBJECT)
    key, _ = new_key(rig, "ask,act_as")
    operators, _ = new_key(rig, "admin")
    secrets = {good, good.rpartition(".")[2], key, operators, COOKIE, API_KEY, SECRET}
    secrets |= {PASSWORD, WRONG, CHANGED, CLIENT_SECRET}
    with (
        closing(Tap(rig)) as tap,
        client_with(oidc_web, good) as user,
        client_with(oidc_web, key) as machine,
        client_with(oidc_web, key, **{"Outlive-User": SUBJECT}) as acting,
        client_with(oidc_web, token("stranger")) as stranger,
        client_with(oidc_web, operators) as operator,
    ):
        for client in (user, machine, acting):
            _asked(client)
        refused = _refused(oidc_web, good, key)
        refused += _asked_in_every_face(rig, oidc_web, secrets)
        login = new_account(rig, password=PASSWORD)
        refused += _signed_in(rig, oidc_web, login, secrets)
        came_back = _came_back(oidc_web, secrets)
        [message, *_] = user.http.get("/api/conversations").json()["items"]
        refused += [
            stranger.http.get(f"/api/conversations/{message['id']}"),
            stranger.http.get("/api/search", params={"q": PROMPT}),
            stranger.http.get("/api/conversations"),
            operator.http.get(f"/api/conversations/{message['id']}"),
        ]
        shown = [operator.http.get(path) for path in ("/metrics", "/api/live", "/live")]
        assert {answer.status_code for answer in shown} == {200}
        with httpx2.Client(base_url=window.url or "", timeout=30) as flower:
            eventually(lambda: flower.get("/api/tasks").json())
            shown += [
                flower.get(path)
                for path in (
                    "/api/tasks",
                    "/api/workers?refresh=1",
                    "/tasks",
                    "/metrics",
                    "/broker",
                )
            ]
        commands = _readable("\n".join(tap.commands()))
    assert "outlive.generate" in commands, "the tap saw no task"

    private = (PROMPT, OUTPUT, PIXELS)
    places = {
        "logs": _logs(rig),
        "commands of Redis": commands,
        "values in Redis": _stored(rig),
        "what operators see": "".join(answer.text for answer in shown),
        "refusals": "".join(answer.text + str(answer.headers) for answer in refused),
        "pages after the provider": "".join(
            answer.text + answer.headers.get("Location", "") for answer in came_back
        ),
        "process lists": "".join(words for words, _ in _processes()),
        "credentials in Postgres": _credentials_in_postgres(rig),
    }
    assert [
        (place, one[:12])
        for place, text in places.items()
        for one in (*secrets, *private)
        if one in text
    ] == []
    for name in (SUBJECT, login, NAME):
        assert name not in places["logs"] + places["values in Redis"] + places["process lists"]
    assert NAME not in commands
    # The environment holds what operators put there, and nothing of users.
    environments = "".join(environ for _, environ in _processes())
    operators_own = {API_KEY, SECRET, CLIENT_SECRET}
    assert API_KEY in environments, "no environment could be read"
    assert [one for one in (*private, *secrets - operators_own) if one in environments] == []
    passwords = [urlsplit(url).password for url in (rig.redis.url, rig.database_url)]
    assert not [one for one in passwords if one and one in places["process lists"]]
