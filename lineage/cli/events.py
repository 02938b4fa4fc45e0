"""What the events of the history say, in words: each kind its own, with the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lineage.cli.words import number, phrase, power_text, score_text
from lineage.organism import Niche, PowerCost, Score
from lineage.shown import counted, size

if TYPE_CHECKING:
    from lineage.organism import Event


def event_text(event: Event) -> str:
    """What an event says with its numbers, after the word for its kind."""
    return "; ".join(event_parts(event))


def event_parts(event: Event) -> list[str]:
    worded = WORDINGS.get(event.kind, _any_body)
    undone = [f"undoes event {event.body['undoes']}"] if "undoes" in event.body else []
    try:
        said = worded({key: value for key, value in event.body.items() if key != "undoes"})
    except (AttributeError, KeyError, TypeError, ValueError):
        said = _any_body(event.body)  # of another lineage, or from an import
    return ([said] if isinstance(said, str) else said) + undone


def _any_body(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in body.items())


def _score_body(body: Mapping[str, Any]) -> str:
    score = Score(
        Niche(body["task"], body["metric"], body.get("split") or ""),
        body["value"],
        body.get("stderr"),
        body.get("n"),
        body.get("direction"),
    )
    sample = "" if score.n is None else f" (n = {score.n:,})"
    return f"{score.niche} {score_text(score)}{sample}"


def _power_body(body: Mapping[str, Any]) -> str:
    known = PowerCost(**{key: value for key, value in body.items() if key != "at"})
    meter = f" by {known.meter}" if known.meter else ""
    return f"{known.phase} {power_text(known)}, {known.source}{meter}"


def _link_body(body: Mapping[str, Any]) -> str:
    known = body["evidence"] if body.get("evidence", "declared") != "declared" else ""
    share = "" if body.get("weight") is None else f"share {number(body['weight'])}"
    notes = ", ".join(one for one in (share, known) if one)
    return f"{phrase(body['relation'])} {body['ref']}{f' ({notes})' if notes else ''}"


def _registered_body(body: Mapping[str, Any]) -> list[str]:
    parts = [
        f"as {body['name']}" if "name" in body else "",
        "which was a ghost" if body.get("was") == "ghost" else "",
        f"digest {body['digest'][:12]}" if "digest" in body else "",
        *map(_link_body, body.get("parents", ())),
        *map(_score_body, body.get("fitness", ())),
        *map(_power_body, body.get("power", ())),
        *(f"at {place}" for place in body.get("places", ())),
    ]
    return [part for part in parts if part]


def _tags_body(body: Mapping[str, Any]) -> str:
    return ", ".join(
        f"no {key} any more" if value is None else f"{key}={value}"
        for key, value in body["tags"].items()
    )


def _selected_body(body: Mapping[str, Any]) -> list[str]:
    rule = body.get("rule", "dominated")
    if rule != "dominated":
        why = {"budget": "for the budget", "unkept": "kept by nothing"}.get(rule, rule)
        return [f"{why} of policy {body.get('policy')}"]
    return [
        f"{one['niche']} {number(one['value'])}, beaten by {one['by']} {number(one['by_value'])}"
        for one in body.get("reasons", ())
        if "by" in one
    ]


def _retracted_body(body: Mapping[str, Any]) -> list[str]:
    """What was struck out or reinstated, and why it was struck out."""
    bare = {key: value for key, value in body.items() if key not in ("what", "reason", "needed")}
    if body["what"] == "score":
        said = f"the score {_score_body(bare)}"
    elif body["what"] == "cost":
        said = f"the cost {_power_body(bare)}"
    elif body["what"] == "link":
        said = "the link to " + body["ref"] + ", was " + ", ".join(
            f"{one['relation']} ({one['evidence']})" for one in body["was"])  # fmt: skip
    else:
        scores, costs = counted(body["scores"], "score"), counted(body["costs"], "cost")
        said = f"the registration, with {scores} and {costs}"
    return [said, f"because: {body['reason']}"]


def _pulled_body(body: Mapping[str, Any]) -> list[str]:
    """What was asked of the Hub, and what came."""
    listed = body.get("list", {})
    what = [*body.get("models", ()), *listed.get("filter", ())]
    what += [one for one in (listed.get("author"), body.get("dump")) if one]
    since = f" since {body['since']}" if body.get("since") else ""
    return [
        (", ".join(what) or "all models") + since,
        f"{counted(body['seen'], 'model')} read, {body['created']:,} new, "
        f"{body['updated']:,} gained something, {body['set_aside']:,} set aside",
    ]


def _moved_body(body: Mapping[str, Any]) -> str:
    return f"{counted(body['files'], 'file')}, {size(body['bytes'])}"


def _why_gone(by: str | None) -> str:
    return "rotation deleted it" if by == "rotation" else "other weights are there now"


WORDINGS: dict[str, Callable[[Mapping[str, Any]], str | list[str]]] = {
    "registered": _registered_body,
    "ghost": lambda body: f"named as a parent: {body['ref']}",
    "scored": _score_body,
    "metered": _power_body,
    "linked": _link_body,
    "unlinked": lambda body: "from " + body["ref"] + ", was " + ", ".join(
        f"{one['relation']} ({one['evidence']})" for one in body["was"]
    ),
    "aliased": lambda body: f"{body['name']}@{body['alias']}"
    + (f", which was {body['from']}" if "from" in body else ""),
    "tagged": _tags_body,
    "pulled": _pulled_body,
    "protected": lambda body: body.get("reason", ""),
    "unprotected": lambda body: body.get("reason", ""),
    "selected_against": _selected_body,
    "selected": lambda body: f"by {body['policy']}: {body['marked']:,} marked"
    + (f", {body['revived']:,} revived" if body["revived"] else "") + f", run {body['run']}",
    "leased": lambda body: f"to {body['holder']} until {body['until'][:16].replace('T', ' ')} UTC",
    "released": lambda body: f"by {body['holder']}",
    "revived": lambda body: body.get("reason", ""),
    "placed": lambda body: f"at {body['place']}",
    "named": lambda body: f"{body['name']}@v{body['version']}",
    "identified": lambda body: f"digest {body['digest'][:12]}",
    "retracted": _retracted_body,
    "reinstated": _retracted_body,
    "renamed": lambda body: f"{body['name']}@v{body['version']}"
    + (f", was {body['from']}@v{body['from_version']}" if "from" in body else ""),
    "moved": lambda body: [f"from {body['from']}", f"to {body['to']}"],
    "relocated": lambda body: [
        f"{counted(body['places'], 'place')} from {body['old']}", f"to {body['new']}",
    ],
    "unaliased": lambda body: f"{body['name']}@{body['alias']}"
    + (f", which is {body['to']} again" if "to" in body else ""),
    "quarantined": lambda body: f"{_moved_body(body)}, to {body['folder']}",
    "restored": lambda body: f"{_moved_body(body)}, to {body['place']}",
    "emptied": lambda body: f"{_moved_body(body)}, deleted from {body['folder']}",
    "culled": lambda body: (
        "its last files are gone: " + _why_gone(body["by"])
        if "by" in body
        else f"{_moved_body(body)}, deleted from {body['folder']}"
    ),
    "gone": lambda body: f"from {body['place']}: {_why_gone(body.get('by'))}",
    "link_set_aside": lambda body: "it would close " + " → ".join(body["would_close"]),
}  # fmt: skip
