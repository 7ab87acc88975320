"""The operator's commands `user …`: they connect to Postgres, and tell web through Redis."""

import json
import sys
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from cli import deployment
from cli.command_options import as_json
from cli.exit_status import Exit, Failure
from cli.screen import visible
from shared import logins, passwords
from shared.bus.livelog import LiveLog
from shared.errors import NotFound, RedisDown
from shared.settings import Settings
from shared.store import accounts, deletion, users
from shared.store.accounts import ListedUser
from shared.store.database import Database
from shared.store.deletion import Ended

#: Characters of a name.
NAME_CHARS = 100


def _login(_context: click.Context, _argument: click.Parameter, value: str) -> str:
    found = logins.normal(value)
    if found is None:
        raise click.BadParameter(f"a login has 1 to {logins.LONGEST} characters, and no blanks.")
    return found


def _name(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (0 < len(value) <= NAME_CHARS and value.isprintable()):
        raise click.BadParameter(f"a name has 1 to {NAME_CHARS} printable characters.")
    return value


def _password() -> str:
    """A new password: from a prompt, or from the first line of standard input.

    Never from an argument: those are in the list of processes and in the shell's history.
    """
    if sys.stdin.isatty():
        found: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        found = sys.stdin.readline(passwords.LONGEST + 2).rstrip("\r\n")
    why = passwords.why_refused(found)
    if why is not None:
        raise Failure(why)
    return found


def _user(db: Database, who: str) -> uuid.UUID:
    """The user with this login, this id, or this name in the host product."""
    try:
        return users.find(db, who)
    except NotFound as error:
        raise Failure(error.message) from error


def _notify(
    settings: Settings, done: str, *ended: Ended, stopped: Sequence[uuid.UUID] = ()
) -> None:
    """Have web end what is open of these, and the workers stop what was stopped."""
    livelog = LiveLog(settings.redis_url, 60, settings.prefix)
    try:
        for kind, gone in ended:
            livelog.notify_revoked(kind, gone)
        for message_id in stopped:
            livelog.notify_stop(message_id)
    except RedisDown:
        note = "Redis does not answer, so what is open may stay open for another minute."
        click.echo(f"{done} {note}", err=True)
    else:
        click.echo(done)


@click.group()
def user() -> None:
    """Users: people with an account, and those whom others name.

    WHO is a login, an id, or what the host product calls the user.
    """


@user.command()
@click.argument("login", callback=_login)
@click.option("--name", callback=_name, help="What the person is called (default: the login).")
@click.option("--operator", is_flag=True, help="May see the dashboard and the metrics.")
def add(login: str, name: str | None, *, operator: bool) -> int:
    """Make an account.

    The password is asked for, or read from standard input.
    """
    encoded = passwords.hashed(_password())
    with deployment.database() as (settings, db):
        made = accounts.add(db, login, name=name or login, password_hash=encoded, operator=operator)
    if made is None:
        raise Failure(f"There is an account {visible(login)} already.")
    click.echo(f"Added {visible(login)}.")
    if settings.auth == "local":
        click.echo("To be let in, they need a service with OUTLIVE_AUTH=required.", err=True)
    return Exit.DONE


@user.command()
@click.argument("login", callback=_login)
def passwd(login: str) -> int:
    """Give an account another password, and sign it out everywhere.

    The password is asked for, or read from standard input.
    """
    with deployment.database() as (settings, db):
        user_id = _user(db, login)  # before anybody types a password
        encoded = passwords.hashed(_password())
        if not accounts.set_password(db, user_id, encoded):
            raise Failure("This user has no login, so no password either.")
    _notify(settings, "Changed.", Ended("user", user_id))
    return Exit.DONE


@user.command()
@click.argument("who")
def disable(who: str) -> int:
    """Let a user in no more, by whatever credential.

    What is open of them ends at once; without Redis, within a minute. What is theirs stays.
    """
    with deployment.database() as (settings, db):
        user_id = _user(db, who)
        changed = accounts.disable(db, user_id)
    _notify(
        settings,
        "Disabled." if changed else "There was nothing to disable.",
        Ended("user", user_id),
    )
    return Exit.DONE


@user.command()
@click.argument("who")
def enable(who: str) -> int:
    """Let a disabled user in again."""
    with deployment.database() as (settings, db):
        user_id = _user(db, who)
        changed = accounts.enable(db, user_id)
    _notify(
        settings, "Enabled." if changed else "There was nothing to enable.", Ended("user", user_id)
    )
    return Exit.DONE


@user.command()
@click.argument("who")
@click.option("--off", is_flag=True, help="Not any more.")
def operator(who: str, *, off: bool) -> int:
    """Let a user see the dashboard and the metrics."""
    with deployment.database() as (settings, db):
        user_id = _user(db, who)
        changed = accounts.set_operator(db, user_id, operator=not off)
    _notify(
        settings, "Changed." if changed else "There was nothing to change.", Ended("user", user_id)
    )
    return Exit.DONE


@user.command()
@click.argument("who")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(who: str, *, yes: bool) -> int:
    """Delete a user and everything of theirs.

    Nobody gets in as this user from now on. The rows are removed by the workers, within minutes.
    Backups hold them for as long as they are kept.
    """
    with deployment.database() as (settings, db):
        user_id = _user(db, who)
        if not yes:
            click.confirm(f"Delete {user_id} and everything of theirs?", abort=True)
        try:
            ended = deletion.begin(db, user_id, by=None, credential="command")
        except NotFound as error:
            raise Failure("The local user cannot be deleted.") from error
        stopped = deletion.stop_all(db, user_id)
    _notify(settings, "Deleted.", *ended, stopped=stopped)
    return Exit.DONE


@user.command("list")
@click.option("--all", "everybody", is_flag=True,
              help="Also those whom a host product or an identity provider names.")  # fmt: skip
@as_json
def list_(*, everybody: bool, as_json: bool) -> int:
    """List accounts, the newest first."""
    with deployment.database() as (_, db):
        found = accounts.listed(db, everybody=everybody)
    if as_json:
        click.echo(json.dumps([_document(one) for one in found], ensure_ascii=False, indent=2))
    else:
        for one in found:
            click.echo(visible(_line(one)))
        if not found:
            click.echo("There are no accounts. `outlive user add LOGIN` makes one.", err=True)
    return Exit.DONE


def _document(one: ListedUser) -> dict[str, Any]:
    times = ("created_at", "seen_at", "disabled_at")
    return {
        "id": str(one.id),
        "login": one.login,
        "name": one.name,
        "issuer": one.issuer,
        "operator": one.operator,
        **{name: _iso(getattr(one, name)) for name in times},
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _line(one: ListedUser) -> str:
    notes = ["operator"] if one.operator else []
    if one.issuer is not None:
        notes.append(f"from {one.issuer}")
    if one.disabled_at is not None:
        notes.append("disabled " + one.disabled_at.strftime("%Y-%m-%d %H:%M"))
    elif one.seen_at is not None:
        notes.append("seen " + one.seen_at.strftime("%Y-%m-%d %H:%M"))
    else:
        notes.append("no session")
    return f"{one.login or one.id}  {one.name}  ({', '.join(notes)})"
