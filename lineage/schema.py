"""The tables of the registry, for SQLite and PostgreSQL alike, and the triggers that guard them.
`db/migrations` tells how they came to be; a test proves that both ways lead to the same schema.

Truth: organism, name, place, file, edge, evidence, niche, fitness, meter, power, tag, alias, actor,
event, document, configuration, arrival, lease, quarantine, crawl. Derived and rebuildable:
organism.generation, .jump and .here, place.hash, the `current` flags, the tensor and standing
tables, and the label, label_score, label_niche, stripe and graft tables (the interval snapshot).
Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

from lineage.organism import (
    CONFIGURATIONS,
    DIRECTIONS,
    EVIDENCE,
    PERS,
    PHASES,
    RELATIONS,
    SOURCES,
    STATUSES,
)

REVISIONS = ("0001", "0002", "0003")
"""Every schema this code knows, oldest first; the last is the one it reads and writes."""

Id = BigInteger().with_variant(Integer, "sqlite")
metadata = MetaData()


def _in(column: str, allowed: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in allowed)})"


def _flag(name: str) -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default=text("0"))


organism = Table(
    "organism",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary(32)),
    Column("status", Text, nullable=False, server_default=text("'alive'")),
    _flag("ghost"),
    _flag("epigenetic"),
    _flag("protected"),
    _flag("here"),
    Column("generation", Integer, nullable=False, server_default=text("0")),
    Column("jump", Id),
    Column("same_as", Id, ForeignKey("organism.id")),
    Column("parameters", BigInteger),
    Column("bytes", BigInteger),
    Column("architecture", Text),
    Column("precision", Text),
    Column("licence", Text),
    Column("run", Text),
    Column("step", BigInteger),
    Column("created", BigInteger),
    Column("registered", BigInteger),
    Column("retracted", Text),
    CheckConstraint(_in("status", STATUSES), "organism_status"),
    CheckConstraint("digest IS NULL OR length(digest) = 32", "organism_digest_size"),
    CheckConstraint("generation >= 0", "organism_generation"),
    Index("organism_digest", "digest", unique=True, sqlite_where=text("digest IS NOT NULL"),
          postgresql_where=text("digest IS NOT NULL")),
    Index("organism_status", "status", "id", sqlite_where=text("status <> 'alive'"),
          postgresql_where=text("status <> 'alive'")),
    Index("organism_created", "created"),
    Index("organism_run", "run", "step", sqlite_where=text("run IS NOT NULL"),
          postgresql_where=text("run IS NOT NULL")),
)  # fmt: skip

name = Table(
    "name",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("organism", Id, ForeignKey("organism.id"), nullable=False),
    Column("rank", Integer, nullable=False),
    CheckConstraint("version >= 1", "name_version"),
    Index("name_organism", "organism", "rank", unique=True),
    sqlite_with_rowid=False,
)
"""`rank` 0 is the name an organism goes by; further names follow in the order they were given."""

vacated = Table(
    "vacated",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""The highest version of a name that a rename gave up: no other organism gets it, or one below.
Events of kind `renamed` tell it too: an import reads it out of them."""

place = Table(
    "place",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("organism", Id, ForeignKey("organism.id"), nullable=False),
    Column("hash", BigInteger, nullable=False),
    Column("uri", Text, nullable=False),
    Column("host", Text),
    Column("gone_at", BigInteger),
    Index("place_organism", "organism"),
    Index("place_hash", "hash"),
)
"""`hash` is what a URI is found by, so that its text is kept once: see `references.place_hash`. An
organism is at a URI once: who writes looks before, and writers queue."""

file = Table(
    "file",
    metadata,
    Column("place", Id, ForeignKey("place.id"), primary_key=True, autoincrement=False),
    Column("path", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("genome", SmallInteger, nullable=False),
    Column("modified", BigInteger),
    sqlite_with_rowid=False,
)
"""`modified` is the time of last modification when it was hashed, nanoseconds since 1970."""

edge = Table(
    "edge",
    metadata,
    Column("child", Id, ForeignKey("organism.id"), primary_key=True, autoincrement=False),
    Column("parent", Id, ForeignKey("organism.id"), primary_key=True, autoincrement=False),
    Column("relation", Text, nullable=False),
    Column("weight", Double),
    _flag("needed"),
    CheckConstraint("child <> parent", "edge_not_self"),
    CheckConstraint(_in("relation", RELATIONS), "edge_relation"),
    Index("edge_parent", "parent", "child", "relation"),
    sqlite_with_rowid=False,
)
"""One row a pair. `relation` and `weight` are those of the strongest evidence; `needed` says that
the child does not run without the parent."""

evidence = Table(
    "evidence",
    metadata,
    Column("child", Id, primary_key=True, autoincrement=False),
    Column("parent", Id, primary_key=True, autoincrement=False),
    Column("relation", Text, primary_key=True),
    Column("evidence", Text, primary_key=True),
    Column("confidence", Double),
    Column("weight", Double),
    ForeignKeyConstraint(["child", "parent"], ["edge.child", "edge.parent"], ondelete="CASCADE"),
    CheckConstraint(_in("relation", RELATIONS), "evidence_relation"),
    CheckConstraint(_in("evidence", EVIDENCE), "evidence_evidence"),
    sqlite_with_rowid=False,
)

niche = Table(
    "niche",
    metadata,
    Column("id", Id, primary_key=True),
    Column("task", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("split", Text, nullable=False, server_default=text("''")),
    Column("direction", Text),
    CheckConstraint(_in("direction", DIRECTIONS), "niche_direction"),
    Index("niche_name", "task", "metric", "split", unique=True),
)

fitness = Table(
    "fitness",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organism", Id, ForeignKey("organism.id"), nullable=False),
    Column("niche", Id, ForeignKey("niche.id"), nullable=False),
    Column("value", Double, nullable=False),
    Column("stderr", Double),
    Column("n", BigInteger),
    Column("at", BigInteger, nullable=False),
    Column("current", SmallInteger, nullable=False),
    Column("retracted", Text),
    Index("fitness_organism", "organism", "niche"),
)
"""All scores ever; `current` marks the latest of an organism in a niche, which counts. `retracted`
is why a score was struck out: it never counts."""

standing = Table(
    "standing",
    metadata,
    Column("niche", Id, primary_key=True, autoincrement=False),
    Column("value", Double, primary_key=True, autoincrement=False),
    Column("organism", Id, primary_key=True, autoincrement=False),
    Column("per", SmallInteger, primary_key=True, autoincrement=False),
    Column("also", SmallInteger, nullable=False),
    Column("joules", Double),
    Column("source", SmallInteger),
    Column("meter", Id),
    Column("stderr", Double),
    Column("n", BigInteger),
    Column("state", SmallInteger, nullable=False),
    Column("here", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The scores that count, a row for each unit in which it is known what serving costs, with what is
needed to run: see `standings`, which has the codes."""

meter = Table(
    "meter",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

power = Table(
    "power",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organism", Id, ForeignKey("organism.id"), nullable=False),
    Column("phase", Text, nullable=False),
    Column("per", Text, nullable=False),
    Column("joules", Double),
    Column("watts", Double),
    Column("seconds", Double),
    Column("cost", Double),
    Column("currency", Text),
    Column("gco2e", Double),
    Column("source", Text, nullable=False),
    Column("meter", Id, ForeignKey("meter.id")),
    Column("uuid", LargeBinary(16)),
    Column("at", BigInteger, nullable=False),
    Column("current", SmallInteger, nullable=False),
    Column("retracted", Text),
    CheckConstraint(_in("phase", PHASES), "power_phase"),
    CheckConstraint(_in("per", PERS), "power_per"),
    CheckConstraint(_in("source", SOURCES), "power_source"),
    CheckConstraint("joules >= 0", "power_joules"),
    Index("power_organism", "organism"),
    Index("power_uuid", "uuid", unique=True, sqlite_where=text("uuid IS NOT NULL"),
          postgresql_where=text("uuid IS NOT NULL")),
)  # fmt: skip
"""`per` total: intervals that add up, all `current`. Else rates: the latest is `current`. What is
`retracted`, for the reason there, never is."""

tag = Table(
    "tag",
    metadata,
    Column("organism", Id, ForeignKey("organism.id"), primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("tag_key", "key", "value", "organism"),
    sqlite_with_rowid=False,
)

alias = Table(
    "alias",
    metadata,
    Column("name", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("organism", Id, ForeignKey("organism.id"), nullable=False),
    Index("alias_organism", "organism"),
    Index("alias_alias", "alias", "organism"),
    sqlite_with_rowid=False,
)

actor = Table(
    "actor",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("command", Text, nullable=False),
    Index("actor_identity", "user", "host", "pid", "command", unique=True),
)

event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organism", Id, ForeignKey("organism.id")),
    Column("kind", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Id, ForeignKey("actor.id"), nullable=False),
    Column("body", Text, nullable=False, server_default=text("'{}'")),
    Column("chain", LargeBinary(32), nullable=False),
    Index("event_organism", "organism"),
    Index("event_mark", "kind", "organism", sqlite_where=text("kind = 'selected_against'"),
          postgresql_where=text("kind = 'selected_against'")),
)
"""`chain` is a SHA-256 over the chain of the event before and this one: see `lineage.chain`."""

setting = Table(
    "setting",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Which snapshot is current, what it covers, and what has changed since: see `snapshots`."""

label = Table(
    "label",
    metadata,
    Column("snapshot", Id, primary_key=True, autoincrement=False),
    Column("pre", Id, primary_key=True, autoincrement=False),
    Column("last", Id, nullable=False),
    Column("organism", Id, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("joules", Double),
    Index("label_organism", "snapshot", "organism", unique=True),
    sqlite_with_rowid=False,
)
"""Pre-order positions over the backbone (each organism under one parent): the clade of `pre` is
`pre` to `last`, but for what `graft` adds. `state` (in the codes of `standings`) and `joules` (of
training) as of the snapshot.
"""

stripe = Table(
    "stripe",
    metadata,
    Column("snapshot", Id, primary_key=True, autoincrement=False),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("pre", Id, primary_key=True, autoincrement=False),
    Column("head", Id, nullable=False),
    Column("low", Integer, nullable=False),
    Column("high", Integer, nullable=False),
    Column("alive", Integer, nullable=False),
    Column("against", Integer, nullable=False),
    Column("culled", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""Added up beforehand: the 4 to the power of `level` positions from `pre` on. `head` is the
position of the largest clade that begins there, `low` and `high` are generations, the rest counts.
"""

graft = Table(
    "graft",
    metadata,
    Column("snapshot", Id, primary_key=True, autoincrement=False),
    Column("parent", Id, primary_key=True, autoincrement=False),
    Column("child", Id, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Parent links that are not in the backbone, as pre-order positions."""

label_score = Table(
    "label_score",
    metadata,
    Column("snapshot", Id, primary_key=True, autoincrement=False),
    Column("pre", Id, primary_key=True, autoincrement=False),
    Column("niche", Id, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    sqlite_with_rowid=False,
)

label_niche = Table(
    "label_niche",
    metadata,
    Column("snapshot", Id, primary_key=True, autoincrement=False),
    Column("niche", Id, primary_key=True, autoincrement=False),
    Column("scores", Integer, nullable=False),
    Column("least", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("most", Double, nullable=False),
    sqlite_with_rowid=False,
)
"""How the scores of the living are spread in a niche: the least, the value that 5 % lie below,
that 5 % lie above, and the most."""

document = Table(
    "document",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("body", Text, nullable=False),
)
"""A JSON object that many organisms share: written once, found by its SHA-256."""

configuration = Table(
    "configuration",
    metadata,
    Column("organism", Id, ForeignKey("organism.id"), primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("document", Id, ForeignKey("document.id"), nullable=False),
    CheckConstraint(_in("kind", CONFIGURATIONS), "configuration_kind"),
    Index("configuration_document", "document", "organism"),
    sqlite_with_rowid=False,
)
"""How an organism is set up: `model` (its config.json), `training` (the arguments of its run)."""

tensor = Table(
    "tensor",
    metadata,
    Column("digest", LargeBinary(16), primary_key=True),
    Column("organism", Id, ForeignKey("organism.id"), primary_key=True, autoincrement=False),
    Column("bytes", BigInteger, nullable=False),
    Index("tensor_organism", "organism"),
    sqlite_with_rowid=False,
)
"""The first 16 bytes of the SHA-256 of a tensor's data, by whom it is held."""

arrival = Table(
    "arrival",
    metadata,
    Column("uuid", LargeBinary(16), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("organism", Id, ForeignKey("organism.id")),
    sqlite_with_rowid=False,
)
"""The records of a spool that came in, each once, and the organism that each brought."""

lease = Table(
    "lease",
    metadata,
    Column("organism", Id, ForeignKey("organism.id"), primary_key=True, autoincrement=False),
    Column("holder", Text, primary_key=True),
    Column("until", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("place", Id, ForeignKey("place.id"), primary_key=True, autoincrement=False),
    Column("path", Text, primary_key=True),
    Column("folder", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("emptied_at", BigInteger),
    sqlite_with_rowid=False,
)
"""Files that `cull` moved into a quarantine folder, and when they were deleted from there."""

crawl = Table(
    "crawl",
    metadata,
    Column("source", Text, primary_key=True),
    Column("cursor", Text),
    Column("watermark", BigInteger),
    Column("at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How far a pull of a source has come: its cursor while it runs, and the newest change seen."""

version = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Which schema this is, in the table that Alembic makes for it."""

ACYCLIC = "a parent link must lead to a later generation"
APPEND_ONLY = "the event log is append-only"

TRIGGERS = {
    "sqlite": (
        f"""CREATE TRIGGER edge_acyclic BEFORE INSERT ON edge
            WHEN (SELECT generation FROM organism WHERE id = NEW.parent)
              >= (SELECT generation FROM organism WHERE id = NEW.child)
            BEGIN SELECT RAISE(ABORT, '{ACYCLIC}'); END""",
        f"""CREATE TRIGGER event_no_update BEFORE UPDATE ON event
            BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
        f"""CREATE TRIGGER event_no_delete BEFORE DELETE ON event
            BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION lineage_edge_acyclic() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF (SELECT generation FROM organism WHERE id = NEW.parent)
                 >= (SELECT generation FROM organism WHERE id = NEW.child) THEN
                RAISE EXCEPTION '{ACYCLIC}';
              END IF;
              RETURN NEW;
            END $$""",
        f"""CREATE FUNCTION lineage_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION '{APPEND_ONLY}'; END $$""",
        """CREATE TRIGGER edge_acyclic BEFORE INSERT ON edge
           FOR EACH ROW EXECUTE FUNCTION lineage_edge_acyclic()""",
        """CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON event
           FOR EACH ROW EXECUTE FUNCTION lineage_append_only()""",
        """CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event
           FOR EACH STATEMENT EXECUTE FUNCTION lineage_append_only()""",
    ),
}


