"""What Alembic runs to bring a database from one revision to another. `lineage.upgrade` hands over
a connection inside a transaction; a developer names a scratch database, `-x db=PATH_OR_URL`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from lineage import schema


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=schema.metadata,
        # SQLite changes tables in transactions like any other; Alembic believes it does not.
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_scratch() -> None:
    """Run on the database that `-x db=` names, as a developer does."""
    from lineage.upgrade import migrating

    named = context.get_x_argument(as_dictionary=True).get("db")
    if named is None:
        raise SystemExit("Name a scratch database: alembic -x db=PATH_OR_URL ...")
    with migrating(named) as connection:
        migrate(connection)


handed_over = context.config.attributes.get("connection")
if handed_over is None:
    migrate_scratch()
else:
    migrate(handed_over)
