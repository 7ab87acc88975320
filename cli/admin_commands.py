"""The operator's commands `sweep` and `migrate`: they connect to Postgres and Redis directly."""

import json
import logging
import sys
import uuid
from dataclasses import asdict
from pathlib import Path

import click
from alembic import command
from alembic.config import Config

from cli import deployment
from cli.exit_status import Exit
from shared import logs, store
from shared.bus.livelog import LiveLog
from shared.jobs import Queue, make_app
from shared.line import Lines
from shared.settings import Settings
from shared.store.database import Database, schema_head
from shared.store.turns import Turns
from shared.sweep import Sweep


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
    with deployment.database() as (settings, db):
        swept = asdict(_sweep(settings, db).run(str(died) if died else None))
    if as_json:
        click.echo(json.dumps(swept))
    else:
        click.echo(", ".join(f"{count} {done}" for done, count in swept.items()))
    return Exit.DONE


def _sweep(settings: Settings, db: Database) -> Sweep:
    livelog = LiveLog(settings.redis_url, settings.hard_deadline_seconds + 60, settings.prefix)
    queue = Queue(make_app(settings))
    return Sweep(
        db,
        livelog,
        queue,
        lease=settings.lease_seconds,
        turns=Turns(settings.running, settings.queue_deadline_seconds),
        retention_days=settings.retention_days,
        lines=Lines(settings, db, livelog, queue),
    )


@click.command()
def migrate() -> int:
    """Bring the database's tables up to date."""
    with deployment.database() as (settings, db):
        db.ping()  # Alembic would end with the driver's traceback
    config = Config()
    folder = Path(store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["url"] = settings.database_url
    command.upgrade(config, "head")
    click.echo(f"The database is at {schema_head()}.")
    return Exit.DONE
