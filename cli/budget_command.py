"""The operator's command `budget`: it connects to Postgres."""

import json
import uuid

import click

from cli import deployment
from cli.command_options import as_json
from cli.exit_status import Exit, Failure
from shared.errors import NotFound
from shared.settings import Settings
from shared.store import token_use, users
from shared.store.database import Database
from shared.store.token_use import Budget, TokenLimits

DEFAULT = "default"


def _tokens(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> int | str | None:
    if value is None or value == DEFAULT:
        return value
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise click.BadParameter("say a number of tokens, 0 for no budget, or “default”.")
    return int(value)


@click.command()
@click.argument("who")
@click.option("--daily", callback=_tokens, metavar="TOKENS", help="A day (UTC); 0 is no budget.")
@click.option("--monthly", callback=_tokens, metavar="TOKENS", help="A month; 0 is no budget.")
@as_json
def budget(who: str, daily: int | str | None, monthly: int | str | None, *, as_json: bool) -> int:
    """Show what a user or a service key used, or set budgets.

    WHO is a user, as for `outlive user`, or the id of a key. TOKENS may be “default”: for a user
    the deployment's, for a key none.
    """
    changes = {
        f"{name}_tokens": None if value == DEFAULT else value
        for name, value in (("daily", daily), ("monthly", monthly))
        if value is not None
    }
    with deployment.database() as (settings, db):
        try:
            whose = _id(db, who)
            found = token_use.set_budget(db, whose, **changes)  # type: ignore[arg-type]
        except NotFound as error:
            raise Failure(
                "There is no such user and no such service key. `outlive user list --all` and"
                " `outlive key list --json` show them."
            ) from error
        uses = token_use.use_of(db, _limits(settings), *_both(found))
    today, month = (use for use in uses if use.whose == found.whose)
    if as_json:
        shown = {
            "id": str(whose),
            "kind": found.whose,
            "daily_tokens": found.daily,
            "monthly_tokens": found.monthly,
            "used_today": today.used,
            "used_this_month": month.used,
        }
        click.echo(json.dumps(shown))
        return Exit.DONE
    click.echo(
        f"{found.whose} {whose}: daily {_shown(found.daily)}, monthly {_shown(found.monthly)}"
    )
    click.echo(
        f"  used today {today.used:,} tokens ({today.estimated_tokens:,} estimated),"
        f" this month {month.used:,}"
    )
    return Exit.DONE


def _id(db: Database, who: str) -> uuid.UUID:
    try:
        return uuid.UUID(who)
    except ValueError:
        return users.find(db, who)


def _limits(settings: Settings) -> TokenLimits:
    return TokenLimits(settings.daily_tokens, settings.monthly_tokens)


def _both(found: Budget) -> tuple[uuid.UUID, uuid.UUID | None]:
    """The user, and the key if it is one."""
    return found.user_id, found.id if found.whose == "key" else None


def _shown(tokens: int | None) -> str:
    if tokens is None:
        return f"the {DEFAULT}"
    return f"{tokens:,}" if tokens else "without a budget"
