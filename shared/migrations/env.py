"""Run the migrations against DATABASE_URL. One at a time, whoever starts them."""

from alembic import context
from sqlalchemy import create_engine, text

from shared.models import metadata
from shared.settings import Settings

#: Any constant: a second migrator waits until the first one is done.
_LOCK = 7_305_216_001


def run() -> None:
    url = context.config.attributes.get("url") or Settings.from_env().database_url
    engine = create_engine(url, hide_parameters=True)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        context.configure(connection=connection, target_metadata=metadata)
        context.run_migrations()
    engine.dispose()


run()
