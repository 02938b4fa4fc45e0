"""What training runs, scans, culls and pulls leave behind: configurations, tensors, records that
came in, leases, quarantines, and how far a pull has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def of_organism() -> sa.Column[int]:
    return sa.Column(
        "organism", ID, sa.ForeignKey("organism.id"), primary_key=True, autoincrement=False
    )


def upgrade() -> None:
    op.create_table(
        "document",
        sa.Column("id", ID, primary_key=True),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "configuration",
        of_organism(),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("document", ID, sa.ForeignKey("document.id"), nullable=False),
        sa.CheckConstraint("kind IN ('model', 'training')", "configuration_kind"),
        sqlite_with_rowid=False,
    )
    op.create_index("configuration_document", "configuration", ["document", "organism"])
    op.create_table(
        "tensor",
        sa.Column("digest", sa.LargeBinary(16), primary_key=True),
        of_organism(),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tensor_organism", "tensor", ["organism"])
    op.create_table(
        "arrival",
        sa.Column("uuid", sa.LargeBinary(16), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("organism", ID, sa.ForeignKey("organism.id")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        of_organism(),
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quarantine",
        sa.Column("place", ID, sa.ForeignKey("place.id"), primary_key=True, autoincrement=False),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("emptied_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "crawl",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("cursor", sa.Text),
        sa.Column("watermark", sa.BigInteger),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in (
        "crawl", "quarantine", "lease", "arrival", "tensor", "configuration", "document",
    ):  # fmt: skip
        op.drop_table(table)
