"""The operator's commands `key add`, `key list` and `key revoke`: they connect to Postgres."""

import json
import re
import uuid
from datetime import datetime, timedelta
from typing import Any

import click

from cli import deployment
from cli.command_options import as_json
from cli.exit_status import Exit, Failure
from cli.screen import visible
from shared.bus.livelog import LiveLog
from shared.disconnects import seconds_of
from shared.errors import NotFound, RedisDown
from shared.scopes import Scope
from shared.secret_token import SERVICE_KEY, hashed
from shared.store import service_keys
from shared.store.service_keys import ListedKey

#: Characters of a key's name.
NAME_CHARS = 100
_LIFETIME = re.compile("([1-9][0-9]{0,4})([hdw])", re.ASCII)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def _scopes(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Scope)]
    if unknown or not names:
        raise click.BadParameter(f"the scopes are {', '.join(Scope)}, with commas between.")
    return names


def _lifetime(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> timedelta | None:
    if value is None:
        return None
    found = _LIFETIME.fullmatch(value)
    if found is None:
        raise click.BadParameter("say a number of hours, days or weeks, like 12h, 90d or 52w.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _policy(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            seconds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _name(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not (0 < len(value) <= NAME_CHARS and value.isprintable()):
        raise click.BadParameter(f"a name has 1 to {NAME_CHARS} printable characters.")
    return value


@click.group()
def key() -> None:
    """Service keys: secrets by which programs use the API."""


@key.command()
@click.argument("name", callback=_name)
@click.option("--scope", "scopes", required=True, callback=_scopes, metavar="SCOPES",
              help="What it may do: read, ask, admin, act_as; with commas between.")  # fmt: skip
@click.option("--user", "login", metavar="LOGIN",
              help="Act for this account (default: a user of its own).")  # fmt: skip
@click.option("--expires", "lifetime", callback=_lifetime, metavar="TIME",
              help="Valid for this long: 12h, 90d, 52w (default: until revoked).")  # fmt: skip
@click.option("--on-disconnect", callback=_policy, metavar="POLICY",
              help="What becomes of its answers when nobody reads them: continue, stop,"
              " stop-after=SECONDS (default: as OUTLIVE_ON_DISCONNECT says).")  # fmt: skip
@as_json
def add(
    name: str,
    scopes: list[str],
    login: str | None,
    lifetime: timedelta | None,
    on_disconnect: str | None,
    *,
    as_json: bool,
) -> int:
    """Make a key and print it. It cannot be shown again."""
    secret = SERVICE_KEY.new()
    prefix = SERVICE_KEY.shown(secret)
    with deployment.database() as (_, db):
        try:
            key_id = service_keys.add(
                db,
                name=name,
                token=(prefix, hashed(secret)),
                scopes=scopes,
                login=login and login.lower(),
                lifetime=lifetime,
                on_disconnect=on_disconnect,
            )
        except NotFound as error:
            raise Failure(error.message) from error
    if as_json:
        click.echo(json.dumps({"id": str(key_id), "prefix": prefix, "key": secret}))
    else:
        click.echo(secret)
        click.echo("Keep it now: it cannot be shown again.", err=True)
    return Exit.DONE


@key.command("list")
@as_json
def list_(*, as_json: bool) -> int:
    """List all keys, the newest first."""
    with deployment.database() as (_, db):
        found = service_keys.listed(db)
    if as_json:
        click.echo(json.dumps([_document(one) for one in found], ensure_ascii=False, indent=2))
    else:
        for one in found:
            click.echo(visible(_line(one)))
        if not found:
            click.echo("There are no keys. `outlive key add NAME` makes one.", err=True)
    return Exit.DONE


def _document(one: ListedKey) -> dict[str, Any]:
    times = ("created_at", "used_at", "expires_at", "revoked_at")
    return {
        "id": str(one.id),
        "name": one.name,
        "prefix": one.prefix,
        "scopes": list(one.scopes),
        "user": one.user,
        "on_disconnect": one.on_disconnect,
        **{name: _iso(getattr(one, name)) for name in times},
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _line(one: ListedKey) -> str:
    state = "used " + one.used_at.strftime("%Y-%m-%d %H:%M") if one.used_at else "never used"
    if one.revoked_at:
        state = "revoked " + one.revoked_at.strftime("%Y-%m-%d %H:%M")
    elif one.expires_at:
        state += ", expires " + one.expires_at.strftime("%Y-%m-%d %H:%M")
    return f"{one.prefix}…  {','.join(one.scopes):<20}  {one.name}  (for {one.user}; {state})"


@key.command()
@click.argument("which")
def revoke(which: str) -> int:
    """Revoke a key for good.

    WHICH is its id, its name or its prefix. Its open streams end at once; without Redis, within a
    minute.
    """
    with deployment.database() as (settings, db):
        key_id = _only_one([one for one in service_keys.listed(db) if _is_meant(one, which)], which)
        service_keys.revoke(db, key_id)
    try:
        LiveLog(settings.redis_url, 60, settings.prefix).notify_revoked("key", key_id)
    except RedisDown:
        click.echo("Revoked. Redis does not answer, so it may work for another minute.", err=True)
    else:
        click.echo("Revoked.")
    return Exit.DONE


def _is_meant(one: ListedKey, which: str) -> bool:
    return one.revoked_at is None and which in (str(one.id), one.name, one.prefix)


def _only_one(found: list[ListedKey], which: str) -> uuid.UUID:
    if not found:
        raise Failure("There is no such key, or it is revoked. `outlive key list` shows all.")
    if len(found) > 1:
        ids = ", ".join(str(one.id) for one in found)
        raise Failure(f"{visible(which)!r} means {len(found)} keys; name one by its id: {ids}")
    return found[0].id
