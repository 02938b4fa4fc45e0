"""The domain types: what a checkpoint is, without a word of SQL. Frozen dataclasses, the closed
vocabularies they use, and the checks that keep a NaN or an unknown relation out of the registry."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar

from lineage.answers import Answer
from lineage.errors import InvalidValue

RELATIONS = (
    "finetune",
    "adapter",
    "quantized",
    "merge",  # the Hub's own spelling
    "continue",
    "distill",
    "prune",
    "convert",
)
EVIDENCE = ("declared", "configured", "hashed", "weighed", "named")
STATUSES = ("alive", "selected_against", "culled")
KINDS = ("genomic", "epigenetic")
DIRECTIONS = ("higher", "lower")
PHASES = ("training", "serving", "evaluation", "storage")
PERS = ("total", "token", "character", "request", "image", "hour")
CONFIGURATIONS = ("model", "training")
SOURCES = ("measured", "estimated", "declared")

NEEDED_AT_RUN_TIME = ("adapter",)
"""Relations whose child does not run without its parent (an epigenetic child never does)."""

# Metrics whose direction is common knowledge. What is not listed is unknown until it is declared.
_HIGHER = re.compile(
    r"^(acc|accuracy|balanced_accuracy|f1|exact_match|em|bleu|sacrebleu|chrf|meteor|rouge\w*|"
    r"pass@\d+|maj@\d+|acc@\d+|acc_norm|auc|auroc|roc_auc|map|map50|mrr|ndcg|ndcg@\d+|recall|"
    r"recall@\d+|precision|precision@\d+|mcc|matthews_correlation|r2|spearmanr?|pearsonr?|iou|miou|"
    r"psnr|ssim|win_rate|elo|score|mc1|mc2|bertscore|comet|clip_score)$"
)
_LOWER = re.compile(
    r"^(loss|\w*_loss|ppl|perplexity|word_perplexity|byte_perplexity|bpc|bpb|bits_per_\w+|nll|"
    r"cross_entropy|wer|cer|ter|mse|mae|rmse|mape|error|\w*error_rate|eer|fid|kid|lpips|brier|ece)$"
)
_NEVER_FITNESS = re.compile(
    r"^(\w*runtime|\w*_per_second|\w*steps_per_\w+|epoch|epochs|step|global_step|\w*time|"
    r"\w*_ms|\w*seconds|latency\w*|throughput\w*|grad_norm|learning_rate|lr|total_flos)$"
)


def never_fitness(metric: str) -> bool:
    """Whether a number of this name is no fitness: timings, throughputs, epochs, steps, gradient
    norms, learning rates."""
    return _NEVER_FITNESS.match(_bare(metric)) is not None


def _bare(metric: str) -> str:
    return re.sub(r"^(eval|test|val|valid|validation)[_/]", "", metric.lower())


@lru_cache(maxsize=4096)
def known_direction(metric: str) -> str | None:
    """`higher` or `lower` where the direction of `metric` is common knowledge, else None.

    A leading `eval_` or `test_` is ignored. Timings, epochs, gradient norms and learning rates
    have no direction: they are no fitness."""
    bare = _bare(metric)
    if never_fitness(metric):
        return None
    if _HIGHER.match(bare):
        return "higher"
    return "lower" if _LOWER.match(bare) else None


def one_of(value: str, allowed: Iterable[str], what: str) -> str:
    """`value` when it is one of `allowed`, else InvalidValue that lists them."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise InvalidValue(f"{what} {value!r} is unknown. It is one of: {', '.join(allowed)}.")
    return value


def finite(value: Any, what: str, *, least: float | None = None) -> float:
    """`value` as a finite float no smaller than `least`, else InvalidValue that names it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidValue(f"{what} must be a number, not {value!r}.") from None
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise InvalidValue(
            f"{what} is {number}, which cannot be compared. Leave it out if it is unknown."
        )
    if least is not None and number < least:
        raise InvalidValue(f"{what} is {number:g}; it cannot be below {least:g}.")
    return number


def whole(value: Any, what: str, *, least: int = 0) -> int:
    """`value` as an integer in [least, 2**63), else InvalidValue that names it."""
    number = finite(value, what, least=least)
    if number != int(number) or number >= 2**63:
        raise InvalidValue(f"{what} must be a whole number below 2**63, not {value!r}.")
    return int(value) if isinstance(value, int) else int(number)


def utc(value: Any, what: str = "time") -> datetime:
    """A time as an aware UTC datetime. Takes a datetime, seconds since 1970, or ISO 8601 text;
    a time without a zone is read as UTC."""
    try:
        if isinstance(value, datetime):
            at = value
        elif isinstance(value, str):
            at = datetime.fromisoformat(value)
        elif isinstance(value, bool):
            raise ValueError
        else:
            at = datetime.fromtimestamp(finite(value, what), UTC)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidValue(
            f"{what} {value!r} is not a time. Write ISO 8601, like 2026-11-24T12:00:00Z."
        ) from error


_SURROGATE = re.compile("[\ud800-\udfff]")


def text(value: Any, what: str) -> str:
    """`value` as text that both databases can hold: not empty, without NUL or lone surrogates."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidValue(f"{what} must be text that is not empty, not {value!r}.")
    if "\x00" in value or not (value.isascii() or _SURROGATE.search(value) is None):
        raise InvalidValue(f"{what} {value!r} holds a character that no database keeps.")
    return value


@dataclass(frozen=True, slots=True)
class Niche:
    """A task, a metric and a split. Written `task/metric`; the last slash splits."""

    task: str
    metric: str
    split: str = ""

    @staticmethod
    def parse(niche: str, split: str = "") -> Niche:
        """`gsm8k/acc` as a Niche. Raises InvalidValue where there is no slash."""
        return _parsed(text(niche, "niche"), split or "")

    def __str__(self) -> str:
        return f"{self.task}/{self.metric}" + (f" ({self.split})" if self.split else "")


@lru_cache(maxsize=4096)  # a run scores in the same niches over and over
def _parsed(niche: str, split: str) -> Niche:
    task, slash, metric = niche.rpartition("/")
    if not slash or not task.strip() or not metric.strip():
        raise InvalidValue(
            f"niche {niche!r} is not a task and a metric. Write task/metric, like gsm8k/acc."
        )
    return Niche(task, metric, split)


@dataclass(frozen=True, slots=True)
class Score(Answer):
    """A fitness: what an organism scored in a niche (`task/metric`).

    `direction` (`higher` or `lower` is better) is taken from common knowledge of the metric when
    it is not given, and stays None when neither knows. `stderr` is one standard error in units of
    `value`; `n` is the number of examples; `at` is when it was evaluated, in UTC. `retracted` is
    why it was struck out: it counts no more."""

    niche: Niche | str
    value: float
    stderr: float | None = None
    n: int | None = None
    direction: str | None = None
    split: str = ""
    at: datetime | None = None
    retracted: str | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        niche = self.niche
        niche = niche if isinstance(niche, Niche) else Niche.parse(niche, self.split)
        set_(self, "niche", niche)
        set_(self, "split", niche.split)
        if type(self.value) is not float or not math.isfinite(self.value):
            set_(self, "value", finite(self.value, f"the score in {niche}"))
        if self.stderr is not None:
            set_(self, "stderr", finite(self.stderr, f"the standard error in {niche}", least=0))
        if self.n is not None:
            set_(self, "n", whole(self.n, f"the sample size in {niche}", least=1))
        if self.direction:
            one_of(self.direction, DIRECTIONS, "direction")
        else:
            set_(self, "direction", known_direction(niche.metric))
        if self.at is not None:
            set_(self, "at", utc(self.at))

    def _column(self) -> tuple[str, Any]:
        return str(self.niche), self.value


@dataclass(frozen=True, slots=True)
class PowerCost(Answer):
    """What an organism costs in one phase, in SI units (J, W, s) and the units named.

    `per="total"`: an interval of work, told apart by `uuid`; totals of a phase add up, each uuid
    once. Any other `per`: a rate (joules a token, say), of which the latest counts. `joules` is
    `watts * seconds` when only those are given for a total, and `watts * 3600` an hour.
    `source` says how it is known; `meter` by what. `at` is when, in UTC. `retracted` is why it was
    struck out: it counts no more."""

    joules: float | None = None
    phase: str = "training"
    per: str = "total"
    source: str = "declared"
    watts: float | None = None
    seconds: float | None = None
    cost: float | None = None
    currency: str | None = None
    gco2e: float | None = None
    meter: str | None = None
    uuid: str | None = None
    at: datetime | None = None
    retracted: str | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        one_of(self.phase, PHASES, "phase")
        one_of(self.per, PERS, "per")
        one_of(self.source, SOURCES, "source")
        for unit in ("joules", "watts", "seconds", "cost", "gco2e"):
            value = getattr(self, unit)
            if value is not None:
                set_(self, unit, finite(value, unit, least=0))
        if self.joules is None and self.watts is not None:
            if self.per == "hour":
                set_(self, "joules", self.watts * 3600.0)
            elif self.per == "total" and self.seconds is not None:
                set_(self, "joules", self.watts * self.seconds)
        if all(getattr(self, u) is None for u in ("joules", "watts", "seconds", "cost", "gco2e")):
            raise InvalidValue(
                "a power cost needs at least one of joules, watts, seconds, cost and gco2e."
            )
        if self.cost is not None and not self.currency:
            raise InvalidValue(
                f"a cost of {self.cost:g} needs a currency: currency='EUR', for one."
            )
        if self.at is not None:
            set_(self, "at", utc(self.at))

    def _column(self) -> tuple[str, Any]:
        return f"{self.phase} J/{self.per}", self.joules


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent to be linked: any reference (name, `name@v2`, digest, `hf:` or path, an Organism),
    how the child came from it, how that is known (`evidence`), the `confidence` in it (0 to 1)
    and the parent's share (`weight`, any finite number: task arithmetic subtracts).

    `needed` says that the child does not run without it; by default that is so for adapters and
    for epigenetic children."""

    ref: Any
    relation: str | None = None
    weight: float | None = None
    evidence: str = "declared"
    confidence: float | None = None
    needed: bool | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if self.relation is not None:
            one_of(self.relation, RELATIONS, "relation")
        one_of(self.evidence, EVIDENCE, "evidence")
        if self.weight is not None:
            set_(self, "weight", finite(self.weight, "the weight of a parent"))
        if self.confidence is not None:
            confidence = finite(self.confidence, "confidence", least=0)
            if confidence > 1:
                raise InvalidValue(f"confidence is {confidence:g}; it lies between 0 and 1.")
            set_(self, "confidence", confidence)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a checkpoint folder. `path` is relative to the place, with forward slashes;
    `sha256` is 64 hex digits; `genome` tells weights from what is carried along; `modified` is the
    time of last modification when it was hashed, in nanoseconds since 1970, None where it is not
    known."""

    path: str
    bytes: int
    sha256: str
    genome: bool
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of an organism are: an absolute path, a URI, or `hf:org/name@revision`.
    `gone_at` is set when they are there no more; `quarantine` is the folder into which its weights
    were culled, from where `restore` puts them back."""

    uri: str
    host: str | None = None
    gone_at: datetime | None = None
    quarantine: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Organism(Answer):
    """One registered checkpoint. `digest` is 64 hex digits, None until files are seen. A `ghost`
    was named as a parent and is not yet registered, or its registration was `retracted`, for the
    reason there. `generation` is the longest distance from a founder; `bytes` the size of the
    genome; `latest` says that its bare name means this version. One without name and digest is
    known by its `place` alone."""

    _brief: ClassVar[tuple[str, ...]] = (
        "name", "version", "status", "generation", "parameters", "bytes",
    )  # fmt: skip

    id: int
    name: str | None
    version: int | None
    digest: str | None
    status: str
    ghost: bool
    kind: str
    generation: int
    protected: bool
    here: bool
    parameters: int | None
    bytes: int | None
    architecture: str | None
    precision: str | None
    licence: str | None
    run: str | None
    step: int | None
    created: datetime | None
    registered: datetime | None
    latest: bool = True
    retracted: str | None = None
    place: str | None = None

    @property
    def ref(self) -> str:
        """A reference that fits this organism alone: `name@v2`, else its digest."""
        if self.name is not None:
            return f"{self.name}@v{self.version}"
        return self.digest or f"#{self.id}"

    def __repr__(self) -> str:
        digest = f" {self.digest[:12]}" if self.digest else ""
        return f"<Organism {self.ref}{digest} {'ghost' if self.ghost else self.status}>"

    def __str__(self) -> str:
        if self.name is None:
            return self.digest[:12] if self.digest else self.place or f"#{self.id}"
        return self.name if self.latest and self.version == 1 else self.ref


@dataclass(frozen=True, slots=True)
class Link(Answer):
    """A parent link between two organisms with every evidence for it."""

    child: Organism
    parent: Organism
    relation: str
    weight: float | None
    needed: bool
    evidence: tuple[Parent, ...] = ()


@dataclass(frozen=True, slots=True)
class Event(Answer):
    """Something that happened to an organism: who (`user`, `host`, `pid`, `command`), when, what
    (`kind`), and the numbers (`body`)."""

    id: int
    organism: int | None
    kind: str
    at: datetime
    user: str
    host: str
    pid: int
    command: str
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record(Answer):
    """Everything known of one organism."""

    _rows: ClassVar[str] = "scores"

    organism: Organism
    names: tuple[tuple[str, int], ...]
    places: tuple[Place, ...]
    files: tuple[File, ...]
    parents: tuple[Link, ...]
    children: int
    scores: tuple[Score, ...]
    power: tuple[PowerCost, ...]
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    load_bearing: bool
    events: tuple[Event, ...]
