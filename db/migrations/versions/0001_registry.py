"""The registry: organisms, their names and places, links, scores, power costs and history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# This is history: it is written out, and does not change when lineage.schema does.
ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
RELATIONS = "'finetune', 'adapter', 'quantized', 'merge', 'continue', 'distill', 'prune', 'convert'"

TRIGGERS = {
    "sqlite": (
        """CREATE TRIGGER edge_acyclic BEFORE INSERT ON edge
           WHEN (SELECT generation FROM organism WHERE id = NEW.parent)
             >= (SELECT generation FROM organism WHERE id = NEW.child)
           BEGIN SELECT RAISE(ABORT, 'a parent link must lead to a later generation'); END""",
        """CREATE TRIGGER event_no_update BEFORE UPDATE ON event
           BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END""",
        """CREATE TRIGGER event_no_delete BEFORE DELETE ON event
           BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION lineage_edge_acyclic() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             IF (SELECT generation FROM organism WHERE id = NEW.parent)
                >= (SELECT generation FROM organism WHERE id = NEW.child) THEN
               RAISE EXCEPTION 'a parent link must lead to a later generation';
             END IF;
             RETURN NEW;
           END $$""",
        """CREATE FUNCTION lineage_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'the event log is append-only'; END $$""",
        """CREATE TRIGGER edge_acyclic BEFORE INSERT ON edge
           FOR EACH ROW EXECUTE FUNCTION lineage_edge_acyclic()""",
        """CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON event
           FOR EACH ROW EXECUTE FUNCTION lineage_append_only()""",
        """CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event
           FOR EACH STATEMENT EXECUTE FUNCTION lineage_append_only()""",
    ),
}


def key(name: str) -> sa.Column[int]:
    """A key that its writer chooses."""
    return sa.Column(name, ID, primary_key=True, autoincrement=False)


def flag(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger, nullable=False, server_default=sa.text("0"))


def of_organism(**kw: object) -> sa.Column[int]:
    return sa.Column("organism", ID, sa.ForeignKey("organism.id"), nullable=False, **kw)


def partial_index(name: str, table: str, columns: list[str], where: str, **kw: bool) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition, **kw)


def upgrade() -> None:
    create_organisms()
    create_links()
    create_scores()
    create_power()
    create_labels()
    create_history()
    for statement in TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


def create_organisms() -> None:
    op.create_table(
        "organism",
        key("id"),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'alive'")),
        flag("ghost"),
        flag("epigenetic"),
        flag("protected"),
        flag("here"),
        sa.Column("generation", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("jump", ID),
        sa.Column("same_as", ID, sa.ForeignKey("organism.id")),
        sa.Column("parameters", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("architecture", sa.Text),
        sa.Column("precision", sa.Text),
        sa.Column("licence", sa.Text),
        sa.Column("run", sa.Text),
        sa.Column("step", sa.BigInteger),
        sa.Column("created", sa.BigInteger),
        sa.Column("registered", sa.BigInteger),
        sa.Column("retracted", sa.Text),
        sa.CheckConstraint("status IN ('alive', 'selected_against', 'culled')", "organism_status"),
        sa.CheckConstraint("digest IS NULL OR length(digest) = 32", "organism_digest_size"),
        sa.CheckConstraint("generation >= 0", "organism_generation"),
    )
    partial_index("organism_digest", "organism", ["digest"], "digest IS NOT NULL", unique=True)
    partial_index("organism_status", "organism", ["status", "id"], "status <> 'alive'")
    op.create_index("organism_created", "organism", ["created"])
    partial_index("organism_run", "organism", ["run", "step"], "run IS NOT NULL")
    op.create_table(
        "name",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        of_organism(),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.CheckConstraint("version >= 1", "name_version"),
        sqlite_with_rowid=False,
    )
    op.create_index("name_organism", "name", ["organism", "rank"], unique=True)
    op.create_table(
        "vacated",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "place",
        key("id"),
        of_organism(),
        sa.Column("hash", sa.BigInteger, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("host", sa.Text),
        sa.Column("gone_at", sa.BigInteger),
    )
    op.create_index("place_organism", "place", ["organism"])
    op.create_index("place_hash", "place", ["hash"])
    op.create_table(
        "file",
        sa.Column("place", ID, sa.ForeignKey("place.id"), primary_key=True, autoincrement=False),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("genome", sa.SmallInteger, nullable=False),
        sa.Column("modified", sa.BigInteger),
        sqlite_with_rowid=False,
    )


def create_links() -> None:
    organism = "organism.id"
    op.create_table(
        "edge",
        sa.Column("child", ID, sa.ForeignKey(organism), primary_key=True, autoincrement=False),
        sa.Column("parent", ID, sa.ForeignKey(organism), primary_key=True, autoincrement=False),
        sa.Column("relation", sa.Text, nullable=False),
        sa.Column("weight", sa.Double),
        flag("needed"),
        sa.CheckConstraint("child <> parent", "edge_not_self"),
        sa.CheckConstraint(f"relation IN ({RELATIONS})", "edge_relation"),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_parent", "edge", ["parent", "child", "relation"])
    op.create_table(
        "evidence",
        key("child"),
        key("parent"),
        sa.Column("relation", sa.Text, primary_key=True),
        sa.Column("evidence", sa.Text, primary_key=True),
        sa.Column("confidence", sa.Double),
        sa.Column("weight", sa.Double),
        sa.ForeignKeyConstraint(
            ["child", "parent"], ["edge.child", "edge.parent"], ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"relation IN ({RELATIONS})", "evidence_relation"),
        sa.CheckConstraint(
            "evidence IN ('declared', 'configured', 'hashed', 'weighed', 'named')",
            "evidence_evidence",
        ),
        sqlite_with_rowid=False,
    )


def create_scores() -> None:
    op.create_table(
        "niche",
        sa.Column("id", ID, primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("split", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("direction", sa.Text),
        sa.CheckConstraint("direction IN ('higher', 'lower')", "niche_direction"),
    )
    op.create_index("niche_name", "niche", ["task", "metric", "split"], unique=True)
    op.create_table(
        "fitness",
        sa.Column("id", ID, primary_key=True),
        of_organism(),
        sa.Column("niche", ID, sa.ForeignKey("niche.id"), nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("stderr", sa.Double),
        sa.Column("n", sa.BigInteger),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("current", sa.SmallInteger, nullable=False),
        sa.Column("retracted", sa.Text),
    )
    op.create_index("fitness_organism", "fitness", ["organism", "niche"])
    op.create_table(
        "standing",
        sa.Column("niche", ID, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Double, primary_key=True, autoincrement=False),
        sa.Column("organism", ID, primary_key=True, autoincrement=False),
        sa.Column("per", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("also", sa.SmallInteger, nullable=False),
        sa.Column("joules", sa.Double),
        sa.Column("source", sa.SmallInteger),
        sa.Column("meter", ID),
        sa.Column("stderr", sa.Double),
        sa.Column("n", sa.BigInteger),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("here", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def create_power() -> None:
    op.create_table(
        "meter",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "power",
        sa.Column("id", ID, primary_key=True),
        of_organism(),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("per", sa.Text, nullable=False),
        sa.Column("joules", sa.Double),
        sa.Column("watts", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("cost", sa.Double),
        sa.Column("currency", sa.Text),
        sa.Column("gco2e", sa.Double),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("meter", ID, sa.ForeignKey("meter.id")),
        sa.Column("uuid", sa.LargeBinary(16)),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("current", sa.SmallInteger, nullable=False),
        sa.Column("retracted", sa.Text),
        sa.CheckConstraint(
            "phase IN ('training', 'serving', 'evaluation', 'storage')", "power_phase"
        ),
        sa.CheckConstraint(
            "per IN ('total', 'token', 'character', 'request', 'image', 'hour')", "power_per"
        ),
        sa.CheckConstraint("source IN ('measured', 'estimated', 'declared')", "power_source"),
        sa.CheckConstraint("joules >= 0", "power_joules"),
    )
    op.create_index("power_organism", "power", ["organism"])
    partial_index("power_uuid", "power", ["uuid"], "uuid IS NOT NULL", unique=True)


def create_labels() -> None:
    op.create_table(
        "tag",
        sa.Column(
            "organism", ID, sa.ForeignKey("organism.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tag_key", "tag", ["key", "value", "organism"])
    op.create_table(
        "alias",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        of_organism(),
        sqlite_with_rowid=False,
    )
    op.create_index("alias_organism", "alias", ["organism"])
    op.create_index("alias_alias", "alias", ["alias", "organism"])


def create_history() -> None:
    op.create_table(
        "actor",
        sa.Column("id", ID, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
    )
    op.create_index("actor_identity", "actor", ["user", "host", "pid", "command"], unique=True)
    op.create_table(
        "event",
        sa.Column("id", ID, primary_key=True),
        sa.Column("organism", ID, sa.ForeignKey("organism.id")),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", ID, sa.ForeignKey("actor.id"), nullable=False),
        sa.Column("body", sa.Text, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("chain", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("event_organism", "event", ["organism"])
    partial_index("event_mark", "event", ["kind", "organism"], "kind = 'selected_against'")


def downgrade() -> None:
    """Take everything away: what was registered is gone."""
    for table in (
        "event", "actor", "alias", "tag", "power", "meter", "standing", "fitness", "niche",
        "evidence", "edge", "file", "place", "vacated", "name", "organism",
    ):  # fmt: skip
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION lineage_edge_acyclic()")
        op.execute("DROP FUNCTION lineage_append_only()")
