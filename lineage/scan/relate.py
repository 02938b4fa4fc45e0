"""Who descends from whom, among the checkpoints of a scan and those of the registry: what files say
of parents, which logs go on where others end, and which tensors are the same.

Every link keeps its evidence. Where they contradict each other, all are kept."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lineage.database import Connection
from lineage.organism import Parent
from lineage.readers.said import Claim
from lineage.references import search
from lineage.scan.read import Found

LEAST_SHARE = 0.1
"""Of the bytes of a checkpoint's tensors: below it, a shared tensor proposes no parent."""
WHOLE = 0.95
"""From this share on, a checkpoint is taken to be contained in another one."""
MOST_HOLDERS = 200
"""A tensor that more checkpoints hold relates them all to each other, and is passed over."""
APART = 60 * 10**9
"""Nanoseconds by which two files must differ in time before it is said which was first: copies of
one download do not."""
BY_TIMES = "tensors, older by its files"
"""The source of a link whose direction the times of the files alone tell: they can be wrong."""
MOST = 10_000
"""Values in one statement."""

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_URL = re.compile(r"https?://(?:www[.])?(?:huggingface[.]co|hf[.]co)/([^/?#]+/[^/?#]+)")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class Proposed:
    """A parent link that a scan proposes. `parent` is how people see it, `source` the file that
    says so, or what was compared; `confidence` the share of the child's tensors, by bytes, that are
    the parent's (of a merge: the share of the parent's that are the child's)."""

    child: str
    parent: str
    relation: str
    evidence: str
    source: str
    confidence: float | None
    how: Parent


@dataclass(frozen=True, slots=True)
class Related:
    """Two checkpoints that share tensors, where nothing tells which descends from which: shares of
    the bytes of the tensors of `a` and of `b`."""

    a: str
    b: str
    of_a: float
    of_b: float


@dataclass(slots=True)
class Relations:
    """What was found out: links by the place of the child, pairs that stay open, and what was set
    aside as (place, reason)."""

    links: dict[str, list[Proposed]] = field(default_factory=lambda: defaultdict(list))
    related: list[Related] = field(default_factory=list)
    set_aside: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whoever holds tensors: of this scan, or of the registry."""

    digest: str
    label: str
    modified: int
    total: int
    found: Found | None = None


class Relating:
    """Finds parents. `recorded` are the places of the registry that the walk saw unchanged: place
    -> digest in hex; `main` the commit of each cached repository's main branch."""

    def __init__(
        self,
        found: Sequence[Found],
        recorded: Mapping[str, str],
        main: Mapping[str, str],
        connection: Connection,
    ) -> None:
        self.found, self.connection, self.main = found, connection, main
        self.places = {one.candidate.place: one.genome.digest for one in found} | dict(recorded)
        self.labels = {one.genome.digest: one.name for one in reversed(found)}
        self.by_name: dict[str, set[str]] = defaultdict(set)
        self.by_repository: dict[str, dict[str, str]] = defaultdict(dict)
        for one in found:
            self.by_name[one.name].add(one.genome.digest)
            if one.candidate.hub:
                repository, _, commit = one.candidate.hub[3:].partition("@")
                self.by_repository[repository][commit] = one.genome.digest
        self.result = Relations()
        self._known_refs: dict[str, str] = {}

    def relate(self) -> Relations:
        for one in self.found:
            for claim in one.said.claims:
                self._claim(one, claim)
        self._continued()
        self._shared()
        return self.result

    # what files say

    def _claim(self, child: Found, claim: Claim) -> None:
        ref, evidence = self._resolved(child, claim)
        relation = claim.relation or self._relation(child, claim)
        if ref is None:
            reason = f"{claim.source} names the parent {claim.ref!r}, which is not there"
            self.result.set_aside.append((child.candidate.place, f"{reason}: no link was made."))
        elif problem := self._problem(ref):
            self.result.set_aside.append(
                (child.candidate.place, f"{claim.source} names {claim.ref!r}: {problem}")
            )
        elif ref not in (child.genome.digest, child.candidate.hub, child.name):
            self._propose(child, ref, relation, evidence, claim.source, None, claim.weight)

    def _relation(self, child: Found, claim: Claim) -> str:
        """As the Hub infers it: several parents are a merge, an adapter is one, GGUF quantized."""
        several = {one.ref for one in child.said.claims if one.source == claim.source}
        if "adapter" in child.said.kinds:
            return "adapter"
        if len(several) > 1:
            return "merge"
        return "quantized" if "gguf" in child.said.kinds else "finetune"

    def _resolved(self, child: Found, claim: Claim) -> tuple[str | None, str]:
        """A reference that the registry understands, and the evidence that it makes: a path of this
        scan, a repository of the Hub, a path of elsewhere, or a bare name."""
        ref = claim.ref
        url = _HUB_URL.match(ref)
        ref = url[1] if url else ref.removeprefix("hf:")
        if not url and (own := self._at_path(child, ref)):
            return own, claim.evidence
        repository, _, revision = ref.partition("@")
        if _HUB.fullmatch(repository) and not claim.ref.startswith((".", "/", "~")):
            return self._at_hub(repository, claim.revision or revision), claim.evidence
        if _ABSOLUTE.match(ref):
            return ref, claim.evidence
        if "/" in ref or "\\" in ref or ref in (".", "..") or ref.startswith("~"):
            return None, claim.evidence
        named = self.by_name.get(ref, set())
        return (next(iter(named)) if len(named) == 1 else ref), "named"

    def _at_path(self, child: Found, ref: str) -> str | None:
        """The checkpoint at a path that was relative to a folder which nobody wrote down: any
        folder above the child, up to the one that was scanned."""
        if os.path.isabs(ref):
            return self.places.get(os.path.normpath(ref))
        above = child.candidate.place
        scheme, mark, _ = above.rpartition("://")
        while above != "/":
            inside = os.path.normpath(f"{above.removeprefix(scheme + mark)}/{ref}")
            own = self.places.get(f"{scheme}{mark}{inside}")
            if own is not None:
                return own
            if above == child.candidate.root:
                return None
            above = os.path.dirname(above)
        return None

    def _at_hub(self, repository: str, revision: str) -> str:
        here = self.by_repository.get(repository, {})
        only = next(iter(here)) if len(here) == 1 else ""
        commit = revision or self.main.get(repository) or only
        if commit == "main":
            commit = self.main.get(repository, commit)
        return here.get(commit) or f"hf:{repository}" + (f"@{revision}" if revision else "")

    def _problem(self, ref: str) -> str:
        """Why a reference cannot be linked to, empty where it can."""
        if ref not in self._known_refs:
            fits = 0 if ref in self.labels else len(search(self.connection, ref))
            self._known_refs[ref] = (
                f"it fits {fits} organisms, and none was chosen." if fits > 1 else ""
            )
        return self._known_refs[ref]

    def _propose(
        self, child: Found, ref: str, relation: str, evidence: str, source: str,
        confidence: float | None, weight: float | None = None,
    ) -> None:  # fmt: skip
        links = self.result.links[child.candidate.place]
        if any((o.how.ref, o.relation, o.evidence) == (ref, relation, evidence) for o in links):
            return
        links.append(
            Proposed(
                child.name, self.labels.get(ref, ref), relation, evidence, source, confidence,
                Parent(ref, relation, weight, evidence, confidence),
            )
        )  # fmt: skip

    # logs that go on

    def _continued(self) -> None:
        """A log that begins with exactly another one's is a later part of the same run."""
        logs: dict[str, list[Found]] = defaultdict(list)
        for one in self.found:
            if one.said.history:
                logs[one.said.history].append(one)
        kept = self._kept_logs()
        for child in self.found:
            for beginning in reversed(child.said.earlier):
                parents = {one.genome.digest: one for one in logs.get(beginning, ())}
                if len(parents) > 1:
                    folder = os.path.dirname(child.candidate.place)
                    near = {
                        digest: one
                        for digest, one in parents.items()
                        if os.path.dirname(one.candidate.place) == folder
                    }
                    parents = near or parents
                refs = [*parents] or kept.get(beginning, [])
                refs = [ref for ref in refs if ref != child.genome.digest]
                if len(refs) == 1:
                    self._propose(
                        child, refs[0], "continue", "configured", "trainer_state.json", None
                    )
                elif refs:
                    self.result.set_aside.append(
                        (child.candidate.place, f"its log goes on from {len(refs)} checkpoints "
                         "alike: no link was made.")
                    )  # fmt: skip
                if refs:
                    break

    def _kept_logs(self) -> dict[str, list[str]]:
        """Organisms of the registry by the digest of their log, of the logs that are asked for."""
        asked = sorted({log for one in self.found for log in one.said.earlier})
        kept: dict[str, list[str]] = defaultdict(list)
        for start in range(0, len(asked), MOST):
            for log, digest in self.connection.rows(
                f"""SELECT t.value, o.digest FROM {self.connection.texts} AS i
                    CROSS JOIN tag t CROSS JOIN organism o WHERE t.key = 'history'
                      AND t.value = i.id AND o.id = t.organism AND o.digest IS NOT NULL""",
                (self.connection.pack(asked[start : start + MOST]),),
            ):
                kept[log].append(bytes(digest).hex())
        return kept

    # tensors that are the same

    def _shared(self) -> None:
        holders = self._holders()
        shared = _shared_bytes(holders, self._tensors(holders))
        partners: dict[str, dict[str, int]] = defaultdict(dict)
        for (a, b), count in shared.items():
            partners[a][b] = partners[b][a] = count
        settled: set[tuple[str, str]] = set()
        for own, others in sorted(partners.items()):
            if holders[own].found is not None:
                self._confirm(holders[own], others, settled)
        for own, others in sorted(partners.items()):
            if holders[own].found is not None:
                self._merged(holders[own], others, holders, shared, settled)
        for own, others in sorted(partners.items()):
            if holders[own].found is not None:
                self._nearest(holders[own], others, holders, settled)
        self._open(shared, holders, settled)

    def _tensors(self, holders: Mapping[str, _Holder]) -> dict[bytes, list[tuple[str, int]]]:
        """Who holds each tensor, as (digest of the genome, bytes)."""
        by_tensor: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
        for own, holder in holders.items():
            known = holder.found.tensors if holder.found is not None else self._kept[own]
            for tensor, count in known.items():
                by_tensor[tensor].append((own, count))
        return by_tensor

    def _holders(self) -> dict[str, _Holder]:
        """Everybody of this scan, and those of the registry who hold a tensor of theirs."""
        holders: dict[str, _Holder] = {}
        for one in self.found:
            if one.tensors and one.genome.digest not in holders:
                total = sum(one.tensors.values())
                holders[one.genome.digest] = _Holder(
                    one.genome.digest, one.name, one.modified, total, one
                )
        asked = list({tensor for one in self.found for tensor in one.tensors})
        self._kept: dict[str, dict[bytes, int]] = defaultdict(dict)
        ids: dict[int, str] = {}
        for start in range(0, len(asked), MOST):
            where, values = self.connection.one_of("t.digest", asked[start : start + MOST])
            for own, digest, tensor, count in self.connection.rows(
                f"""SELECT t.organism, o.digest, t.digest, t.bytes FROM tensor t
                    JOIN organism o ON o.id = t.organism WHERE {where}""",
                values,
            ):
                if digest is not None and bytes(digest).hex() not in holders:
                    ids[own] = bytes(digest).hex()
                    self._kept[ids[own]][bytes(tensor)] = count
        for own, name, total, modified in self._about(ids):
            digest = ids[own]
            label = name or digest[:12]
            self.labels.setdefault(digest, label)
            holders[digest] = _Holder(digest, label, modified or 0, int(total))
        return holders

    def _about(self, ids: Iterable[int]) -> Iterator[tuple[int, str | None, int, int | None]]:
        """Name, bytes of all tensors, and time of the weights of organisms of the registry."""
        packed = self.connection.pack(ids)
        yield from self.connection.rows(
            f"""SELECT i.id,
                  (SELECT n.name FROM name n WHERE n.organism = i.id AND n.rank = 0),
                  (SELECT sum(t.bytes) FROM tensor t WHERE t.organism = i.id),
                  (SELECT max(f.modified) FROM place p JOIN file f ON f.place = p.id
                   WHERE p.organism = i.id AND f.genome = 1)
                FROM {self.connection.ids} AS i""",
            (packed,),
        )

    def _confirm(
        self, own: _Holder, others: Mapping[str, int], settled: set[tuple[str, str]]
    ) -> None:
        """Tensors confirm a parent that a file named."""
        assert own.found is not None
        for link in list(self.result.links.get(own.found.candidate.place, ())):
            ref = str(link.how.ref)
            if ref in others:
                settled |= {(own.digest, ref), (ref, own.digest)}
                share = others[ref] / own.total
                if share >= LEAST_SHARE:
                    self._propose(own.found, ref, link.relation, "hashed", "tensors", share)

    def _merged(
        self, own: _Holder, others: Mapping[str, int], holders: Mapping[str, _Holder],
        shared: Mapping[tuple[str, str], int], settled: set[tuple[str, str]],
    ) -> None:  # fmt: skip
        """A checkpoint that contains several others which share nothing is their merge."""
        assert own.found is not None
        chosen: list[_Holder] = []
        inside = [
            holders[other]
            for other, count in others.items()
            if count >= WHOLE * holders[other].total and holders[other].total < WHOLE * own.total
        ]
        for one in sorted(inside, key=lambda one: (-one.total, one.digest)):
            if not any(_pair(one.digest, other.digest) in shared for other in chosen):
                chosen.append(one)
        if len(chosen) < 2:
            return
        for one in chosen:
            settled |= {(own.digest, one.digest), (one.digest, own.digest)}
            share = others[one.digest] / one.total
            self._propose(own.found, one.digest, "merge", "hashed", "tensors", share)

    def _nearest(
        self, own: _Holder, others: Mapping[str, int], holders: Mapping[str, _Holder],
        settled: set[tuple[str, str]],
    ) -> None:  # fmt: skip
        """The older checkpoint with which one shares most, where no parent that shares tensors with
        it is known. Which is older, the times of the files must tell."""
        assert own.found is not None
        if any((own.digest, other) in settled for other in others):
            return
        older = [
            holders[other]
            for other, count in others.items()
            if count >= LEAST_SHARE * own.total
            and holders[other].total >= WHOLE * own.total
            and own.total >= WHOLE * holders[other].total
            and 0 < holders[other].modified < own.modified - APART
        ]
        if not older:
            return
        parent = max(older, key=lambda one: (others[one.digest], -one.modified, one.digest))
        share = others[parent.digest] / own.total
        relation = "convert" if share > 0.999 else "finetune"
        self._propose(own.found, parent.digest, relation, "hashed", BY_TIMES, share)
        settled |= {(own.digest, parent.digest), (parent.digest, own.digest)}

    def _open(
        self, shared: Mapping[tuple[str, str], int], holders: Mapping[str, _Holder],
        settled: set[tuple[str, str]],
    ) -> None:  # fmt: skip
        """Pairs that share much, of which nothing tells who descends from whom."""
        has_parent = {child for child, _ in settled}
        for (a, b), count in sorted(shared.items()):
            one, other = holders[a], holders[b]
            of_a, of_b = count / one.total, count / other.total
            known = (a, b) in settled or (a in has_parent and b in has_parent)
            if max(of_a, of_b) >= LEAST_SHARE and not known:
                self.result.related.append(Related(one.label, other.label, of_a, of_b))


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)


def _shared_bytes(
    holders: Mapping[str, _Holder], by_tensor: Mapping[bytes, Sequence[tuple[str, int]]]
) -> Counter[tuple[str, str]]:
    """Bytes of the tensors that each pair shares, of which one at least is of this scan."""
    shared: Counter[tuple[str, str]] = Counter()
    for holding in by_tensor.values():
        if not 1 < len(holding) <= MOST_HOLDERS:
            continue
        for index, (a, count) in enumerate(holding):
            for b, _ in holding[index + 1 :]:
                if holders[a].found is not None or holders[b].found is not None:
                    shared[_pair(a, b)] += count
    return shared
