"""The family as columns of numbers and text, row by row of the layout: what the page draws from.
One block is enough to draw; the other holds the details, opened when they are first needed."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lineage.organism import Niche, Score
from lineage.shown import counted, shown
from lineage.trees import words
from lineage.trees.family import Family, Member
from lineage.trees.heat import MANY
from lineage.trees.layout import Layout, Row, arrange
from lineage.trees.window import Spread, Window

if TYPE_CHECKING:
    import numpy

STATUSES = ("alive", "selected against", "culled", "ghost")
PROTECTED, BEARING, ESTIMATED, PROPOSED, GUARDED, BUNDLE = (1 << bit for bit in range(2, 8))
"""What the byte `flags` holds above the two bits of the status."""

SOURCES = ("measured", "estimated", "declared")
UNKNOWN = 0xFFFFFFFF
"""An unknown whole number; an unknown real one is NaN. Neither is ever shown."""

TEXT, NUMBERS = "text", {"u8": "<u1", "u32": "<u4", "f32": "<f4", "f64": "<f8", "b32": "<u1"}


class Block:
    """Columns written one after the other. `b32` is 32 bytes a row; numbers of several bytes are
    stored a byte's place at a time, all first bytes first, which deflates better (the shuffle of
    HDF5); texts end in a line end, which `shown` keeps out of them."""

    def __init__(self, **head: Any) -> None:
        self.head = head
        self.columns: list[tuple[str, str, int]] = []
        self.parts: list[bytes] = []

    def numbers(self, name: str, kind: str, values: Sequence[Any] | numpy.ndarray) -> None:
        import numpy

        column = numpy.asarray(values, dtype=NUMBERS[kind])
        bytes_each = column.dtype.itemsize
        plain = column.view(numpy.uint8).reshape(-1, bytes_each)
        self._add(name, kind, numpy.ascontiguousarray(plain.T).tobytes())

    def digests(self, name: str, values: Iterable[str | None]) -> None:
        self._add(name, "b32", b"".join(bytes.fromhex(one or "00" * 32) for one in values))

    def texts(self, name: str, values: Iterable[str]) -> None:
        self._add(name, TEXT, "\n".join(values).encode())

    def words(self, name: str, values: Sequence[str | None]) -> None:
        """Texts of which there are few: a list of them, and numbers into it; 0 is none."""
        known = {"": 0}
        self.numbers(name, "u32", [known.setdefault(one or "", len(known)) for one in values])
        self.texts(f"{name}.words", known)

    def _add(self, name: str, kind: str, data: bytes) -> None:
        self.columns.append((name, kind, len(data)))
        self.parts.append(data)

    def packed(self, effort: int = 9) -> bytes:
        """Deflated without a header: the length of the head in four bytes, the head as JSON, then
        the columns that it lists as (name, kind, bytes)."""
        head = json.dumps(
            {**self.head, "columns": self.columns}, ensure_ascii=False, separators=(",", ":")
        ).encode()
        deflate = zlib.compressobj(effort, zlib.DEFLATED, -15)
        whole = (struct.pack("<I", len(head)), head, *self.parts)
        return b"".join([*(deflate.compress(part) for part in whole), deflate.flush()])


def pack(family: Family, title: str, version: int | None = None) -> tuple[bytes, bytes]:
    """What is needed to draw, and the details; both deflated. With a `version`, the last event
    that the family knows of, the page can ask a server for more: it is told the ids too."""
    layout = arrange(family)
    sheet = _Sheet(family, layout, title)
    drawn = sheet.drawn()
    if version is not None:
        drawn.head["version"] = version
        drawn.numbers("id", "u32", [0 if row.more else row.id for row in sheet.rows])
    return drawn.packed(), sheet.details().packed()


def pack_window(window: Window, title: str, version: int, details: bool) -> bytes:
    """What is needed to draw a window of `trees.window`, or its details; deflated. Beside what
    `pack` writes, each row has its position in the whole (`pos`), the organisms it stands for
    (`count`; of them `alive`, `against` and `culled`), its `clade` in the whole, the least and the
    largest generation in it, and whether the row above is the main parent itself (`direct`)."""
    sheet = _Sheet(window.family, window.layout(), title, window.spreads)
    if details:
        return sheet.details().packed(QUICK)
    drawn, stripes = sheet.drawn(), window.stripes
    drawn.head |= {
        "version": version,
        "counts": _whole(window),
        "hidden": 0,
        "window": {
            "snapshot": window.snapshot, "first": window.first, "last": window.last,
            "start": window.start, "end": window.end, "each": window.each,
            "above": window.above, "new": window.new,
        },
    }  # fmt: skip
    drawn.numbers("id", "u32", [one.id or 0 for one in stripes])
    for name, kind in WINDOW.items():
        drawn.numbers(name, kind, [getattr(one, SPELLED.get(name, name)) for one in stripes])
    return drawn.packed(QUICK)


QUICK = 4
"""How hard a window is deflated: a third of the time of 9, and a twentieth more bytes."""

WINDOW = {
    "pos": "u32", "count": "u32", "clade": "u32", "low": "u32", "high": "u32", "alive": "u32",
    "against": "u32", "culled": "u32", "direct": "u8",
}  # fmt: skip
SPELLED = {"pos": "position"}


def _whole(window: Window) -> list[str]:
    """The whole family in words."""
    parts = [counted(window.total, "organism")]
    if window.alive is not None:
        parts.append(f"{window.alive:,} alive")
    if window.new:
        parts.append(f"{window.new:,} since the snapshot")
    return parts


class _Sheet:
    """The family row by row: `members` and `facts`, their organisms, have None for a bundle. With
    `spreads` the niches and their scales are those of the whole registry."""

    def __init__(
        self, family: Family, layout: Layout, title: str, spreads: Sequence[Spread] = ()
    ) -> None:
        self.family, self.layout, self.title = family, layout, title
        self.rows = layout.rows
        self.at = {row.id: i for i, row in enumerate(self.rows) if not row.more}
        self.members = [None if row.more else family.members[row.id] for row in self.rows]
        self.facts = [None if one is None else one.organism for one in self.members]
        self.spreads = {one.niche: one for one in spreads}
        self.niches = list(self.spreads) or family.niches()
        self.scored = self._scored()
        self.units = words.joules_per(one.serving for one in self.known)
        times = [_born(one) for one in self.known]
        self.epoch = min((at for at in times if at is not None), default=0)

    @property
    def known(self) -> list[Member]:
        return [one for one in self.members if one is not None]

    # ---- enough to draw

    def drawn(self) -> Block:
        family, rows = self.family, self.rows
        shown_niche = family.shown_niche()
        block = Block(
            title=self.title,
            counts=words.census(family, self.layout),
            hidden=family.hidden,
            counted=family.counted,
            rows=len(rows),
            root=family.root is not None,
            epoch=self.epoch,
            statuses=STATUSES,
            niches=self._niches(),
            niche=self.niches.index(shown_niche) if shown_niche in self.niches else -1,
            units=[
                {"per": per, "factor": one.factor, "unit": one.unit, "words": one.words,
                 "digits": one.figures.digits}
                for per, one in self.units.items()
            ],
        )
        block.numbers("up", "u32", self._up())
        block.numbers("generation", "u32", [row.generation for row in rows])
        block.words("origin", [self._origin(row) for row in rows])
        block.numbers("flags", "u8", [self._flags(row) for row in rows])
        block.numbers("more", "u32", [row.more for row in rows])
        block.texts("name", ["" if one is None else shown(str(one)) for one in self.facts])
        self._axes(block)
        self._scores(block)
        self._links(block)
        return block

    def _up(self) -> list[int]:
        """How many rows above the main parent is; 0 for none."""
        return [
            0 if row.parent is None else i - self.at[row.parent] for i, row in enumerate(self.rows)
        ]

    def _origin(self, row: Row) -> str:
        if row.more:
            return ""
        return words.origin(self.family.members[row.id].organism, self.layout.main.get(row.id))

    def _flags(self, row: Row) -> int:
        if row.more:
            return BUNDLE
        member = self.family.members[row.id]
        guard = self.family.proposed.get(row.id)
        marks = {
            PROTECTED: member.organism.protected,
            BEARING: member.load_bearing,
            ESTIMATED: member.serving is not None and member.serving.source == "estimated",
            PROPOSED: guard == "" and member.organism.status == "alive",
            GUARDED: bool(guard),
        }
        flags = STATUSES.index(words.status(member.organism))
        return flags | sum(bit for bit, is_so in marks.items() if is_so)

    def _niches(self) -> list[dict[str, Any]]:
        scores: list[list[Score]] = [[] for _ in self.niches]
        for niche, _, score, _ in self.scored:
            scores[niche].append(score)
        return [self._niche(*one) for one in zip(self.niches, scores, strict=True)]

    def _niche(self, niche: Niche, scores: Sequence[Score]) -> dict[str, Any]:
        ways = {score.direction for score in scores}
        direction = ways.pop() if len(ways) == 1 else None
        values, scale = [score.value for score in scores], {}
        spread = self.spreads.get(niche)
        if spread is not None:
            direction, values = spread.direction, [spread.least, spread.most]
            best, worst = spread.most, spread.low if spread.scores > MANY else spread.least
            if direction == "lower":
                best, worst = spread.least, spread.high if spread.scores > MANY else spread.most
            scale = {"best": best, "worst": worst}
        return {
            "name": shown(str(niche)),
            "task": shown(niche.task),
            "metric": shown(niche.metric),
            "split": shown(niche.split),
            "direction": direction,
            "digits": words.figures(values).digits,
            "crowd": len(scores) if spread is None else spread.scores,
            **scale,
        }

    def _axes(self, block: Block) -> None:
        block.numbers("time", "u32", [
            UNKNOWN if one is None or (at := _born(one)) is None else at - self.epoch
            for one in self.members
        ])  # fmt: skip
        block.numbers("step", "u32", [
            UNKNOWN if one is None or one.organism.step is None
            else min(one.organism.step, UNKNOWN - 1)
            for one in self.members
        ])  # fmt: skip
        block.numbers("training", "f32", [
            _joules(None if one is None else one.training) for one in self.members])  # fmt: skip
        serving = [None if one is None else one.serving for one in self.members]
        units = list(self.units)
        block.numbers("power", "f32", [
            float("nan") if cost is None or cost.joules is None
            else cost.joules * self.units[cost.per].factor
            for cost in serving
        ])  # fmt: skip
        block.numbers("unit", "u8", [
            0 if cost is None or cost.joules is None else units.index(cost.per) for cost in serving
        ])  # fmt: skip

    def _scored(self) -> list[tuple[int, int, Score, bool]]:
        """(niche, row, score, whether on the front), niche by niche."""
        number = {niche: i for i, niche in enumerate(self.niches)}
        found = [
            (number[score.niche], i, score, str(score.niche) in one.front)
            for i, one in enumerate(self.members)
            if one is not None
            for score in one.scores
            if isinstance(score.niche, Niche) and score.niche in number
        ]
        return sorted(found, key=lambda known: known[:2])

    def _scores(self, block: Block) -> None:
        scored = self.scored
        counts = [0] * len(self.niches)
        for niche, *_ in scored:
            counts[niche] += 1
        block.numbers("scores", "u32", counts)
        block.numbers("score.row", "u32", _steps([(niche, row) for niche, row, *_ in scored]))
        block.numbers("score.value", "f32", [score.value for _, _, score, _ in scored])
        block.numbers("score.front", "u8", [front for *_, front in scored])

    def _links(self, block: Block) -> None:
        """The links to further parents, and the shares of main parents where there are several."""
        links = sorted(self.layout.further, key=lambda link: self.at[link.child])
        children = {link.child for link in links}
        shares = words.shares_of(one for one in self.family.branches if one.child in children)
        block.numbers("further.child", "u32", [self.at[link.child] for link in links])
        block.numbers("further.parent", "u32", [self.at[link.parent] for link in links])
        block.words("further.relation", [link.relation for link in links])
        block.words("further.share", [shares[link.child, link.parent] for link in links])
        block.numbers("further.weight", "f32", [_number(link.weight) for link in links])
        block.words("share", [
            "" if one is None or (main := self.layout.main.get(one.organism.id)) is None
            else shares.get((main.child, main.parent), "")
            for one in self.members
        ])  # fmt: skip

    # ---- the details

    def details(self) -> Block:
        block, members = Block(), self.members
        self._facts(block)
        block.words("aliases", [
            "" if one is None else "\t".join(map(shown, one.aliases))
            for one in members
        ])  # fmt: skip
        block.words("tags", [
            "" if one is None
            else "\t".join(shown(f"{key} {value}".strip()) for key, value in one.tags)
            for one in members
        ])  # fmt: skip
        block.words("reason", ["" if one is None else _said(one.reason) for one in members])
        block.words("guard", [
            "" if one is None else self.family.proposed.get(one.organism.id, "") for one in members
        ])  # fmt: skip
        block.words("meter", [
            _said(one.serving.meter) if one is not None and one.serving is not None else ""
            for one in members
        ])  # fmt: skip
        for phase in ("serving", "training"):
            block.words(f"{phase}.source", [
                cost.source if one is not None and (cost := getattr(one, phase)) else ""
                for one in members
            ])  # fmt: skip
        self._doubts(block)
        self._rivals(block)
        self._history(block)
        return block

    def _facts(self, block: Block) -> None:
        facts = self.facts
        block.digests("digest", [None if one is None else one.digest for one in facts])
        for name in ("architecture", "precision", "licence", "run"):
            block.words(name, [_said(getattr(one, name, None)) for one in facts])
        block.words("kind", [
            "" if one is None or one.kind == "genomic" else one.kind for one in facts
        ])  # fmt: skip
        for name in ("parameters", "bytes"):
            block.numbers(name, "f64", [_number(getattr(one, name, None)) for one in facts])
        for name in ("created", "registered"):
            block.numbers(name, "f64", [_moment(getattr(one, name, None)) for one in facts])
        block.numbers("version", "u32", [
            0 if one is None or one.name is None else one.version or 0
            for one in facts
        ])  # fmt: skip

    def _doubts(self, block: Block) -> None:
        """In the order of the scores: standard errors, sample sizes."""
        scores = [score for _, _, score, _ in self.scored]
        block.numbers("score.stderr", "f32", [_number(score.stderr) for score in scores])
        block.numbers("score.n", "f64", [_number(score.n) for score in scores])

    def _rivals(self, block: Block) -> None:
        number = {str(niche): i for i, niche in enumerate(self.niches)}
        rivals = [
            (i, number[by.niche], by)
            for i, one in enumerate(self.members)
            if one is not None
            for by in one.rivals
            if by.niche in number
        ]
        scale = {per: one.factor for per, one in self.units.items()}
        block.numbers("rival.row", "u32", _steps([(0, row) for row, _, _ in rivals]))
        block.numbers("rival.niche", "u32", [niche for _, niche, _ in rivals])
        block.words("rival.name", [shown(by.name) for _, _, by in rivals])
        block.numbers("rival.value", "f32", [by.value for _, _, by in rivals])
        block.numbers("rival.power", "f32", [
            by.joules * scale.get(by.per, float("nan")) for _, _, by in rivals])  # fmt: skip

    def _history(self, block: Block) -> None:
        past = [
            (i, event) for i, one in enumerate(self.members) if one is not None
            for event in one.history
        ]  # fmt: skip
        block.numbers("event.row", "u32", _steps([(0, row) for row, _ in past]))
        block.words("event.kind", [event.kind for _, event in past])
        block.numbers("event.at", "f64", [event.at.timestamp() // 1 for _, event in past])
        block.words("event.who", [shown(event.who) for _, event in past])
        block.words("event.command", [shown(event.command) for _, event in past])


def _steps(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The distance of each row to the one before in the same group: small numbers deflate well."""
    steps, group, last = [], None, 0
    for one, row in pairs:
        steps.append(row if one != group else row - last)
        group, last = one, row
    return steps


def _born(member: Member) -> int | None:
    """Seconds since 1970 when it was made, else when it was registered."""
    at = member.organism.created or member.organism.registered
    return None if at is None else int(at.timestamp())


def _moment(at: datetime | None) -> float:
    return float("nan") if at is None else float(int(at.timestamp()))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _joules(cost: Any) -> float:
    return float("nan") if cost is None else _number(cost.joules)


def _said(text: str | None) -> str:
    return "" if text is None else shown(text)
