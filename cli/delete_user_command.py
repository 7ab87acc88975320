"""The operator's command `delete-user`: it connects to Postgres, and notifies web through Redis."""

import uuid

import click

from cli import deployment
from cli.exit_status import Exit, Failure, ServerUnreachable
from shared.bus.livelog import LiveLog
from shared.errors import NotFound, RedisDown, StorageDown
from shared.settings import Settings
from shared.store import deletion
from shared.store.database import Database
from shared.store.deletion import Ended


@click.command("delete-user")
@click.argument("who")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_user(who: str, *, yes: bool) -> int:
    """Delete a user and everything of theirs: WHO is a login, an id, or the host product's id.

    Nobody gets in as this user from now on. The rows are removed by the workers, within minutes.
    Backups keep them for as long as they are kept.
    """
    settings = deployment.settings()
    db = Database(settings.database_url)
    try:
        user_id = deletion.find(db, who)
        if not yes:
            click.confirm(f"Delete {user_id} and everything of theirs?", abort=True)
        ended = deletion.begin(db, user_id, by=None, credential="command")
        stopped = deletion.stop_all(db, user_id)
    except NotFound as error:
        raise Failure(error.message) from error
    except StorageDown as error:
        raise ServerUnreachable(error.message) from error
    finally:
        db.dispose()
    _notify(settings, ended, stopped)
    return Exit.DONE


def _notify(settings: Settings, ended: list[Ended], stopped: list[uuid.UUID]) -> None:
    livelog = LiveLog(settings.redis_url, 60, settings.prefix)
    try:
        for kind, gone in ended:
            livelog.notify_revoked(kind, gone)
        for message_id in stopped:
            livelog.notify_stop(message_id)
    except RedisDown:
        note = "Redis does not answer, so what is open may stay open for another minute."
        click.echo(f"Deleted. {note}", err=True)
    else:
        click.echo("Deleted.")
