"""The interval snapshot, for aggregates over large clades: derived, empty until it is built."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def key(name: str) -> sa.Column[int]:
    return sa.Column(name, ID, primary_key=True, autoincrement=False)


def upgrade() -> None:
    op.create_table(
        "setting",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label",
        key("snapshot"),
        key("pre"),
        sa.Column("last", ID, nullable=False),
        sa.Column("organism", ID, nullable=False),
        sa.Column("living", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("joules", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_index("label_organism", "label", ["snapshot", "organism"], unique=True)
    op.create_table(
        "graft",
        key("snapshot"),
        key("parent"),
        key("child"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "label_score",
        key("snapshot"),
        key("pre"),
        key("niche"),
        sa.Column("value", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("label_score", "graft", "label", "setting"):
        op.drop_table(table)
