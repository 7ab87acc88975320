"""Every finding, provoked on real servers that are set up wrongly."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import redis
from click.testing import CliRunner

from cli.__main__ import outlive
from doctor import environment, postgres, provider, public, redis_server, sign_in
from doctor.findings import Finding, Patient
from local import data_dirs, env_files, ports
from local.programs import Web
from local.redis import CONFIG, Redis
from local.saved_addresses import write_private
from local.server import answers
from shared.bus.inspection import Inspection
from tests.identity_provider import IdentityProvider
from tests.nginx import Nginx, nginx
from tests.rig import Rig
from tests.store_fixtures import migrate, new_database


@pytest.fixture(scope="module")
def folder(rig: Rig) -> Iterator[Path]:
    """Files of variables that lead to the rig's servers."""
    with data_dirs.temporary() as home:
        folder = home / "etc"
        env_files.create(folder, "localhost", "outlive")
        for file in folder.iterdir():
            lines = file.read_text().splitlines()
            ours = {"OUTLIVE_AUTH": "local", "OUTLIVE_TRUSTED_PROXIES": "", **rig.env()}
            kept = [line for line in lines if line.partition("=")[0] not in ours]
            names = {line.partition("=")[0] for line in lines} & ours.keys()
            write_private(file, "\n".join([*kept, *(f"{name}={ours[name]}" for name in names)]))
        yield folder


@pytest.fixture
def patient(folder: Path) -> Patient:
    return Patient.of(folder, None)


def _with(folder: Path, line: str, tmp_path: Path, **variables: str) -> Patient:
    """The same with other variables in one file."""
    other = tmp_path / "etc"
    shutil.copytree(folder, other)
    text = "\n".join(f"{name}={value}" for name, value in variables.items())
    with (other / f"{line}.env").open("a") as file:
        file.write(f"\n{text}\n")
    return Patient.of(other, None)


def _checks(findings: Iterator[Finding]) -> set[str]:
    found = list(findings)
    assert all(finding.what.endswith(".") and finding.mend for finding in found)
    return {finding.check for finding in found}


# --- the environment -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "variables", "check"),
    [
        ("outlive", {"DATABASE_URL": "postgresql://shop:short@h/shop"}, "secrets"),
        ("outlive", {"DATABASE_URL": "postgresql://shop:postgres-postgres@h/shop"}, "secrets"),
        ("web", {"REDIS_URL": "redis://u:abababababababababababab@h/0"}, "secrets"),
        ("flower", {"FLOWER_BASIC_AUTH": "operator:operator"}, "secrets"),
        ("web", {"OUTLIVE_JWT_SECRET": "changeme-changeme-changeme-changeme"}, "secrets"),
        ("web", {"OUTLIVE_OIDC_CLIENT_SECRET": "secret"}, "secrets"),
        ("web", {"FLASK_DEBUG": "1"}, "debug"),
        ("worker", {"OPENAI_LOG": "debug"}, "debug"),
        ("web", {"GUNICORN_CMD_ARGS": "--reload"}, "debug"),
    ],
)
def test_weak_secrets_and_debugging_are_found(
    folder: Path, tmp_path: Path, line: str, variables: Mapping[str, str], check: str
) -> None:
    assert _checks(environment.check(Patient.of(folder, None))) == set()
    assert _checks(environment.check(_with(folder, line, tmp_path, **variables))) == {check}


def test_no_sign_in_beyond_this_machine_is_found(patient: Patient) -> None:
    near = replace(patient, address="http://localhost:8000")
    assert _checks(environment.check(near)) == set()
    far = replace(patient, address="https://chat.example.org")
    assert _checks(environment.check(far)) == {"sign-in"}


KNOWN = {"OUTLIVE_TRUSTED_PROXIES": "127.0.0.1"}


@pytest.mark.parametrize(
    ("variables", "address", "checks"),
    [
        ({}, "https://localhost", {"proxies"}),
        (KNOWN, "https://localhost", set()),
        (KNOWN, "https://chat.example.org", {"public-url"}),
        (KNOWN, "http://localhost", {"public-url"}),
        (KNOWN | {"OUTLIVE_PUBLIC_URL": ""}, "https://chat.example.org", {"cookies"}),
        (KNOWN | {"OUTLIVE_PUBLIC_URL": "http://chat.example.org"}, None, {"cookies"}),
        (KNOWN | {"OUTLIVE_PUBLIC_URL": ""}, "http://localhost:8000", set()),
    ],
)
def test_an_address_or_a_proxy_that_web_does_not_know_is_found(
    folder: Path, tmp_path: Path, variables: Mapping[str, str], address: str, checks: set[str]
) -> None:
    patient = _with(folder, "outlive", tmp_path, OUTLIVE_AUTH="required", **variables)
    assert _checks(environment.check(replace(patient, address=address))) == checks


def test_files_that_others_may_read_are_found(folder: Path, tmp_path: Path) -> None:
    patient = _with(folder, "web", tmp_path)
    (tmp_path / "etc/web.env").chmod(0o640)
    assert _checks(environment.check(patient)) == {"files"}


# --- sign-in -------------------------------------------------------------------------------------


def test_an_identity_provider_or_keys_that_do_not_answer_or_are_others_are_found(
    folder: Path, tmp_path: Path, nowhere: str, web: Web
) -> None:
    with IdentityProvider(tmp_path, ports.choose(), "http://localhost") as identity_provider:
        ours = identity_provider.url
        for number, (name, url, what) in enumerate([
            ("OUTLIVE_OIDC_ISSUER", ours, ""),
            ("OUTLIVE_OIDC_ISSUER", f"http://{nowhere}", "cannot be reached"),
            ("OUTLIVE_OIDC_ISSUER", web.url, "status 404"),
            ("OUTLIVE_OIDC_ISSUER", ours.replace("127.0.0.1", "localhost"), "another `issuer`"),
            ("OUTLIVE_JWT_JWKS_URL", f"{ours}/keys", ""),
            ("OUTLIVE_JWT_JWKS_URL", f"http://{nowhere}/keys", "cannot be reached"),
            ("OUTLIVE_JWT_JWKS_URL", f"{web.url}/", "something else than JSON"),
            ("OUTLIVE_JWT_JWKS_URL", f"{web.url}/healthz", "no `keys`"),
        ]):  # fmt: skip
            found = list(_signing_in(folder, tmp_path / str(number), **{name: url}))
            assert [what in one.what for one in found] == ([True] if what else []), found


def test_a_deployment_that_nobody_can_sign_in_to_is_found(
    rig: Rig, folder: Path, tmp_path: Path
) -> None:
    with new_database(rig, "locked") as url:
        migrate(url)
        assert _checks(_signing_in(folder, tmp_path, DATABASE_URL=url)) == {"sign-in"}
        done = CliRunner().invoke(
            outlive, ["user", "add", "ann"], input="a long password\n", env={"DATABASE_URL": url}
        )
        assert done.exit_code == 0, done.output
        assert _checks(_signing_in(folder, tmp_path / "again", DATABASE_URL=url)) == set()


def _signing_in(folder: Path, tmp_path: Path, **variables: str) -> Iterator[Finding]:
    required = {
        "OUTLIVE_AUTH": "required",
        "OUTLIVE_OIDC_CLIENT_ID": "x",
        "OUTLIVE_JWT_AUDIENCE": "x",
    }
    return sign_in.check(_with(folder, "outlive", tmp_path, **required, **variables))


# --- Postgres ------------------------------------------------------------------------------------


def test_a_superuser_is_found(patient: Patient) -> None:
    assert "postgres-role" in _checks(postgres.check(patient))


def test_a_role_that_may_do_ddl_or_make_roles_and_old_tables_are_found(
    rig: Rig, folder: Path, tmp_path: Path
) -> None:
    with new_database(rig, "doctors") as url:
        _run(rig, "CREATE ROLE builder LOGIN CREATEROLE PASSWORD 'builder'")
        _run(rig, "ALTER DATABASE doctors OWNER TO builder")
        name = url.partition("://")[2].partition("@")[0]
        builder = url.replace(name, "builder:builder")
        patient = _with(folder, "outlive", tmp_path, DATABASE_URL=builder)
        found = [one for one in postgres.check(patient) if "builder" in one.what]
        assert len(found) == 2
        assert "migrations" in _checks(postgres.check(patient))

        # And tables that it may not use; others may, but no worker has ever swept.
        migrate(url)
        assert [one for one in postgres.check(patient) if "builder may not read" in one.what]
        patient = _with(folder, "outlive", tmp_path / "again", DATABASE_URL=url)
        assert "workers" in _checks(postgres.check(patient))
    _run(rig, "DROP ROLE builder")


def _run(rig: Rig, statement: str) -> None:
    with rig.db.alone() as connection:
        connection.exec_driver_sql(statement)


def test_a_postgres_that_does_not_answer_is_found(
    folder: Path, tmp_path: Path, nowhere: str
) -> None:
    patient = _with(folder, "outlive", tmp_path, DATABASE_URL=f"postgresql://u:p@{nowhere}/x")
    assert "postgres" in _checks(postgres.check(patient))


def test_an_old_postgres_and_redis_are_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "OLDEST", 99)
    monkeypatch.setattr(redis_server, "OLDEST", {"Redis": (99,), "Valkey": (99,)})
    assert "versions" in _checks(postgres.check(patient))
    assert "versions" in _checks(redis_server.check(patient))


@pytest.mark.parametrize("seconds", [-5.0, 5.0])
def test_a_clock_that_is_wrong_here_is_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    right = postgres.time.time  # type: ignore[attr-defined]

    class Wrong:
        @staticmethod
        def time() -> float:
            return float(right()) + seconds

    monkeypatch.setattr(postgres, "time", Wrong)
    monkeypatch.setattr(redis_server, "time", Wrong)
    for check in (postgres.check, redis_server.check):
        [found] = [one for one in check(patient) if one.check == "clocks"]
        assert ("behind" if seconds > 0 else "ahead of") in found.what


# --- Redis ---------------------------------------------------------------------------------------


class OpenRedis(Redis):
    """Redis without a password."""

    def command(self):  # type: ignore[no-untyped-def]
        command = super().command()
        lines = CONFIG.format(port=self.address.port, password="").splitlines()
        kept = [line for line in lines if not line.startswith("requirepass")]
        write_private(self.directory / "valkey.conf", "\n".join(kept))
        return command

    def ready(self) -> bool:
        return answers(self.address.port, b"PING\r\n", b"PONG")


def test_a_user_who_may_do_anything_is_found(patient: Patient) -> None:
    found = [one.what for one in redis_server.check(patient) if one.check == "redis-acl"]
    assert "FLUSHALL, CONFIG, KEYS, ACL" in found[0]
    assert "reaches keys" in found[1]
    assert "redis-open" not in _checks(redis_server.check(patient))


def test_an_open_redis_that_evicts_and_has_no_processes_is_found(
    folder: Path, tmp_path: Path
) -> None:
    with data_dirs.temporary() as home, OpenRedis(home / "open") as server:
        url = f"redis://127.0.0.1:{server.address.port}/0"
        with redis.Redis.from_url(url) as admin:
            admin.config_set("maxmemory-policy", "allkeys-lru")
        patient = _with(folder, "web", tmp_path, REDIS_URL=url)

        found = _checks(redis_server.check(patient))

        assert {"redis-open", "noeviction", "workers", "web"} <= found


def test_a_redis_that_does_not_answer_is_found(folder: Path, tmp_path: Path, nowhere: str) -> None:
    patient = _with(folder, "web", tmp_path, REDIS_URL=f"redis://u:p@{nowhere}/0")
    assert "redis" in _checks(redis_server.check(patient))


# --- the provider --------------------------------------------------------------------------------


def test_a_provider_that_answers_is_fine(patient: Patient) -> None:
    assert _checks(provider.check(patient)) == set()


def test_a_provider_that_is_away_or_refuses_or_is_none_is_found(
    folder: Path, tmp_path: Path, nowhere: str, web: Web, home: Path
) -> None:
    with Changed(home, web, "proxy_pass ", "return 401; proxy_pass ") as refusing:
        for url, expected in (
            (f"http://{nowhere}/v1", "cannot be reached"),
            (f"{web.url}/api", "no chat completions"),
            (refusing.url, "refused the API key"),
        ):
            patient = _with(folder, "worker", tmp_path / expected, OPENAI_BASE_URL=url)
            [found] = provider.check(patient)
            assert expected in found.what


# --- the public address --------------------------------------------------------------------------


class Changed(Nginx):
    """nginx with other words in its file."""

    def __init__(self, folder: Path, web: Web, old: str, new: str) -> None:
        super().__init__(folder, web.url)
        self.old, self.new = old, new

    def config(self) -> str:
        assert self.old in super().config()
        return super().config().replace(self.old, self.new)

    def ready(self) -> bool:
        return answers(self.port, b"GET / HTTP/1.0\r\n\r\n", b"Server: nginx")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that nginx may enter."""
    with data_dirs.temporary() as home:
        yield home


def test_a_stream_that_arrives_as_it_is_written_is_fine(
    patient: Patient, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nginx(web.url) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(proxy.folder / "certificate.pem"))
        assert _checks(public.check(replace(patient, address=proxy.tls_url))) == set()


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        (
            "proxy_http_version 1.1;",
            "proxy_http_version 1.0; proxy_ignore_headers X-Accel-Buffering;",
            "buffering",
        ),
        (
            "proxy_pass ",
            "gzip on; gzip_proxied any; gzip_types text/event-stream; proxy_pass ",
            "compression",
        ),
        ("Host $http_host;", 'Host "unknown.example.org";', "hosts"),
        ("proxy_pass ", "return 502; proxy_pass ", "address"),
    ],
)
def test_a_proxy_that_is_set_up_wrongly_is_found(
    patient: Patient, web: Web, home: Path, old: str, new: str, check: str
) -> None:
    with Changed(home, web, old, new) as proxy:
        assert check in _checks(public.check(replace(patient, address=proxy.url)))


def test_tls_that_browsers_refuse_or_that_ends_soon_or_without_http2_is_found(
    patient: Patient, web: Web, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Changed(home, web, "ssl http2", "ssl") as proxy:
        tls = replace(patient, address=proxy.tls_url)
        assert _checks(public.check(tls)) == {"tls"}

        monkeypatch.setenv("SSL_CERT_FILE", str(home / "certificate.pem"))
        monkeypatch.setattr(public, "DAYS", 90)
        assert _checks(public.check(tls)) == {"certificate", "http2"}
        # A server that speaks no TLS, and an address without any.
        plain = replace(patient, address=f"https://127.0.0.1:{proxy.port}")
        assert _checks(public.check(plain)) == {"tls"}
    far = replace(patient, address="http://outlive.invalid")
    assert _checks(public.check(far)) == {"tls", "address"}


def test_an_address_of_another_deployment_is_found(folder: Path, tmp_path: Path, web: Web) -> None:
    other = _with(folder, "outlive", tmp_path, OUTLIVE_PREFIX="other")
    assert _checks(public.check(replace(other, address=web.url))) == {"stream"}


def test_a_probe_needs_a_token_that_was_left_in_redis_and_is_good_for_one_stream(
    rig: Rig, web: Web
) -> None:
    with httpx2.Client(base_url=web.url) as http:
        for token in ("", "x", "0" * 64, "0" * 63, "é"):
            headers = {b"Outlive-Probe": token.encode()}
            assert http.get("/healthz/stream", headers=headers).status_code == 404
        inspection = Inspection(rig.redis.url)
        token = inspection.new_probe()
        inspection.close()
        statuses = [
            http.get("/healthz/stream", headers={"Outlive-Probe": token}).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 404]
