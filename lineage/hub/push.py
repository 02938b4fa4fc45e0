"""What the registry knows of an organism, onto its card on the Hub: a plan that shows itself as a
difference of the card, and becomes a pull request when it is applied."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage import ledger, pedigree
from lineage.answers import Answer
from lineage.database import Connection, Database
from lineage.errors import InvalidValue, LineageError
from lineage.hub.client import Hub, answered
from lineage.hub.rows import RELATIONS, is_repo
from lineage.organism import Link, Niche, Record
from lineage.references import resolve
from lineage.shown import shown
from lineage.store import Store

BEGIN, END = "<!-- lineage -->", "<!-- /lineage -->"
RELATED = 8
"""How many ancestors and how many children the section on the card names."""
CHILDREN = "SELECT child FROM edge WHERE parent = ? ORDER BY child LIMIT ?"
SPELT = {"continue": "finetune"}
"""Relations that the Hub calls otherwise. It has no word for distill, prune and convert."""

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_TOP = re.compile(r"""^["']?([^\s#"'-][^:"']*)["']?\s*:""")


@dataclass(frozen=True, slots=True)
class Push(Answer):
    """A plan: what the card of `repo` is now and would become; what the card cannot say, in
    sentences. `url` is the pull request, or the commit, once it is applied."""

    repo: str
    before: str
    after: str
    left_out: tuple[str, ...]
    url: str | None = None

    @property
    def diff(self) -> str:
        """The difference as a unified diff; empty where the card says all of it already."""
        return "".join(
            line if line.endswith("\n") else f"{line}\n"
            for line in difflib.unified_diff(
                self.before.splitlines(keepends=True),
                self.after.splitlines(keepends=True),
                f"{self.repo}/README.md",
                f"{self.repo}/README.md with lineage",
            )
        )


def plan(
    database: Database, ref: Any, *, to: str | None = None, endpoint: str | None = None
) -> Push:
    """What a push of `ref` would change on the card of its repository: that of its `hf:` place, or
    `to`. Reads the card from the Hub, writes nothing. Raises InvalidValue where no one repository
    is meant, NoAccess and HubUnavailable."""
    left_out: list[str] = []
    with database.read() as connection:
        record = ledger.record(connection, resolve(connection, ref))
        bases = _bases(connection, record.parents, left_out)
        section = _section(connection, record)
    repo = to or _repo(record)
    if not is_repo(repo):
        raise InvalidValue(f"{repo!r} is no repository of the Hub: org/name.")
    before = Hub(endpoint).card(repo)
    front, body = _split(before)
    card = _loaded(front, repo)
    fields = _fields(record, bases, card, repo, left_out)
    after = _joined(_with(front, card, fields), _with_section(body, section))
    return Push(repo, before, after, tuple(left_out))


def apply(
    store: Store,
    ref: Any,
    *,
    to: str | None = None,
    direct: bool = False,
    endpoint: str | None = None,
) -> Push:
    """Do what `plan` says: a pull request, or with `direct` a commit to main. Noted in the history.
    Nothing is sent where the card says it already."""
    made = plan(store.database, ref, to=to, endpoint=endpoint)
    if not made.diff:
        return made
    from huggingface_hub import CommitOperationAdd

    hub = Hub(endpoint)
    with answered(f"a pull request at {made.repo}"):
        done = hub.api.create_commit(
            made.repo,
            [CommitOperationAdd("README.md", made.after.encode())],
            commit_message="Say what this model descends from",
            create_pr=not direct,
        )
    url = getattr(done, "pr_url", None) or str(done.commit_url)
    try:
        with store.act() as act:
            own = resolve(act.connection, ref)
            act.event(own, "pushed", {"repo": made.repo, "url": url})
    except LineageError as error:  # what was sent is there all the same
        raise type(error)(f"{url} is made, and the history does not have it: {error}") from error
    return Push(made.repo, made.before, made.after, made.left_out, url)


# ---- what the registry knows


def _repo(record: Record) -> str:
    repos = list(dict.fromkeys(_repos(place.uri for place in record.places)))
    if len(repos) != 1:
        known = f"is at {len(repos)}: {', '.join(repos)}" if repos else "has no place on the Hub"
        raise InvalidValue(f"{record.organism} {known}. Name the repository with --to org/name.")
    return repos[0]


def _repos(uris: Iterable[str]) -> list[str]:
    return [uri[3:].partition("@")[0] for uri in uris if uri.startswith("hf:")]


def _fields(
    record: Record,
    bases: Sequence[str],
    card: Mapping[str, Any],
    repo: str,
    left_out: list[str],
) -> dict[str, Any]:
    """The fields of the card that the registry knows."""
    fields: dict[str, Any] = {}
    if bases:
        fields["base_model"] = bases[0] if len(bases) == 1 else bases
        relations = {SPELT.get(link.relation, link.relation) for link in record.parents}
        if len(relations) == 1 and (relation := relations.pop()) in RELATIONS:
            fields["base_model_relation"] = relation
        else:
            told = ", ".join(sorted({link.relation for link in record.parents}))
            left_out.append(f"the relation ({told}): a card has one for all, of the Hub's four.")
    if record.scores:
        fields["model-index"] = _index(record, card, repo)
    grams = [c.gco2e for c in record.power
             if c.phase == "training" and c.per == "total" and c.gco2e is not None]  # fmt: skip
    if grams:
        sources = {c.meter or c.source for c in record.power if c.gco2e is not None}
        fields["co2_eq_emissions"] = {
            "emissions": math.fsum(grams), "source": ", ".join(sorted(sources)),
        }  # fmt: skip
    return fields


def _bases(
    connection: Connection, parents: Sequence[Link], left_out: list[str]
) -> list[str]:
    """The repositories of the parents."""
    places: dict[int, list[str]] = {}
    for own, uri in connection.rows(
        f"""SELECT p.organism, p.uri FROM {connection.ids} AS i JOIN place p ON p.organism = i.id
            WHERE p.uri LIKE 'hf:%' ORDER BY p.id""",
        (connection.pack(link.parent.id for link in parents),),
    ):
        places.setdefault(own, []).append(uri)
    bases = []
    for link in parents:
        parent = link.parent
        repos = _repos(places.get(parent.id, ()))
        if repos:
            bases.append(repos[0])
        elif parent.ghost and parent.name and "/" in parent.name and is_repo(parent.name):
            bases.append(parent.name)  # a repository that was named and not pulled
        else:
            left_out.append(f"the parent {parent}: it has no place on the Hub.")
    return list(dict.fromkeys(bases))


def _index(record: Record, card: Mapping[str, Any], repo: str) -> list[dict[str, Any]]:
    """The card's `model-index` with our scores: those of the same dataset, split and metric are
    replaced, all others stay."""
    held = card.get("model-index")
    first = held[0] if isinstance(held, list) and held and isinstance(held[0], dict) else {}
    results = first.get("results")
    kept = [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    ours = [_result(score.niche, score.value, card) for score in record.scores]  # type: ignore[arg-type]
    keys = {_key(one) for one in ours}
    kept = [one for one in kept if not (len(one.get("metrics") or ()) == 1 and _key(one) in keys)]
    return [{"name": first.get("name") or repo.rpartition("/")[2], "results": kept + ours}]


def _result(niche: Niche, value: float, card: Mapping[str, Any]) -> dict[str, Any]:
    kind, _, config = niche.task.partition(":")
    dataset = {"type": kind, "name": niche.task}
    if config:
        dataset["config"] = config
    if niche.split:
        dataset["split"] = niche.split
    return {
        "task": {"type": str(card.get("pipeline_tag") or "other")},
        "dataset": dataset,
        "metrics": [{"type": niche.metric, "value": value}],
    }


def _key(result: Mapping[str, Any]) -> tuple[Any, ...]:
    dataset, metrics = result.get("dataset"), result.get("metrics")
    known = dataset if isinstance(dataset, dict) else {}
    metric = metrics[0] if isinstance(metrics, list) and metrics else None
    kind = metric.get("type") if isinstance(metric, dict) else None
    return (known.get("type"), known.get("config"), known.get("split"), kind)


def _section(connection: Connection, record: Record) -> str:
    """A small tree for people: the nearest ancestors, the organism, its first children."""
    own = record.organism.id
    nearest = pedigree.ancestors(connection, own)[:RELATED]
    below = [row[0] for row in connection.rows(CHILDREN, (own, RELATED))]
    known = {one.id: one for one in ledger.organisms(connection, [*nearest, *below])}
    # what is of one generation stands below another, and one step further in than what was before
    steps = sorted({known[one].generation for one in nearest if one in known})
    lines = [
        f"{'  ' * steps.index(known[one].generation)}{_plain(str(known[one]))}"
        for one in sorted(nearest, key=lambda one: (known[one].generation, one))
    ]
    lines.append(f"{'  ' * len(steps)}{_plain(str(record.organism))}  ← this model")
    inside = "  " * (len(steps) + 1)
    lines += [f"{inside}{_plain(str(known[one]))}" for one in below if one in known]
    more = record.children - len(below)
    if more > 0:
        lines.append(f"{inside}… and {more:,} more")
    tree = "\n".join(lines)
    return f"{BEGIN}\n## Lineage\n\n```text\n{tree}\n```\n{END}\n"


def _plain(name: str) -> str:
    """A name that ends no block of code and no comment."""
    return shown(name).replace("`", "'").replace("<!--", "< !--").replace("-->", "-- >")


# ---- the card


def _split(card: str) -> tuple[str, str]:
    """The front matter of a card, without its fences, and the rest."""
    match = _FRONT.match(card)
    return (match[1], card[match.end() :]) if match else ("", card)


def _joined(front: str, body: str) -> str:
    return f"---\n{front}---\n{body}" if front else body


def _loaded(front: str, repo: str) -> dict[str, Any]:
    import yaml

    try:
        held = yaml.safe_load(front) if front else {}
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:200]
        raise LineageError(
            f"the card of {repo} begins with YAML that cannot be read: {said}. Mend it there first."
        ) from None
    return held if isinstance(held, dict) else {}


def _with(front: str, card: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """The front matter with these fields, each where it was; all other lines stay as they are."""
    import yaml

    def written(known: Mapping[str, Any]) -> str:
        text: str = yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=100)
        return text

    changed = {key: value for key, value in fields.items() if card.get(key) != value}
    if not changed:
        return front
    wanted = {**card, **changed}
    text = _replaced(front, {key: written({key: value}) for key, value in changed.items()})
    try:
        same = yaml.safe_load(text) == wanted
    except yaml.YAMLError:
        same = False
    return text if same else written(wanted)  # anchors, flow style: written anew


def _replaced(front: str, blocks: Mapping[str, str]) -> str:
    """The lines of a front matter with the blocks of some keys replaced, or put at the end."""
    left = dict(blocks)
    out: list[str] = []
    inside = False  # a block that is replaced
    for line in front.splitlines(keepends=True):
        if match := _TOP.match(line):
            block = left.pop(match[1].strip(), None)
            inside = block is not None
            if block is not None:
                out.append(block)
        elif line[:1] not in (" ", "\t", "-", "\n", "\r"):
            inside = False
        if not inside:
            out.append(line if line.endswith("\n") else f"{line}\n")
    return "".join([*out, *left.values()])


def _with_section(body: str, section: str) -> str:
    begin, end = body.find(BEGIN), body.find(END)
    if 0 <= begin < end:
        rest = body[end + len(END) :].removeprefix("\n")
        return f"{body[:begin]}{section}{rest}"
    gap = "" if not body or body.endswith("\n\n") else "\n" if body.endswith("\n") else "\n\n"
    return f"{body}{gap}{section}"
