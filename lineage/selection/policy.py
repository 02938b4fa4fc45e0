"""Policies: what a person lets selection do. A frozen dataclass, read from TOML with errors that
name the line, and told as sentences. docs/selection.md says what each setting does."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from lineage.answers import Answer
from lineage.errors import InvalidValue
from lineage.organism import finite, text
from lineage.shown import count

KWH = 3.6e6
"""Joules."""

SECONDS = {"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
         "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}  # fmt: skip
MOST = 10**12
"""Of what is counted, organisms and steps; and of seconds: some 30,000 years."""
TRAFFIC = ("token", "character", "request", "image", "hour")


@dataclass(frozen=True, slots=True)
class KeepBest:
    """Keep the best `n` in `niche` (in every counted niche where it is None), of all or in each
    run, clade (under one founder) or species (of one architecture)."""

    n: int = 1
    niche: str | None = None
    per: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a policy may propose: those that fit all that is given. `name` and `run` may hold * and
    ?; `tag` is a key or key=value; `clade` a reference to its founder; `age` in seconds."""

    name: str | None = None
    run: str | None = None
    tag: str | None = None
    clade: str | None = None
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """Money a unit: `amount` in `currency`."""

    amount: float
    currency: str


@dataclass(frozen=True, slots=True)
class Budget:
    """`amount` of `unit`: joules or money a month (`J`, or a currency), or `B`, bytes."""

    amount: float
    unit: str


@dataclass(frozen=True, slots=True)
class Policy(Answer):
    """What selection compares, whom it may propose and whom it spares. `confidence` is that of a
    pair, one-sided; `delta` is in units of the metric; `cost_margin` a share; times in seconds;
    `price` a kWh, `storage_price` a GB and month, `carbon` in grams a kWh; `traffic` a month, by
    unit."""

    name: str = "frontier"
    retire: str = "dominated"
    cost: str = "joules"
    confidence: float = 0.999
    correct_comparisons: bool = False
    delta: float = 0.0
    cost_margin: float = 0.0
    mix_estimates: bool = False
    allow_remote: bool = False
    duplicates: str = "keep"
    niches: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    scope: Scope = Scope()
    protect: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ("production",)
    grace: float = 0.0
    keep_founders: bool = False
    keep_best: KeepBest | None = None
    keep_last: int = 0
    keep_every: int = 0
    keep_within: float = 0.0
    budget: Budget | None = None
    traffic: Mapping[str, float] = field(default_factory=dict)
    price: Price | None = None
    storage_price: Price | None = None
    carbon: float | None = None


FRONTIER = Policy()

READY = {
    "frontier": FRONTIER,
    "best-per-niche": Policy("best-per-niche", retire="scored", keep_best=KeepBest()),
    "storage": Policy("storage", cost="bytes"),
    # what transformers' save_total_limit=4 with load_best_model_at_end always retains of each run
    "trainer-rotation": Policy(
        "trainer-rotation", retire="all", scope=Scope(run="*"), keep_last=3,
        keep_best=KeepBest(per="run"),
    ),
}  # fmt: skip
"""Policies that need no file."""


# ---- Values as people write them


def _choice(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in allowed:
            raise InvalidValue(f"is one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return parse


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"is true or false, not {value!r}")
    return value


def _within(low: float, high: float = inf) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if number is None or not low <= number < high:
            below = f" and below {high:g}" if high < inf else ""
            raise InvalidValue(f"is a number, {low:g} or more{below}, not {value!r}")
        return float(number)

    return parse


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise InvalidValue(f"is a whole number from 1 to {MOST:,}, not {value!r}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise InvalidValue(f'is a list of texts, like ["a", "b"], not {value!r}')
    return tuple(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidValue(f"is a text, not {value!r}")
    return text(value, "it")


def seconds(value: Any) -> float:
    """`45min`, `12h`, `30d`, `2w` as seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(min|h|d|w)\s*", value) if isinstance(
        value, str) else None  # fmt: skip
    if match is None:
        raise InvalidValue(f"is a time like 45min, 12h, 30d or 2w, not {value!r}")
    return float(match[1]) * SECONDS[match[2]]


def _age(value: Any) -> float:
    found = seconds(value)
    if found >= MOST:
        raise InvalidValue(f"is longer than 30,000 years: {value!r}")
    return found


def _steps(value: Any) -> int:
    match = re.fullmatch(r"\s*(\d+)\s*steps?\s*", value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= MOST:
        raise InvalidValue(f'is a number of steps, like "1000 steps", not {value!r}')
    return int(match[1])


_AMOUNT = re.compile(r"\s*([\d.]+(?:[eE][+-]?\d+)?)\s*(\S.*?)\s*")


def _amount(value: Any, like: str) -> tuple[float, str]:
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    try:
        number = finite(match[1], "it") if match else None
    except InvalidValue:
        number = None
    if match is None or number is None:
        raise InvalidValue(f"is an amount like {like}, not {value!r}")
    return number, re.sub(r"\s*/\s*", "/", match[2])


def _budget(value: Any) -> Budget:
    amount, unit = _amount(value, '"2 TB", "40 kWh/month" or "500 EUR/month"')
    if unit in BYTES:
        return Budget(amount * BYTES[unit], "B")
    if unit == "kWh/month":
        return Budget(amount * KWH, "J")
    if match := re.fullmatch(r"([A-Z]{3})/month", unit):
        return Budget(amount, match[1])
    raise InvalidValue(
        f'has the unit {unit!r}. Write bytes ("2 TB"), "40 kWh/month" or "500 EUR/month"'
    )


def _price(of: str) -> Callable[[Any], Price]:
    def parse(value: Any) -> Price:
        amount, unit = _amount(value, f'"0.40 EUR/{of}"')
        match = re.fullmatch(rf"([A-Z]{{3}})/{of}", unit)
        if match is None:
            raise InvalidValue(f'has the unit {unit!r}. Write money a {of}, like "0.40 EUR/{of}"')
        return Price(amount, match[1])

    return parse


def _carbon(value: Any) -> float:
    amount, unit = _amount(value, '"380 g/kWh"')
    if unit != "g/kWh":
        raise InvalidValue(f'has the unit {unit!r}. Write "380 g/kWh"')
    return amount


def traffic(value: Any) -> Mapping[str, float]:
    """`2e9 tokens/month`, or a list of such, as amounts a month by unit."""
    found = {}
    for one in value if isinstance(value, list) else [value]:
        amount, unit = _amount(one, '"2e9 tokens/month"')
        match = re.fullmatch(r"(\w+?)s?/month", unit)
        if match is None or match[1] not in TRAFFIC:
            raise InvalidValue(
                f"has the unit {unit!r}. Write {', '.join(f'{one}s' for one in TRAFFIC)} a month, "
                'like "2e9 tokens/month"'
            )
        if match[1] in found:
            raise InvalidValue(f"says {match[1]}s twice")
        found[match[1]] = amount
    return found


class _Inside(InvalidValue):
    """What is wrong in a setting that is a table is at this key of it."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def _table(kind: type, parsers: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if not isinstance(value, dict):
            raise InvalidValue(f"is a table with {', '.join(parsers)}, not {value!r}")
        found = {}
        for key, held in value.items():
            try:
                _known(key, parsers, f"has {key!r}, which is unknown")
            except InvalidValue as error:
                raise _Inside(str(error), key) from None
            try:
                found[key] = parsers[key](held)
            except InvalidValue as error:
                raise _Inside(f"has {key}, which {error}", key) from None
        return kind(**found)

    return parse


def _known(key: str, parsers: Mapping[str, Any], unknown: str) -> None:
    if key not in parsers:
        near = difflib.get_close_matches(key, parsers, 1, 0.5)
        hint = f"Is {near[0]!r} meant?" if near else f"There are: {', '.join(parsers)}."
        raise InvalidValue(f"{unknown}. {hint}")


SETTINGS: dict[str, Callable[[Any], Any]] = {
    "retire": _choice("dominated", "scored", "all"),
    "cost": _choice("joules", "bytes"),
    "confidence": _within(0.5, 1),
    "correct_comparisons": _flag,
    "delta": _within(0),
    "cost_margin": _within(0, 1),
    "mix_estimates": _flag,
    "allow_remote": _flag,
    "duplicates": _choice("keep", "oldest", "newest"),
    "niches": _texts,
    "leave_out": _texts,
    "scope": _table(
        Scope, {"name": _text, "run": _text, "tag": _text, "clade": _text, "age": _age}
    ),
    "protect": _texts,
    "aliases": _texts,
    "grace": _age,
    "keep_founders": _flag,
    "keep_best": _table(
        KeepBest, {"n": _count, "niche": _text, "per": _choice("run", "clade", "species")}
    ),
    "keep_last": _count,
    "keep_every": _steps,
    "keep_within": _age,
    "budget": _budget,
    "traffic": traffic,
    "price": _price("kWh"),
    "storage_price": _price("GB/month"),
    "carbon": _carbon,
}
"""How each setting is read. A message continues `NAME `: `is one of ...`."""


# ---- Files


def load(asked: str) -> Policy:
    """A ready-made policy by its name, or one out of a TOML file: `FILE`, or `FILE:NAME` where the
    file has several. InvalidValue names the file and the line."""
    if asked in READY:
        return READY[asked]
    file, _, name = asked.partition(":") if not os.path.exists(asked) else (asked, "", "")
    try:
        written = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidValue(
            f"{asked!r} is no policy ({why}). Give a TOML file, or one of: {', '.join(READY)}."
        ) from None
    known = parse(written, file)
    if name:
        if name not in known:
            raise InvalidValue(f"{file} has no policy {name!r}. It has: {', '.join(known)}.")
        return known[name]
    if len(known) != 1:
        raise InvalidValue(
            f"{file} has {len(known)} policies: {', '.join(known)}. Choose one: {file}:NAME."
        )
    return next(iter(known.values()))


def parse(written: str, file: str = "the policy") -> dict[str, Policy]:
    """The policies of a TOML text, each a table with its name, in their order."""
    try:
        tables = tomllib.loads(written)
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"{file} is no TOML: {error}.") from None
    found = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InvalidValue(
                f"{file}, line {_line(written, '', name)}: {name!r} stands in no policy. Begin "
                "with a name of your own, like [nightly]."
            )
        found[name] = _policy(name, table, written, file)
    if not found:
        raise InvalidValue(f"{file} has no policy. Begin with a name of your own, like [nightly].")
    return found


def _policy(name: str, table: Mapping[str, Any], written: str, file: str) -> Policy:
    values = {}
    for key, value in table.items():
        at = f"{file}, line {_line(written, name, key)}"
        try:
            _known(key, SETTINGS, f"{key!r} in a policy is unknown")
        except InvalidValue as error:
            raise InvalidValue(f"{at}: {error}") from None
        try:
            values[key] = SETTINGS[key](value)
        except InvalidValue as error:
            inner = error.key if isinstance(error, _Inside) else ""
            at = f"{file}, line {_line(written, name, key, inner)}"
            raise InvalidValue(f"{at}: {_sentence(key, error)}") from None
    policy = Policy(name, **values)
    if problem := impossible(policy):
        key, why = problem
        raise InvalidValue(f"{file}, line {_line(written, name, key)}: {why}")
    return policy


def _sentence(key: str, error: InvalidValue) -> str:
    said = f"{key} {error}"
    return said if said.endswith((".", "?")) else f"{said}."


_KEYS = re.compile(r"""\s*(?:\[+([^\]=]+)\]|((?:"[^"]*"|'[^']*'|[\w.\s-])+?)\s*=)""")
"""A heading of a TOML text, or what a line of it sets."""


def _line(written: str, table: str, key: str, inner: str = "") -> int:
    """The line of a key in a table of a TOML text, or of one within that key."""
    wanted = [table, key] if table else [key]
    path: list[str] = []
    first = 0
    for number, line in enumerate(written.splitlines(), 1):
        match = _KEYS.match(line)
        if match is None:
            continue
        parts = re.findall(r"""[^\s."']+|"[^"]*"|'[^']*'""", match[1] or match[2])
        here = [one.strip("\"'") for one in parts]
        if match[1]:
            path = here
        else:
            here = path + here
        if here[: len(wanted)] == wanted:
            first = first or number
            if not inner or here[len(wanted) :][:1] == [inner]:
                return number
    return first or 1


def impossible(policy: Policy) -> tuple[str, str] | None:
    """The setting that cannot work with the others, and why."""
    budget = policy.budget
    if budget and budget.unit not in ("B", "J"):
        prices = [p for p in (policy.price, policy.storage_price) if p]
        if not prices:
            return "budget", (
                "a budget of money needs a price: price = \"0.40 EUR/kWh\", storage_price = "
                '"0.02 EUR/GB/month", or both.'
            )
        if any(one.currency != budget.unit for one in prices):
            return "budget", f"the budget is in {budget.unit}, and a price is not."
    if policy.retire == "all" and not (
        policy.keep_best or policy.keep_last or policy.keep_every or policy.keep_within
    ):
        return "retire", 'retire = "all" needs something that keeps: keep_last = 3, for one.'
    if policy.retire == "scored" and not policy.keep_best:
        return "retire", 'retire = "scored" needs keep_best.'
    return None


def changed(policy: Policy, setting: str) -> Policy:
    """A policy with one setting changed: `price=0.40 EUR/kWh`."""
    key, equals, value = setting.partition("=")
    key, value = key.strip(), value.strip()
    if not equals:
        raise InvalidValue(f"{setting!r} changes nothing. Write NAME=VALUE, like delta=0.01.")
    _known(key, SETTINGS, f"{key!r} in a policy is unknown")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    try:
        found = replace(policy, **{key: SETTINGS[key](parsed)})
    except InvalidValue as error:
        raise InvalidValue(_sentence(key, error)) from None
    if problem := impossible(found):
        raise InvalidValue(problem[1])
    return found


def plain(policy: Policy) -> dict[str, Any]:
    """A policy as JSON keeps it."""
    return asdict(policy)


def of_plain(written: Any) -> Policy:
    """The policy that `plain` wrote. InvalidValue where it was not."""
    if not isinstance(written, dict):
        raise InvalidValue("it is no table")
    usual = json.loads(json.dumps(plain(FRONTIER)))
    values: dict[str, Any] = {}
    for key, value in written.items():
        _known(key, usual, f"{key!r} in a policy is unknown")
        if value != usual[key]:
            try:
                values[key] = _PLAIN.get(key, SETTINGS.get(key, _text))(value)
            except InvalidValue as error:
                raise InvalidValue(_sentence(key, error)) from None
    return Policy(**values)


def _known_of(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of a table in which null stands for what is not set."""
    return lambda value: parse(
        {key: one for key, one in value.items() if one is not None}
        if isinstance(value, dict)
        else value
    )


def _rates(value: Any) -> Mapping[str, float]:
    if not isinstance(value, dict):
        raise InvalidValue(f"is a table, not {value!r}")
    return {_choice(*TRAFFIC)(unit): _within(0)(many) for unit, many in value.items()}


_MONEY = _table(Price, {"amount": _within(0), "currency": _text})
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "scope": _known_of(_table(
        Scope, {"name": _text, "run": _text, "tag": _text, "clade": _text, "age": _within(0, MOST)}
    )),
    "grace": _within(0, MOST),
    "keep_best": _known_of(SETTINGS["keep_best"]),
    "keep_every": _count,
    "keep_within": _within(0, MOST),
    "budget": _table(Budget, {"amount": _within(0), "unit": _text}),
    "traffic": _rates,
    "price": _MONEY,
    "storage_price": _MONEY,
    "carbon": _within(0),
}  # fmt: skip
"""How `plain` wrote what a person writes otherwise."""


# ---- As sentences


def describe(policy: Policy) -> list[str]:
    """A policy as sentences, in the order in which it decides."""
    told = [_rule(policy)]
    if policy.niches or policy.leave_out:
        counted = " and ".join(policy.niches) or "all niches"
        but = f", but not {' or '.join(policy.leave_out)}" if policy.leave_out else ""
        told.append(f"Count {counted}{but}.")
    if policy.scope != Scope():
        told.append(f"Propose only {_who(policy.scope)}.")
    told.append(f"Never propose {', nor '.join(_spared(policy))}.")
    if kept := _kept(policy):
        told.append(f"Keep {'; '.join(kept)}.")
    if policy.budget:
        told.append(
            f"While what is left takes more than {amount(policy.budget)}, propose next what gives "
            "least fitness and diversity for it."
        )
    told += [f"{one}." for one in _assumed(policy)]
    return told


def _rule(policy: Policy) -> str:
    if policy.retire == "all":
        return "Propose whatever nothing below keeps."
    if policy.retire == "scored":
        return "Propose whatever was scored and nothing below keeps."
    cost = "bytes" if policy.cost == "bytes" else "joules of serving"
    but = f" but for {policy.delta:g}" if policy.delta else ""
    less = f"{100 * policy.cost_margin:g} % fewer" if policy.cost_margin else "fewer"
    more = ", all comparisons of a niche together" if policy.correct_comparisons else ""
    sentence = (
        f"Propose an organism when in every niche another that itself stays is, at "
        f"{100 * policy.confidence:g} % confidence a pair{more}, as fit{but} for {less} {cost}, "
        "or fitter for no more."
    )
    extra = [
        "estimated costs are compared with any" if policy.mix_estimates else "",
        "files may be elsewhere" if policy.allow_remote else "",
        f"of duplicates the {policy.duplicates} stays" if policy.duplicates != "keep" else "",
    ]
    told = "; ".join(filter(None, extra))
    return f"{sentence} {told.capitalize()}." if told else sentence


def _who(scope: Scope) -> str:
    parts = [
        f"named {scope.name}" if scope.name else "",
        ("of any run" if scope.run == "*" else f"of runs {scope.run}") if scope.run else "",
        f"tagged {scope.tag}" if scope.tag else "",
        f"in the clade of {scope.clade}" if scope.clade else "",
        f"older than {span(scope.age)}" if scope.age else "",
    ]
    return "organisms " + ", ".join(filter(None, parts))


def _spared(policy: Policy) -> list[str]:
    found = ["what is protected, leased, or needed by others to run"]
    if policy.aliases:
        found.append(f"what holds the alias {' or '.join(policy.aliases)}")
    if policy.protect:
        found.append(f"what fits {' or '.join(policy.protect)}")
    if policy.grace:
        found.append(f"what was registered less than {span(policy.grace)} ago")
    if policy.keep_founders:
        found.append("the only founder of a living clade")
    return found


def _kept(policy: Policy) -> list[str]:
    found = []
    if best := policy.keep_best:
        where = f"in {best.niche}" if best.niche else "in each niche"
        of = f" of each {best.per}" if best.per else ""
        found.append(f"the {f'{best.n} best' if best.n > 1 else 'best'}{of} {where}")
    if policy.keep_last:
        last = f"{policy.keep_last} last" if policy.keep_last > 1 else "last"
        found.append(f"the {last} of each run")
    if policy.keep_every:
        found.append(f"what lies at every {policy.keep_every:,} steps of a run")
    if policy.keep_within:
        found.append(f"what was made less than {span(policy.keep_within)} ago")
    return found


def _assumed(policy: Policy) -> list[str]:
    found = []
    if policy.traffic:
        parts = [f"{count(many)} {unit}s" for unit, many in policy.traffic.items()]
        found.append(
            f"Each serves {' and '.join(parts)} a month, unless its tag traffic says otherwise"
        )
    for price, of in ((policy.price, "kWh"), (policy.storage_price, "GB and month")):
        if price:
            found.append(f"A {of} costs {price.amount:g} {price.currency}")
    if policy.carbon is not None:
        found.append(f"A kWh emits {policy.carbon:g} g of CO2e")
    return found


def amount(budget: Budget) -> str:
    """`2 TB`, `40 kWh a month`, `500 EUR a month`."""
    from lineage.shown import size

    if budget.unit == "B":
        return size(budget.amount)
    if budget.unit == "J":
        return f"{budget.amount / KWH:.4g} kWh a month"
    return f"{budget.amount:.4g} {budget.unit} a month"


def span(duration: float) -> str:
    """Seconds as people say them: `30 days`, `12 hours`."""
    for name, unit in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if duration >= unit and duration % unit == 0:
            many = int(duration // unit)
            return f"{many} {name}{'s' * (many > 1)}"
    return f"{duration:g} seconds"

