"""docs/deploy.md, run: roles, users, the units' commands, nginx, sign-in, the doctor, a restore.

One long file, because its tests share one deployment, which takes seconds to start.
"""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import httpx2
import psycopg2
import pytest
import redis

from doctor import public
from doctor.checks import CHECKS
from doctor.findings import Patient
from local import data_dirs
from local.processes import ROOT
from local.server import wait_until
from scripted import done, finish, hold, say, script, start_scripted
from tests.client import Client, new_id
from tests.deployed_person import ADDRESS, Person, new_person
from tests.deployment import PREFIX, Deployment, Unit
from tests.nginx import DeployedNginx
from tests.rig import eventually


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with (
        data_dirs.temporary() as home,
        start_scripted() as provider,
        Deployment(home, provider) as deployment,
    ):
        yield deployment


@pytest.fixture(scope="module")
def proxy(deployment: Deployment) -> Iterator[DeployedNginx]:
    with deployment.nginx() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def tls(proxy: DeployedNginx) -> ssl.SSLContext:
    """What trusts the certificate of nginx."""
    return ssl.create_default_context(cafile=proxy.folder / "certificate.pem")


@pytest.fixture(scope="module")
def person(deployment: Deployment, proxy: DeployedNginx, tls: ssl.SSLContext) -> Iterator[Person]:
    with new_person(deployment, proxy, tls) as person:
        yield person


@pytest.fixture(scope="module")
def client(deployment: Deployment, proxy: DeployedNginx, tls: ssl.SSLContext) -> Iterator[Client]:
    """A program with a key of an operator, which comes through nginx, over TLS."""
    key = json.loads(deployment.outlive("key", "add", "tests", "--scope", "ask,admin", "--json"))
    with Client(proxy.tls_url) as client:
        client.http.close()
        client.http = httpx2.Client(
            base_url=proxy.tls_url,
            headers={"Authorization": f"Bearer {key['key']}"},
            timeout=60,
            verify=tls,
        )
        yield client


def test_everything_works_with_narrow_roles_and_users(
    deployment: Deployment, client: Client
) -> None:
    name = f"held {new_id()}"
    # given: an answer to its end, one that is stopped, a retry, a list, a search, a deletion
    conversation = client.conversation(title="Sailing")
    first = client.ask(script(say("all is well"), finish(), done()), conversation)
    assert client.ended(first)["text"] == "all is well"
    assert client.http.post(f"/api/messages/{first}/retry").status_code == 202
    held = client.ask(script(say("so far"), hold(name), say(" and on"), finish(), done()))
    client.shown(held, 6)
    client.stop(held)
    assert client.ended(held)["status"] == "CANCELLED"
    for method, path in (
        ("GET", "/"),
        ("GET", "/live"),
        ("GET", "/api/live"),
        ("GET", "/api/models"),
        ("GET", "/api/conversations"),
        ("GET", "/api/search?q=well"),
        ("GET", f"/api/conversations/{conversation}"),
        ("GET", f"/api/conversations/{conversation}/turns"),
        ("GET", f"/api/messages/{first}/blocks"),
        ("GET", f"/api/messages/{first}/stream"),
        ("POST", f"/api/messages/{held}/continue"),
        ("GET", "/api/sidebar"),
        ("GET", "/healthz"),
        ("DELETE", f"/api/conversations/{conversation}"),
        ("POST", f"/api/conversations/{conversation}/undelete"),
    ):
        assert client.http.request(method, path).status_code < 300, path

    # and: Flower, which asks workers
    flower = deployment.flower
    name, _, password = deployment.of("flower")["FLOWER_BASIC_AUTH"].partition(":")
    address = f"http://127.0.0.1:{deployment.flower_port}"
    with httpx2.Client(base_url=address, auth=(name, password), timeout=30) as window:
        eventually(lambda: len(window.get("/api/workers", params={"refresh": 1}).json()) == 2)
        assert window.get("/broker").status_code == 200
        assert window.get("/api/queues/length").json()["active_queues"]
    assert flower.alive()

    # then: nothing was refused
    assert deployment.acl_log() == []


def test_a_person_signs_in_over_tls_and_shares_and_is_disabled_and_let_in_again(
    deployment: Deployment, person: Person
) -> None:
    # when: the page asks for a sign-in, and gets one
    asked = person.http.get("/", headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
    assert (asked.status_code, asked.headers["location"]) == (302, "/sign-in")
    signed_in = person.sign_in()

    # then: its cookies are for this host over https only, and its address is the browser's
    assert signed_in.status_code == 204, signed_in.text
    for cookie in signed_in.headers.get_list("set-cookie"):
        assert cookie.startswith("__Host-outlive_")
        assert {"Secure", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    entry = json.loads(deployment.outlive("audit", "--action", "sign_in", "--json"))
    assert entry["address"] == ADDRESS

    # when: they share, and an operator disables them, and lets them in again
    person.ask_and_share()
    assert person.by_link() == 200
    assert deployment.outlive("user", "disable", "ann") == "Disabled.\n"
    assert (person.http.get(person.place).status_code, person.by_link()) == (401, 404)
    assert person.sign_in().status_code == 401
    assert deployment.outlive("user", "enable", "ann") == "Enabled.\n"
    assert person.sign_in().status_code == 204

    # then
    assert (person.http.get(person.place).status_code, person.by_link()) == (200, 200)
    assert deployment.acl_log() == []


@pytest.mark.parametrize("line", ["web", "worker", "flower"])
def test_a_user_of_redis_can_do_nothing_else(deployment: Deployment, line: str) -> None:
    url = deployment.of(line)["REDIS_URL"]
    with redis.Redis.from_url(url) as server:
        for command in (
            "FLUSHALL", "FLUSHDB", "CONFIG GET *", "KEYS *", "SCAN 0", "SHUTDOWN",
            "ACL LIST", "CLIENT LIST",
            "CLIENT KILL ID 1", "CLIENT PAUSE 1", "CLIENT TRACKING on BCAST",
            "MONITOR", "SWAPDB 0 1", f"RENAME {PREFIX} x", "EVAL x 0",
            f"GET {PREFIX}x:y", "GET outlive:web", "XADD outlive:log:x * d x", "PUBLISH outlive x",
            "SUBSCRIBE outlive:stop", "PSUBSCRIBE *", f"PUBLISH {PREFIX}x:stop x", "SMEMBERS x",
            "PUBLISH /0.outlive.pidbox x", "LPUSH outlive x", "BRPOP outlive 1",
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                server.execute_command(*command.split())
    for nobody in (url.replace(f"{PREFIX}-{line}", ""), url.replace(f"{PREFIX}-", "default")):
        with redis.Redis.from_url(nobody) as server, pytest.raises(redis.AuthenticationError):
            server.ping()
    deployment.reset_acl_log()


def test_the_role_in_use_can_do_no_ddl_and_later_tables_are_granted(deployment: Deployment) -> None:
    using = psycopg2.connect(deployment.of("web")["DATABASE_URL"])
    using.autocommit = True
    with using.cursor() as cursor:
        for statement in (
            "CREATE TABLE x (y int)", "CREATE TEMPORARY TABLE x (y int)", "DROP TABLE pieces",
            "ALTER TABLE messages ADD COLUMN x int", "TRUNCATE pieces", "CREATE SCHEMA x",
            "CREATE INDEX ON messages (model)", "DROP TRIGGER messages_guard ON messages",
            "ALTER TABLE messages DISABLE TRIGGER ALL", "CREATE ROLE x", "CREATE EXTENSION hstore",
            "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT pg_read_file('/etc/passwd')", "COPY pieces TO PROGRAM 'cat'",
            "SET ROLE shop_migrate", "SET session_replication_role = replica",
        ):  # fmt: skip
            with pytest.raises((psycopg2.errors.InsufficientPrivilege,
                                psycopg2.errors.UndefinedObject)):  # fmt: skip
                cursor.execute(statement)
        migrate = deployment.of("release")["DATABASE_URL"]
        deployment.psql(migrate, "CREATE TABLE later (x int)")
        cursor.execute("INSERT INTO later VALUES (1); UPDATE later SET x = 2; DELETE FROM later")
        deployment.psql(migrate, "DROP TABLE later")
    using.close()
    # And the SQL may be run again.
    deployment.psql(deployment.admin_url, deployment.outlive("export", "postgres"))


def test_the_doctor_finds_nothing(deployment: Deployment, proxy: DeployedNginx) -> None:
    done_ = subprocess.run(
        [sys.executable, "-m", "cli", "--env", deployment.env, "doctor", "--json", proxy.tls_url],
        env={**os.environ, "SSL_CERT_FILE": str(proxy.folder / "certificate.pem")},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    document = json.loads(done_.stdout)
    assert document["findings"] == []
    assert document["checked"] == list(CHECKS)
    assert (document["healthy"], done_.returncode) == (True, 0)
    deployment.reset_acl_log()


def test_the_doctor_finds_a_proxy_that_web_does_not_believe_or_believes_too_much(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, claimed = "X-Forwarded-For $remote_addr;", "X-Forwarded-For $http_x_forwarded_for;"
    for changed, trusted, what in (
        ({"proxy_http_version 1.1;": "proxy_http_version 1.1; proxy_bind 127.0.0.9;"}, "127.0.0.1",
         "takes requests to"),
        ({old: claimed}, "127.0.0.8", "claims to be its address"),  # as if we were elsewhere
    ):  # fmt: skip
        with deployment.nginx(**changed) as proxy:
            monkeypatch.setenv("SSL_CERT_FILE", str(proxy.folder / "certificate.pem"))
            patient = Patient.of(deployment.env, proxy.tls_url)
            settings = patient.web.settings.model_copy(update={"trusted_proxies": trusted})
            web = replace(patient.web, settings=settings)
            found = public.check(replace(patient, processes=(web,)))
            assert [one.check for one in found if what in one.what] == ["proxies"]


def test_behind_nginx_a_client_has_its_own_address_whatever_it_claims(
    deployment: Deployment, proxy: DeployedNginx, tls: ssl.SSLContext, client: Client
) -> None:
    elsewhere = httpx2.HTTPTransport(verify=tls, local_address="127.0.0.77")
    claims = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "for=203.0.113.7",
        "X-Real-IP": "203.0.113.7",
    }
    with httpx2.Client(base_url=proxy.tls_url, transport=elsewhere, headers=claims) as claiming:
        assert claiming.get("/api/usage").status_code == 401
        answer = claiming.get("/api/usage", headers=dict(client.http.headers))

    assert answer.status_code == 200  # so the host is the one that nginx knows
    assert "127.0.0.77" in _access_log(deployment)
    assert "203.0.113.7" not in _access_log(deployment)


def _access_log(deployment: Deployment) -> str:
    return "".join(unit.log.read_text() for unit in deployment.web)


def _has_ended(unit: Unit) -> bool:
    return not unit.alive()


def _held(deployment: Deployment, client: Client, count: int) -> tuple[str, list[str]]:
    """Answers that have begun; the name by which the provider goes on with them."""
    name = f"held {new_id()}"
    question = script(say("so far"), hold(name), say(" and on"), finish(), done())
    answers = [client.ask(question) for _ in range(count)]
    for answer in answers:
        client.shown(answer, 6)
    return name, answers


def test_one_of_each_is_killed_the_others_end_in_time_and_a_dump_is_restored(
    deployment: Deployment, client: Client, person: Person
) -> None:
    # given: a session, and a share
    assert person.sign_in().status_code == 204
    person.ask_and_share()

    # when: a web process and a worker are killed while answers are written
    name, answers = _held(deployment, client, 6)
    deployment.web[0].kill()
    deployment.workers[0].kill()
    deployment.workers[0].run_once("ExecStopPost")  # which systemd runs after a death
    deployment.provider.release(name)

    # then: the dead worker's answers have ended with what was shown, and the others are whole
    texts = {(one["status"], one["text"]) for one in map(client.ended, answers)}
    assert texts == {("ERROR", "so far"), ("DONE", "so far and on")}

    # when: the others are stopped
    name, answers = _held(deployment, client, 2)
    before = client.ended(client.ask(script(say("kept"), finish(), done())))
    dump = deployment.home / "outlive.dump"
    with dump.open("wb") as out:
        deployment.pg("pg_dump", "--format=custom", deployment.admin_url, stdout=out)
    rest = (deployment.workers[1], deployment.web[1], deployment.flower)
    for unit in rest:
        unit.signal(unit.stop_signal)
    deployment.provider.release(name)

    # then: they end in the time that systemd gives them, after their answers
    for unit in rest:
        assert wait_until(partial(_has_ended, unit), unit.stop_seconds)
        assert unit.process is not None
        assert unit.process.returncode == 0
    db = deployment.database()
    rows = db.rows(
        "SELECT length, status FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))", ids=answers
    )
    assert [tuple(row) for row in rows] == [(13, "DONE")] * 2
    db.dispose()

    # when: the dump is restored, as docs/deploy.md says
    deployment.psql(deployment.postgres.url, f"DROP DATABASE {PREFIX}")
    deployment.psql(deployment.postgres.url, f"CREATE DATABASE {PREFIX}")
    deployment.psql(deployment.admin_url, deployment.outlive("export", "postgres"))
    words = [f"--role={PREFIX}_migrate", "--no-owner", "--no-privileges", "--exit-on-error"]
    deployment.pg("pg_restore", *words, f"--dbname={deployment.admin_url}", str(dump))
    for unit in (deployment.web[0], deployment.workers[0]):
        unit.start()
    for unit in (deployment.web[0], deployment.workers[0]):
        unit.wait()

    # then: what had ended is there, what was open ends, and the next question is answered
    assert client.message(before["id"]) == before
    for answer in answers:
        assert client.ended(answer)["error"]["code"] == "worker_lost"
    assert client.ended(client.ask(script(say("new"), finish(), done())))["text"] == "new"
    # and: so are the account, its session and its share
    assert (person.http.get(person.place).status_code, person.by_link()) == (200, 200)
    assert person.sign_in().status_code == 204
    assert deployment.acl_log() == []
