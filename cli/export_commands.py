"""`outlive export …`: what a deployment needs besides this service, made from its settings."""

import os
import shlex
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import click

from cli.exit_status import Exit, Failure
from local import env_files, procfile, systemd
from local.processes import BIN, ROOT
from shared.bus.acl import ROLES, User, acl_file
from shared.settings import Settings
from shared.store.roles import Login, roles_sql

#: Where the settings are if `outlive --env` names no other folder.
FOLDER: Final = Path("/etc/outlive")


@click.group()
def export() -> None:
    """Make files for systemd, Postgres and Redis.

    The settings are those of `outlive --env DIR export …`; /etc/outlive without --env.
    """


@export.command("env")
@click.argument("folder", type=click.Path(path_type=Path), default=FOLDER)
@click.option("--host", default="chat.example.org", help="The name that browsers use.")
@click.option("--prefix", default="outlive", help="The deployment's name in Redis and Postgres.")
def env_(folder: Path, host: str, prefix: str) -> int:
    """Write files of variables with new secrets into FOLDER; what is there stays."""
    created = env_files.create(folder, host, prefix)
    for file in created:
        click.echo(f"{file} is new")
    if not created:
        click.echo(f"Nothing is missing in {folder}")
    return Exit.DONE


@export.command("systemd")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--web", type=click.IntRange(1, 64), default=2, help="Web processes (2).")
@click.option("--workers", type=click.IntRange(1, 64), default=2, help="Workers (2).")
@click.option("--user", default="outlive", help="The user that they run as (outlive).")
@click.pass_obj
def systemd_(env: Path | None, folder: Path, web: int, workers: int, user: str) -> int:
    """Write units into FOLDER, such as /etc/systemd/system, from the Procfile."""
    if env is None:
        env = FOLDER
        os.environ.update(env_files.load(env, "web"))
    settings = Settings.from_env()
    deployment = systemd.Deployment(
        procfile=procfile.read(),
        root=ROOT,
        programs=BIN,
        env=env.resolve(),
        prefix=settings.prefix,
        user=user,
        web=web,
        workers=workers,
        port=settings.port,
        drain=settings.drain,
    )
    for name, text in systemd.units(deployment).items():
        (folder / name).write_text(text)
        click.echo(folder / name)
    return Exit.DONE


@export.command("postgres")
@click.option("--schema", default="public", help="The schema of the tables (public).")
@click.pass_obj
def postgres(env: Path | None, schema: str) -> int:
    """Print SQL that makes the role for migrations and the one in use.

    They are those of DATABASE_URL in release.env and in outlive.env. Run the SQL as a superuser, in
    their database. It may be run again.
    """
    using, migrating = (_url(env or FOLDER, line, "DATABASE_URL") for line in ("web", "release"))
    if using.path != migrating.path:
        raise Failure("DATABASE_URL must name one database in web's and in release's environment.")
    try:
        sql = roles_sql(using.path.strip("/"), schema, _login(migrating), _login(using))
    except ValueError as error:
        raise Failure(str(error)) from error
    click.echo(sql, nl=False)
    return Exit.DONE


@export.command("redis-acl")
@click.pass_obj
def redis_acl(env: Path | None) -> int:
    """Print the ACL file for Redis, with a user for web, worker and Flower each.

    They are those of REDIS_URL in web.env, worker.env and flower.env.
    """
    folder = env or FOLDER
    prefix = env_files.load(folder, "web").get("OUTLIVE_PREFIX") or "outlive"
    users = [_user(role, _url(folder, role, "REDIS_URL")) for role in ROLES]
    if len({user.name for user in users}) < len(users):
        raise Failure("REDIS_URL must name another user for each kind of process.")
    click.echo(acl_file(prefix, users), nl=False)
    return Exit.DONE


def _url(folder: Path, line: str, variable: str) -> SplitResult:
    """An address with user and password, of one line's environment."""
    url = urlsplit(env_files.load(folder, line).get(variable, ""))
    if not url.username or not url.password:
        raise Failure(f"{variable} of {line} names no user with a password ({folder}).")
    return url


def _login(url: SplitResult) -> Login:
    return Login(unquote(url.username or ""), unquote(url.password or ""))


def _user(role: str, url: SplitResult) -> User:
    name, password = _login(url)
    if shlex.quote(name) != name:
        raise Failure(f"The user of REDIS_URL must be a plain name: {name!r}")
    return User(role, name, password, int(url.path.strip("/") or 0))
