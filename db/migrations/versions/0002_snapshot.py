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
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("joules", sa.Double),
        sqlite_with_rowid=False,
    )
    op.create_index("label_organism", "label", ["snapshot", "organism"], unique=True)
    op.create_table(
        "stripe",
        key("snapshot"),
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        key("pre"),
        sa.Column("head", ID, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False)
          for name in ("low", "high", "alive", "against", "culled")),
        sqlite_with_rowid=False,
    )  # fmt: skip
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
    op.create_table(
        "label_niche",
        key("snapshot"),
        key("niche"),
        sa.Column("scores", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("least", "low", "high", "most")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("label_niche", "label_score", "graft", "stripe", "label", "setting"):
        op.drop_table(table)
