"""SQL that makes two roles in Postgres: one migrates and owns the tables, the other one uses them.

The role in use reads and writes rows, and nothing more: no DDL, no TRUNCATE, no temporary tables.
What a later migration adds is granted by ALTER DEFAULT PRIVILEGES. The SQL may be run again, also
on a database in which everything belonged to one role so far. Passwords are in it as verifiers, so
neither the SQL nor Postgres' log shows them.
"""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final, NamedTuple

#: Rounds of SCRAM-SHA-256, as Postgres makes them itself.
_ROUNDS: Final = 4096
#: What needs no escaping, in quotes of either kind.
_NAME: Final = "[a-z_][a-z0-9_-]{0,62}"


class Login(NamedTuple):
    """A role that logs in."""

    name: str
    password: str


def roles_sql(database: str, schema: str, migrating: Login, using: Login) -> str:
    """The SQL for a superuser of the server, connected to `database`.

    Raises ValueError, with a sentence, for names and passwords that cannot be used.
    """
    names = {"database": database, "schema": schema, "migrate": migrating.name, "use": using.name}
    for name in names.values():
        if not re.fullmatch(_NAME, name, re.ASCII):
            raise ValueError(f"Postgres names must be lower-case letters, digits, _ and -: {name}")
    if migrating.name == using.name:
        raise ValueError("The role that migrates and the role in use must be two.")
    return _SQL.format(
        **names,
        migrate_verifier=_verifier(migrating.password),
        use_verifier=_verifier(using.password),
    )


_LOGIN: Final = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
_SQL: Final = f"""\
BEGIN;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{{migrate}}') THEN
        CREATE ROLE "{{migrate}}";
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{{use}}') THEN
        CREATE ROLE "{{use}}";
    END IF;
END $$;
ALTER ROLE "{{migrate}}" {_LOGIN} PASSWORD '{{migrate_verifier}}';
ALTER ROLE "{{use}}" {_LOGIN} PASSWORD '{{use_verifier}}';

REVOKE ALL ON DATABASE "{{database}}" FROM PUBLIC;
GRANT CONNECT ON DATABASE "{{database}}" TO "{{migrate}}", "{{use}}";
CREATE SCHEMA IF NOT EXISTS "{{schema}}";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON SCHEMA "{{schema}}" FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA "{{schema}}" TO "{{migrate}}";
GRANT USAGE ON SCHEMA "{{schema}}" TO "{{use}}";
ALTER ROLE "{{migrate}}" IN DATABASE "{{database}}" SET search_path = "{{schema}}";
ALTER ROLE "{{use}}" IN DATABASE "{{database}}" SET search_path = "{{schema}}";

-- What is there already becomes the migrating role's.
DO $$ DECLARE found text; BEGIN
    FOR found IN SELECT oid::regclass FROM pg_class
        WHERE relnamespace = '"{{schema}}"'::regnamespace AND relkind IN ('r', 'p', 'v') LOOP
        EXECUTE 'ALTER TABLE ' || found || ' OWNER TO "{{migrate}}"';
    END LOOP;
    FOR found IN SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = '"{{schema}}"'::regnamespace LOOP
        EXECUTE 'ALTER FUNCTION ' || found || ' OWNER TO "{{migrate}}"';
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA "{{schema}}" FROM "{{use}}";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{{schema}}" TO "{{use}}";
ALTER DEFAULT PRIVILEGES FOR ROLE "{{migrate}}" IN SCHEMA "{{schema}}"
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{{use}}";
COMMIT;
"""


def _verifier(password: str) -> str:
    """What Postgres keeps of a password (RFC 5803)."""
    if not (password.isascii() and password.isprintable()):
        raise ValueError("A password in Postgres must consist of printable ASCII.")
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored, checked = (base64.b64encode(one).decode() for one in (salt, client, server))
    return f"SCRAM-SHA-256${_ROUNDS}:{salt_text}${stored}:{checked}"
