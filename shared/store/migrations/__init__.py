"""Alembic's migrations: the only place where the schema changes."""
