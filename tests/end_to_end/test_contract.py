"""The API keeps its contract: schemathesis asks what the document allows, and what it does not.

It sends thousands of requests to real web processes with Postgres, Redis and a worker, also in
sequences (ask, read, stop, delete, ...), and runs every check that it has: no 5xx; no status,
header, type or shape that the document does not name, also in the frames of streams; nothing
accepted that the document refuses, nothing refused that it accepts; nothing of what was deleted;
nothing without a credential or with a bad one; nothing that is another user's.

Most of it is sent where sign-in is required, with every kind of credential (contract_hooks.py), the
rest where there is one local user. (The file is long because a run needs all of it: deployment,
credentials, document, settings.) The run of a release is longer:

    CONTRACT_REQUESTS=50000 ./outlive test tests/end_to_end/test_contract.py -s
"""

import json
import os
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from local.processes import BIN, ROOT
from local.programs import Web
from scripted import cut, done, finish, say, script, usage
from shared.settings import with_driver
from shared.store import accounts, users
from shared.store.database import Database
from tests.credentials import AUDIENCE, ISSUER, SECRET, bearer, new_key, token
from tests.push_receiver import receiving
from tests.rig import Rig, eventually, killing
from tests.signing_in import PASSWORD, begin_session, new_account
from tests.store_fixtures import migrate, new_database
from tests.stories import start_worker
from web.auth import known_devices

Json = dict[str, Any]

#: Requests that are sent, at least.
REQUESTS: Final = int(os.environ.get("CONTRACT_REQUESTS", "3500"))
#: Questions that wait in lines of their own, for each run.
LINES: Final = 4
#: Where a run writes what was answered.
COUNTS: Final = "counts.json"
#: An image.
PIXEL: Final = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
#: Seconds for which credentials are good.
LIFE: Final = 86_400
CONFIG: Final = """
continue-on-failure = true
{auth}
[generation]
max-examples = {examples}
database = "none"

[phases.stateful]
max-steps = 40

[phases.stateful.generation]
max-examples = {sequences}

[checks]
# The usual ones, and 413.
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413",
  "415", "422", "428", "429", "5xx"]
# Of 422 our own check says more (contract_hooks.py).
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]

[[operations]]
include-path = "/api/conversations/{{conversation_id}}/shares"
# A conversation has a limited number of shares.
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422", "429"]

[[operations]]
include-path = "/api/sign-in"
# Each attempt takes 30 ms of a core, and almost none is right.
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "429"]
generation.max-examples = 10

[[operations]]
include-path = "/api/user/password"
# Likewise.
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "422", "429"]
generation.max-examples = 10
"""
#: Who must not see what is the other's. All else is sent as the first of them.
AUTH: Final = """
[auth.wfc]
path = "auth.json"
peers = ["owner", "another"]
"""

#: What only people with an account use.
ACCOUNTS: Final = ("/api/sign-in", "/api/sign-out", "/api/user/password")
#: What has none without an identity provider (tests/web/auth/test_oidc.py).
NEED_PROVIDER: Final = {"GET /sign-in/oidc", "GET /sign-in/oidc/callback"}


@dataclass
class Deployment:
    """Two web masters on the same servers, with and without sign-in, and credentials."""

    required: Web
    local: Web
    #: for contract_hooks.py
    credentials: Json
    #: the peers of AUTH
    users: list[Json]
    #: of a browser
    subscription: Json


@pytest.fixture
def deployment(rig: Rig) -> Iterator[Deployment]:
    """A deployment of its own, whose streams are cut soon."""
    with ExitStack() as stack:
        url = stack.enter_context(new_database(rig, "contract"))
        migrate(url)
        receiver = stack.enter_context(receiving())
        env = {"DATABASE_URL": url, "OUTLIVE_PREFIX": "contract", "OUTLIVE_TITLES": "off"}
        env |= receiver.settings
        more = {"OUTLIVE_STREAM_MAX_SECONDS": "0.02", "WEB_CONCURRENCY": "1"}
        local = rig.new_web(**env, **more).start()
        required = rig.new_web(**env, **more, **SIGN_IN).start()
        worker = start_worker(rig, **env)
        stack.enter_context(killing(local, required, worker))
        credentials, users = new_credentials(url, rig)
        worker.wait()
        browser = receiver.subscription("browser")
        yield Deployment(required.wait(), local.wait(), credentials, users, browser)


SIGN_IN: Final = {
    "OUTLIVE_AUTH": "required",
    "OUTLIVE_JWT_SECRET": SECRET,
    "OUTLIVE_JWT_ISSUER": ISSUER,
    "OUTLIVE_JWT_AUDIENCE": AUDIENCE,
    "OUTLIVE_ASK_RATE": "1000000/minute",
    "OUTLIVE_READ_RATE": "1000000/minute",
    "OUTLIVE_ADDRESS_RATE": "1000000/minute",
}


def new_credentials(url: str, rig: Rig) -> tuple[Json, list[Json]]:
    """What contract_hooks.py sends, and the users whom schemathesis knows."""
    exp = int(time.time()) + LIFE
    peers = {name: bearer(token(name, exp=exp)) for name in ("owner", "another")}
    key, _ = new_key(rig, "ask,act_as", DATABASE_URL=url)
    with ExitStack() as stack:
        db = Database(with_driver(url))
        stack.callback(db.dispose)
        session = begin_session(db, users.by_subject(db, ISSUER, "owner").id)
        login = new_account(rig, DATABASE_URL=url)
        account = accounts.find(db, login)
        assert account is not None
        # The address counts, too, unless the account knows the browser.
        changing = begin_session(db, account.id)
        changing["Cookie"] += f"; outlive_device={known_devices.proof(account.password_hash)}"
    credentials = {
        "token": peers["owner"]["Authorization"],
        "same": [peers["owner"], {**bearer(key), "Outlive-User": "owner"}, session],
        "operator": bearer(token("operator", exp=exp, scope="admin")),
        "account": {"login": new_account(rig, DATABASE_URL=url), "password": PASSWORD},
        "changing": changing,
        "claims": {"iss": ISSUER, "aud": AUDIENCE},
        "secret": SECRET,
    }
    return credentials, [
        {
            "name": name,
            "fixedHeaders": [{"name": "Authorization", "value": headers["Authorization"]}],
        }
        for name, headers in peers.items()
    ]


def client_of(web: Web, user: Json) -> httpx2.Client:
    """A client of one of the users of AUTH, or of the local one, who needs no header."""
    headers = {one["name"]: one["value"] for one in user["fixedHeaders"]}
    return httpx2.Client(base_url=web.url, headers=headers)


def new_file(web: Web, user: Json, document: Json) -> str:
    """The id of a file that is there for this user, or for the local one."""
    asked = document["components"]["schemas"]["Question"]["examples"][-1]
    with client_of(web, user) as client:
        place = client.post("/api/conversations").raise_for_status().json()["id"]
        made = client.post(f"/api/conversations/{place}/messages", json=asked).raise_for_status()
    [image] = [part for part in made.json()["user"]["parts"] if part["kind"] == "image"]
    return str(image["meta"]["file"])


def new_lines(web: Web, user: Json) -> list[tuple[str, str]]:
    """Questions that wait after an answer that failed: the conversation's id and their own."""
    found = []
    with client_of(web, user) as client:

        def failed(answer: str) -> bool:
            return bool(client.get(answer).json()["status"] == "ERROR")

        for _ in range(LINES):
            place = f"/api/conversations/{client.post('/api/conversations').json()['id']}"
            asked = {"content": script(say("Half"), cut())}
            made = client.post(f"{place}/messages", json=asked).raise_for_status().json()
            eventually(partial(failed, f"/api/messages/{made['assistant']['id']}"))
            line = client.post(f"{place}/line", json=asked).raise_for_status().json()
            found.append((place.rpartition("/")[2], line["items"][0]["id"]))
    return found


def closed(document: Json) -> Json:
    """The document as strict as what is sent: without fields and codes that it does not name.

    Streams as OpenAPI 3.2 writes them.
    """
    text = json.dumps(document).replace('"x-extensible-enum"', '"enum"')
    found = json.loads(text.replace('"x-itemSchema"', '"itemSchema"'))
    found["openapi"] = "3.2.0"
    for schema in found["components"]["schemas"].values():
        if "properties" in schema and "event" not in schema["properties"]:
            schema.setdefault("additionalProperties", False)
    for methods in found["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                for kind, media in response.get("content", {}).items():
                    if "itemSchema" in media:
                        del media["schema"]  # it would be that of all events in a list
                    if kind == "application/problem+json":
                        codes = {"properties": {"code": {"enum": list(media["examples"])}}}
                        media["schema"] = {"allOf": [media["schema"], codes]}
    # An answer that ends soon, and can be continued.
    content = script(say("The sky scatters"), finish("length"), usage(3, 4), done())
    # And a file, which then can be read.
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    asked = [{"content": content}, {"content": content, "parts": [image]}]
    found["components"]["schemas"]["Question"]["examples"] = asked
    return dict(found)


def without_sign_in(document: Json) -> Json:
    """The document for the local user, who needs no credential: there is nothing to sign in to."""
    found: Json = json.loads(json.dumps(document))
    for path in (*ACCOUNTS, "/sign-in/oidc", "/sign-in/oidc/callback"):
        del found["paths"][path]
    for methods in found["paths"].values():
        for operation in methods.values():
            operation.pop("security")
    return found


#: What a response gives the next request of a sequence: what it is called there, and where it is.
#: Only calls that a sequence may begin with, and reads: so it begins with something that exists.
GIVEN: Final = {
    "create_conversation": ("201", {"conversation_id": "$response.body#/id"}),
    "list_conversations": ("200", {"conversation_id": "$response.body#/items/0/id"}),
    "list_sidebar": ("200", {"message_id": "$response.body#/items/0/answer/id"}),
    "show_conversation": ("200", {"message_id": "$response.body#/messages/1/id"}),
    "delete_conversation": ("204", {"conversation_id": "$request.path.conversation_id"}),
    "share_conversation": ("201", {"share_id": "$response.body#/id"}),
}


def linked(document: Json) -> Json:
    """The document with a link from each of GIVEN to every operation that takes such an id."""
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    for operation in operations:
        status, values = GIVEN.get(operation["operationId"], ("", {}))
        for target in operations:
            for name in {one["name"] for one in target["parameters"]} & set(values):
                called = target["operationId"]
                links = operation["responses"][status].setdefault("links", {})
                parameters = {name: values[name]}
                links[f"{called}_{name}"] = {"operationId": called, "parameters": parameters}
    return document


@dataclass
class Runs:
    """Runs of schemathesis, with sign-in and every kind of credential, and as the local user."""

    place: Path
    deployment: Deployment
    document: Json

    def both(self, phases: str, *, examples: int, sequences: int) -> Counter[str]:
        """Let schemathesis run, both at once; how often each operation answered which status."""
        there, sizes = self.deployment, {"examples": examples, "sequences": sequences}
        begun = [
            self.begin("required", there.required, phases, CONFIG.format(auth=AUTH, **sizes)),
            self.begin("local", there.local, phases, CONFIG.format(auth="", **sizes)),
        ]
        counts: Counter[str] = Counter()
        for name, process in begun:
            said, _ = process.communicate()
            found: Counter[str] = Counter(json.loads((self.place / name / COUNTS).read_text()))
            print(said, *sorted(found.items()), f"{name}: {found.total():,} requests", sep="\n")
            assert process.returncode == 0, said
            counts += found
        return counts

    def begin(
        self, name: str, web: Web, phases: str, config: str
    ) -> tuple[str, "subprocess.Popen[str]"]:
        """Start a run in a folder of its own."""
        place = self.place / name
        place.mkdir(exist_ok=True)
        document = self.document if name == "required" else without_sign_in(self.document)
        (place / "openapi.json").write_text(json.dumps(linked(document)))
        (place / "schemathesis.toml").write_text(config)
        (place / "auth.json").write_text(json.dumps({"auth": self.deployment.users}))
        credentials = self.deployment.credentials if name == "required" else {}
        process = subprocess.Popen(
            [
                BIN / "schemathesis",
                *("--config-file", "schemathesis.toml", "run", "--no-color"),
                *("--phases", phases, "--checks", "all", "--url", web.url, "openapi.json"),
            ],
            cwd=place,  # where it keeps what it learns
            # Few variables: each request looks at all of them.
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.end_to_end.contract_hooks",
                "CONTRACT_COUNTS": COUNTS,
                "CONTRACT_CREDENTIALS": json.dumps(credentials),
                "CONTRACT_LINES": json.dumps(new_lines(web, self.deployment.users[0])),
                "CONTRACT_SUBSCRIPTION": json.dumps(self.deployment.subscription),
                "CONTRACT_FILE": new_file(web, self.deployment.users[0], document),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return name, process


def cpu_seconds() -> float:
    """The CPU time of this process' children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_service_keeps_its_contract(deployment: Deployment, tmp_path: Path) -> None:
    document = httpx2.get(f"{deployment.local.url}/api/openapi.json").json()
    # The protocol of these is another one's, whose conformance suite judges them.
    for path in [path for path in document["paths"] if path.startswith("/streams/")]:
        del document["paths"][path]
    runs, before = Runs(tmp_path, deployment, closed(document)), cpu_seconds()

    counts = runs.both("examples,coverage,fuzzing,stateful", examples=16, sequences=10)
    while (missing := REQUESTS - counts.total()) > 0:
        size = min(60, 1 + missing // 50)  # an example is that of about 60 operations
        counts += runs.both("fuzzing,stateful", examples=size, sequences=size)

    statuses = Counter(answer[:3] for answer in counts.elements())
    seconds = cpu_seconds() - before
    print(f"{counts.total():,} requests with {seconds:.0f} s of a core: {dict(statuses)}")
    assert [answer for answer in counts if answer.startswith("5")] == []
    # Each operation was really reached.
    succeeded = {answer.split(" ", 1)[1] for answer in counts if answer.startswith("2")}
    assert succeeded | NEED_PROVIDER >= {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
