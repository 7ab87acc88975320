"""`outlive user …`: accounts on the command line."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from cli import addresses
from cli.__main__ import outlive
from cli.exit_status import Exit
from local.processes import ROOT
from shared import passwords
from tests.client import new_id
from tests.credentials import operate
from tests.rig import Rig
from tests.signing_in import PASSWORD, account_id, new_account, user_command


def row_of(rig: Rig, login: str) -> Any:
    [row] = rig.rows("SELECT * FROM users WHERE login = :login", login=login)
    return row


def listed(rig: Rig, login: str) -> dict[str, Any]:
    """The user as `list` shows them."""
    [found] = [
        one
        for one in json.loads(user_command(rig, "list", "--json").stdout)
        if one["login"] == login
    ]
    return dict(found)


def test_an_account_is_added_with_a_password_from_standard_input(rig: Rig) -> None:
    login = f"Ann-{new_id()}"

    done = user_command(rig, "add", login, "--name", "Ann Example", typed=f"{PASSWORD}\nmore\n")

    assert (done.exit_code, done.stdout) == (0, f"Added {login.lower()}.\n")
    row = row_of(rig, login.lower())
    assert passwords.matches(PASSWORD, row.password_hash)
    assert (row.name, row.operator) == ("Ann Example", False)


def test_an_operator_is_added_and_made_a_user_again(rig: Rig) -> None:
    login = new_account(rig, "--operator")
    assert listed(rig, login)["operator"] is True

    assert user_command(rig, "operator", login, "--off").output == "Changed.\n"
    assert listed(rig, login)["operator"] is False
    assert user_command(rig, "operator", login, "--off").output == "There was nothing to change.\n"


def test_a_login_is_taken_once(rig: Rig) -> None:
    login = new_account(rig)

    done = user_command(rig, "add", login.upper(), typed=f"{PASSWORD}\n")

    assert (done.exit_code, "already" in done.output) == (1, True)


@pytest.mark.parametrize("typed", ["", "\n", "short\n", "x" * 1025 + "\n", "1234567"])
def test_a_password_that_is_too_short_or_too_long_is_refused(rig: Rig, typed: str) -> None:
    login = f"ann-{new_id()}"

    done = user_command(rig, "add", login, typed=typed)

    assert (done.exit_code, "8 to 1024 characters" in done.output) == (1, True)
    assert not rig.rows("SELECT 1 FROM users WHERE login = :login", login=login)


@pytest.mark.parametrize("login", ["", " ", "ann example", "x" * 101, "ann\x1b[31m"])
def test_what_cannot_be_a_login_is_refused(rig: Rig, login: str) -> None:
    assert user_command(rig, "add", login, typed=f"{PASSWORD}\n").exit_code == 2


def test_a_password_is_never_an_argument(rig: Rig) -> None:
    assert user_command(rig, "add", f"ann-{new_id()}", PASSWORD).exit_code == 2


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(rig: Rig) -> None:
    login = f"ann-{new_id()}"
    main, other = pty.openpty()
    env = {**os.environ, "DATABASE_URL": rig.database_url, "REDIS_URL": rig.redis.url}
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "user", "add", login],
        stdin=other, stdout=other, stderr=other, cwd=ROOT, env=env, start_new_session=True,
    ) as command:  # fmt: skip
        os.close(other)
        seen = b""
        for prompt in (b"Password: ", b"Repeat for confirmation: "):
            while prompt not in seen:
                seen += os.read(main, 1000)
            os.write(main, PASSWORD.encode() + b"\n")
        while b"Added" not in seen:
            seen += os.read(main, 1000)
        assert command.wait(60) == 0
    os.close(main)

    assert PASSWORD.encode() not in seen
    assert passwords.matches(PASSWORD, row_of(rig, login).password_hash)


def test_a_password_is_changed(rig: Rig) -> None:
    login = new_account(rig)

    done = user_command(rig, "passwd", login, typed="another password\n")

    assert (done.exit_code, done.output) == (0, "Changed.\n")
    assert passwords.matches("another password", row_of(rig, login).password_hash)


def test_a_user_is_disabled_and_enabled_by_login_or_id(rig: Rig) -> None:
    login = new_account(rig)
    user = account_id(rig, login)

    assert user_command(rig, "disable", login.upper()).output == "Disabled.\n"
    assert listed(rig, login)["disabled_at"] is not None
    assert user_command(rig, "disable", user).output == "There was nothing to disable.\n"
    assert user_command(rig, "enable", user).output == "Enabled.\n"
    assert listed(rig, login)["disabled_at"] is None


@pytest.mark.parametrize("command", ["passwd", "disable", "enable", "operator", "delete"])
def test_who_does_not_exist_is_said(rig: Rig, command: str) -> None:
    done = user_command(rig, command, f"nobody-{new_id()}", typed=f"{PASSWORD}\n")

    assert (done.exit_code, "There is no such user" in done.output) == (1, True)


def test_a_list_has_all_accounts_and_nothing_secret(rig: Rig) -> None:
    login = new_account(rig, "--name", "Zoë")

    text = user_command(rig, "list").output

    [line] = [one for one in text.splitlines() if one.startswith(login)]
    assert "Zoë" in line
    assert "no session" in line
    assert "argon2" not in text + user_command(rig, "list", "--json").output


def test_without_redis_it_is_said_that_it_takes_a_minute(rig: Rig, nowhere: str) -> None:
    login = new_account(rig)

    done = operate(rig, "user", "disable", login, REDIS_URL=f"redis://{nowhere}")

    assert done.exit_code == 0
    assert "Disabled. Redis does not answer" in done.output
    assert row_of(rig, login).disabled_at is not None


def test_without_postgres_it_is_said_that_it_does_not_answer(rig: Rig, nowhere: str) -> None:
    done = operate(rig, "user", "list", DATABASE_URL=f"postgresql://{nowhere}/none")

    assert done.exit_code == 4


def test_without_a_deployment_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "running", lambda part: None)

    done = CliRunner().invoke(outlive, ["user", "list"], env={"PGPORT": "1", "DATABASE_URL": ""})

    assert done.exit_code == Exit.UNREACHABLE
    assert "Start one" in done.stderr
