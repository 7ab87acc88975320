"""The servers of a deployment, for the operator's commands that connect to them directly."""

import os

from cli import addresses
from shared.settings import Settings

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
