"""The environment is parsed once and strictly, and a mistake is reported without its value."""

import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import Settings

SECRET = "hunter2-very-secret-and-long-enough"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without .env."""
    monkeypatch.chdir(tmp_path)


def with_env(monkeypatch: pytest.MonkeyPatch, **env: str) -> Settings:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Settings.from_env()


def refusal(monkeypatch: pytest.MonkeyPatch, **env: str) -> str:
    with pytest.raises(SystemExit) as refused:
        with_env(monkeypatch, **env)
    assert isinstance(refused.value.code, str)  # so that the interpreter prints it and exits 1
    return refused.value.code


def test_without_any_variable_the_contracts_defaults_hold() -> None:
    settings = Settings.from_env()

    assert (settings.save_chars, settings.save_seconds) == (200, 1)
    assert (settings.lease_seconds, settings.heartbeat_seconds, settings.sweep_seconds) == (
        15,
        3,
        2,
    )
    assert (settings.queue_deadline_seconds, settings.first_token_seconds) == (120, 300)
    assert (settings.stall_seconds, settings.hard_deadline_seconds) == (60, 900)
    assert (settings.stream_max_seconds, settings.sse_heartbeat_seconds) == (1800, 15)
    assert (settings.worker_concurrency, settings.open_answers, settings.streams) == (200, 0, 0)
    assert (settings.auth, settings.titles) == ("local", True)
    assert settings.drain == settings.hard_deadline_seconds


def test_where_people_sign_in_a_user_has_limits_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_env(monkeypatch, OUTLIVE_AUTH="required")
    without = with_env(monkeypatch, OUTLIVE_MAX_STREAMS="0", OUTLIVE_MAX_RUNNING="0")
    some = with_env(monkeypatch, OUTLIVE_MAX_OPEN="3")

    assert (settings.open_answers, settings.streams, settings.running) == (1000, 500, 100)
    assert settings.limits_rates
    assert some.open_answers == 3
    assert (without.streams, without.running) == (0, 0)


def test_seconds_may_be_decimals(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_env(monkeypatch, OUTLIVE_LEASE_SECONDS="0.25", OUTLIVE_DRAIN_SECONDS="0")

    assert (settings.lease_seconds, settings.drain) == (0.25, 0)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1s", "nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("name", ["OUTLIVE_LEASE_SECONDS", "OUTLIVE_HARD_DEADLINE_SECONDS"])
def test_seconds_must_be_a_time(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert f"\n  {name}: " in refusal(monkeypatch, **{name: value})


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_drain_must_be_a_time(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert "OUTLIVE_DRAIN_SECONDS" in refusal(monkeypatch, OUTLIVE_DRAIN_SECONDS=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OUTLIVE_SAVE_CHARS", "0"),
        ("OUTLIVE_SAVE_CHARS", "1.5"),
        ("OUTLIVE_ANSWER_CHARS", "64000001"),  # Postgres could not keep it
        ("OUTLIVE_WORKER_CONCURRENCY", "many"),
        ("OUTLIVE_MAX_OPEN", "-1"),
        ("WEB_CONCURRENCY", "0"),
        ("PORT", "http"),
        ("OUTLIVE_AUTH", "none"),
        ("OUTLIVE_TITLES", "maybe"),
        ("OUTLIVE_NAME", "x" * 41),
        ("OUTLIVE_NAME", "two\nlines"),
        ("OUTLIVE_LOGO", "/nowhere/logo.svg"),
        ("OUTLIVE_LOGO", __file__),
        ("OUTLIVE_COLORS", "#ffff00"),
        ("OUTLIVE_INSTRUCTIONS", "x" * 20_001),
        ("OUTLIVE_SUGGESTIONS", "a|b|c|d|e|f|g"),
        ("OUTLIVE_FRAME_ORIGINS", "*"),
        ("OUTLIVE_FRAME_ORIGINS", "https://*.example.org"),
        ("OUTLIVE_FRAME_ORIGINS", "http://app.example.org"),
        ("OUTLIVE_FRAME_ORIGINS", "https://app.example.org;script-src *"),
        ("OUTLIVE_PUSH_KEY", "AAAA"),
        ("OUTLIVE_PUSH_KEY", "_" * 43),
        ("OUTLIVE_PUSH_CONTACT", "me"),
        ("OUTLIVE_PUSH_SERVICES", "http://push.example.org"),
    ],
)
def test_counts_and_choices_are_strict(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert f"\n  {name}: " in refusal(monkeypatch, **{name: value})


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("0", False), ("on", True), ("off", False), ("false", False)]
)
def test_titles_are_switched_by_the_usual_words(
    monkeypatch: pytest.MonkeyPatch, value: str, on: bool
) -> None:
    assert with_env(monkeypatch, OUTLIVE_TITLES=value).titles is on


@pytest.mark.failure(51)
@pytest.mark.parametrize(
    "address",
    [
        "api.example.com/v1",
        "localhost:8080/v1",
        "ftp://api.example.com",
        "https://",
        "https://api.example .com/v1",
        "https://api.example.com/v1\nhttps://other",
        "https://api.example.com:port/v1",
        "https://api.example.com:99999/v1",
    ],
)
def test_an_invalid_provider_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    output = refusal(monkeypatch, OPENAI_BASE_URL=address)

    assert "\n  OPENAI_BASE_URL: " in output
    assert "example" not in output


@pytest.mark.parametrize("blank", ["", " ", "\n", '""'])
def test_without_an_address_the_provider_is_openai(
    monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    settings = with_env(monkeypatch, OPENAI_BASE_URL=blank)

    assert (settings.openai_base_url, settings.provider_query) == (None, {})
    assert settings.provider_url == "https://api.openai.com/v1"


@pytest.mark.failure(51)
@pytest.mark.parametrize("key", ["sk-\u201csecret", "sk-1\nsk-2", "sk 1", "sk-\x00", "clé"])
def test_a_key_with_something_in_it_that_no_key_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    if "\0" in key:  # no environment can hold it
        with pytest.raises(ValidationError):
            Settings.model_validate({"OPENAI_API_KEY": key})
        return
    output = refusal(monkeypatch, OPENAI_API_KEY=key)

    assert "\n  OPENAI_API_KEY: " in output
    assert key not in output


def test_all_mistakes_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    output = refusal(monkeypatch, OUTLIVE_SAVE_CHARS="x", PORT="y", DATABASE_URL="mysql://z")

    assert output.startswith("The environment cannot be used:\n")
    assert len(output.split("\n")) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://me:{SECRET}@db/x"),
        ("DATABASE_URL", SECRET),
        ("REDIS_URL", f"http://:{SECRET}@redis"),
        ("OUTLIVE_LEASE_SECONDS", SECRET),
        ("OUTLIVE_AUTH", SECRET),
    ],
)
def test_a_refusal_never_shows_a_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    output = refusal(monkeypatch, **{name: value})

    assert name in output
    assert SECRET not in output
    assert "http" not in output.removeprefix("The environment")


def test_not_even_the_error_itself_shows_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", SECRET)

    with pytest.raises(ValidationError) as error:
        Settings()

    assert SECRET not in f"{error.value!r} {error.value}"


def test_settings_in_a_log_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_env(
        monkeypatch,
        DATABASE_URL=f"postgres://me:{SECRET}@db/x",
        REDIS_URL=f"redis://:{SECRET}@redis",
        OPENAI_API_KEY=SECRET,
        OUTLIVE_JWT_SECRET=SECRET,
    )

    assert SECRET not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_every_form_of_database_url_names_our_driver(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    rest = "me:p%40ss%2Fword@db.example:6432/outlive?sslmode=require&options=-c%20x%3D1"

    settings = with_env(monkeypatch, DATABASE_URL=f"{scheme}://{rest}")

    assert settings.database_url == f"postgresql+psycopg2://{rest}"


@pytest.mark.parametrize("url", ["", "postgresql:/x", "sqlite:///x", "postgresqlx://y", "//db/x"])
def test_any_other_database_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    if not url:  # an empty variable is none
        assert with_env(monkeypatch, DATABASE_URL="").database_url.startswith(
            "postgresql+psycopg2:"
        )
        return

    assert "DATABASE_URL must begin with postgresql://" in refusal(monkeypatch, DATABASE_URL=url)


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://:p@h", "unix:///run/redis.sock"])
def test_redis_may_be_plain_encrypted_or_a_socket(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    assert with_env(monkeypatch, REDIS_URL=url).redis_url == url


def test_a_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OUTLIVE_SAVE_CHARS=7\nOUTLIVE_MODEL=file\nOTHER=1\n")

    settings = with_env(monkeypatch, OUTLIVE_MODEL="environment")

    assert (settings.save_chars, settings.model) == (7, "environment")


def test_two_processes_never_have_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Settings.from_env(), Settings.from_env()

    assert one.owner != other.owner
    assert one.owner == one.owner == f"{socket.gethostname()}:{one.boot}"
    assert with_env(monkeypatch, OUTLIVE_BOOT="b").owner.split(":")[1] == "b"


def test_without_sign_in_only_this_machine_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_env(monkeypatch, PORT="81").bind == "127.0.0.1:81"
    assert with_env(monkeypatch, OUTLIVE_AUTH="required").bind == "0.0.0.0:81"
    assert with_env(monkeypatch, OUTLIVE_BIND="fd://3").bind == "fd://3"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.from_env().port = 1  # type: ignore[misc]
