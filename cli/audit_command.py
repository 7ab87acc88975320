"""The operator's command `audit`: who did what and when. It connects to Postgres."""

import json
import uuid
from typing import Any

import click

from cli import deployment
from cli.command_options import as_json
from cli.exit_status import Exit, Failure
from cli.screen import visible
from shared.errors import NotFound
from shared.store import audit as audit_table
from shared.store import users
from shared.store.audit import Action, Noted
from shared.store.database import Database


@click.command()
@click.option("--user", "who", metavar="WHO",
              help="Only of this user: a login, an id, or the host product's id.")  # fmt: skip
@click.option("--action", type=click.Choice([one.value for one in Action]), metavar="ACTION",
              help="Only this action, like sign_in or shared.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
              help="Rows, the newest first.")  # fmt: skip
@as_json
def audit(who: str | None, action: str | None, limit: int, *, as_json: bool) -> int:
    """Show who did what and when; never what anybody wrote."""
    with deployment.database() as (_, db):
        user_id = None if who is None else _user(db, who)
        found = audit_table.listed(
            db, limit, user_id=user_id, action=Action(action) if action else None
        )
    for one in found:
        click.echo(json.dumps(_document(one)) if as_json else visible(_line(one)))
    return Exit.DONE


def _user(db: Database, who: str) -> uuid.UUID:
    try:
        return uuid.UUID(who)  # also of a user who is no more
    except ValueError:
        pass
    try:
        return users.find(db, who)
    except NotFound as error:
        raise Failure(error.message) from error


def _document(one: Noted) -> dict[str, Any]:
    return {
        **one._asdict(),
        "at": one.at.isoformat(timespec="seconds"),
        "user_id": None if one.user_id is None else str(one.user_id),
    }


def _line(one: Noted) -> str:
    parts = [
        f"{one.at:%Y-%m-%d %H:%M:%S}",
        f"{one.action:<20}",
        f"user {one.user_id}" if one.user_id else "",
        f"by {one.credential}" if one.credential else "",
        f"on {one.object_id}" if one.object_id else "",
        f"from {one.address}" if one.address else "",
    ]
    return "  ".join(part for part in parts if part)
