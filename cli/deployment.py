"""The servers of a deployment, for the operator's commands that connect to them directly."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from cli import addresses
from cli.exit_status import ServerUnreachable
from shared.errors import StorageDown
from shared.settings import Settings
from shared.store.database import Database

#: The two servers by the setting's name: its variable, its name in outlive.json.
SERVERS = {"database_url": ("DATABASE_URL", "postgres"), "redis_url": ("REDIS_URL", "redis")}


def settings() -> Settings:
    """The environment's settings, or those of the running `outlive up` if it names no server.

    Never one server of each: a sweep of one database with another deployment's Redis would miss
    text that readers have seen.
    """
    found = Settings.from_env()
    if not found.model_fields_set & SERVERS.keys():
        for variable, part in SERVERS.values():
            if url := addresses.running(part):
                os.environ[variable] = url
        found = Settings.from_env()
    return found


@contextmanager
def database() -> Iterator[tuple[Settings, Database]]:
    """The settings and Postgres; if that does not answer, the command ends and says what to do."""
    found = settings()
    db = Database(found.database_url)
    try:
        yield found, db
    except StorageDown as error:
        if error.code != StorageDown.code:
            raise ServerUnreachable(error.message) from error
        if "database_url" in found.model_fields_set:
            where = urlsplit(found.database_url)  # not as it is: it has the password
            raise ServerUnreachable(
                f"The database at {where.hostname or 'localhost'}:{where.port or 5432} does not"
                " answer. Start it, or check DATABASE_URL."
            ) from error
        raise ServerUnreachable(
            "No `outlive up` runs here, and DATABASE_URL names no database. Start one, or set it."
        ) from error
    finally:
        db.dispose()
