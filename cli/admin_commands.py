"""The operator's commands `sweep` and `migrate`: they connect to Postgres and Redis directly."""

import json
import logging
import os
import sys
import uuid
from dataclasses import asdict
from pathlib import Path

import click
from alembic import command
from alembic.config import Config

from cli import addresses
from cli.exit_status import Exit, ServerUnreachable
from shared import logs, store
from shared.bus.livelog import LiveLog
from shared.errors import StorageDown
from shared.jobs import Queue, make_app
from shared.settings import Settings
from shared.store.database import Database, schema_head
from shared.sweep import Sweep

#: The two servers by the setting's name: its variable, its name in outlive.json.
_SERVERS = {"database_url": ("DATABASE_URL", "postgres"), "redis_url": ("REDIS_URL", "redis")}


@click.command()
@click.option("--died", metavar="BOOT", type=click.UUID, help="This worker is known to be dead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def sweep(died: uuid.UUID | None, *, as_json: bool) -> int:
    """End what dead workers left, enqueue what the queue lost.

    Every worker does this every few seconds. With --died the answers of one worker are ended
    now instead of when its lease lapses; BOOT is its OUTLIVE_BOOT.
    """
    # At a terminal the totals are enough; in a log the single steps are wanted.
    logs.configure(logging.WARNING if sys.stderr.isatty() else logging.INFO)
    try:
        swept = asdict(_sweep(_settings()).run(str(died) if died else None))
    except StorageDown as error:
        raise ServerUnreachable(error.message) from error
    if as_json:
        click.echo(json.dumps(swept))
    else:
        click.echo(", ".join(f"{count} {done}" for done, count in swept.items()))
    return Exit.DONE


def _sweep(settings: Settings) -> Sweep:
    return Sweep(
        Database(settings.database_url),
        LiveLog(settings.redis_url, settings.hard_deadline_seconds + 60, settings.prefix),
        Queue(make_app(settings)),
        lease=settings.lease_seconds,
        queue_deadline=settings.queue_deadline_seconds,
    )


@click.command()
def migrate() -> int:
    """Bring the database's tables up to date."""
    settings = _settings()
    db = Database(settings.database_url)
    try:
        db.ping()  # Alembic would end with the driver's traceback
    except StorageDown as error:
        raise ServerUnreachable("The database does not answer.") from error
    config = Config()
    folder = Path(store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["url"] = settings.database_url
    command.upgrade(config, "head")
    db.dispose()
    click.echo(f"The database is at {schema_head()}.")
    return Exit.DONE


def _settings() -> Settings:
    """The environment's settings, or those of the running `outlive up` if it names no server.

    Never one server of each: a sweep of one database with another deployment's Redis would miss
    text that readers have seen.
    """
    settings = Settings.from_env()
    if not settings.model_fields_set & _SERVERS.keys():
        for variable, part in _SERVERS.values():
            if url := addresses.running(part):
                os.environ[variable] = url
        settings = Settings.from_env()
    return settings
