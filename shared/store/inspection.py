"""What `outlive doctor` asks Postgres: what our role may do there, its version, its clock."""

from dataclasses import dataclass
from typing import Final

from shared.store.database import Database


@dataclass(frozen=True, slots=True)
class RoleRights:
    """What the role that we connect as may do beyond reading and writing rows."""

    name: str
    superuser: bool
    #: may make databases or roles, or bypass row security
    administrator: bool
    #: may make tables (temporary ones, too) or schemas, or owns one of the tables
    ddl: bool
    #: may read and write rows of all tables that are there
    rows: bool


@dataclass(frozen=True, slots=True)
class ServerState:
    """The server, and how long ago a process of ours swept."""

    version: int
    #: seconds since the epoch
    clock: float
    #: seconds; None if none ever did
    swept: float | None


_TABLES: Final = (
    "relkind IN ('r', 'p') AND relnamespace = to_regnamespace(CAST(current_schema() AS text))"
)
_RIGHTS: Final = f"""
SELECT rolname, rolsuper, rolcreatedb OR rolcreaterole OR rolbypassrls AS administrator,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
    OR has_database_privilege(current_database(), 'CREATE, TEMPORARY')
    OR EXISTS (SELECT FROM pg_class WHERE {_TABLES}
        AND pg_has_role(current_user, relowner, 'MEMBER')) AS ddl,
    NOT EXISTS (SELECT FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS word
        WHERE {_TABLES} AND NOT has_table_privilege(pg_class.oid, word)) AS rows
FROM pg_roles WHERE rolname = current_user
"""
_SWEPT: Final = (
    "(SELECT CAST(extract(epoch FROM clock_timestamp() - looked) AS float8) FROM uptime)"
)
_STATE: Final = (
    "SELECT CAST(current_setting('server_version_num') AS int) AS version,"
    " CAST(extract(epoch FROM clock_timestamp()) AS float8) AS clock, "
)


def role_rights(db: Database) -> RoleRights:
    """What our role may do. Raises StorageDown."""
    [row] = db.rows(_RIGHTS)
    return RoleRights(*row)


_WAY_IN: Final = """
SELECT EXISTS (SELECT FROM users WHERE password_hash IS NOT NULL AND disabled_at IS NULL)
    OR EXISTS (SELECT FROM service_keys WHERE revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > clock_timestamp()))
"""


def has_way_in(db: Database) -> bool:
    """Whether there is an account or a service key that is good. Raises StorageDown."""
    [(found,)] = db.rows(_WAY_IN)
    return bool(found)


def server_state(db: Database, *, migrated: bool) -> ServerState:
    """The server's state; `migrated`: whether our tables are there. Raises StorageDown."""
    [row] = db.rows(_STATE + (_SWEPT if migrated else "CAST(NULL AS float8)"))
    return ServerState(*row)
