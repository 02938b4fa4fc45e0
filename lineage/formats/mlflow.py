"""What an MLflow tracking server knows, as organisms: logged models, and runs that logged none but
have scores. MLflow is asked through its own client, which is imported when it is called for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from lineage.errors import InvalidValue, LineageError
from lineage.organism import known_direction

PAGE = 1000
BASES = ("base_model", "base_model_name_or_path", "parent_model", "lineage.parent")
"""Tags and parameters that name a parent; several are parted by commas."""
PARENT_RUN = "mlflow.parentRunId"


def read(uri: str) -> Iterator[dict[str, Any]]:
    """The models of a tracking server, or file store, as objects of JSON Lines; parents before
    children where runs say so. A name is `NAME/ID`: MLflow's own names are not unique.

    Parents: what a run took as input models; the base model of a PEFT adapter, from the MLmodel
    file where it is on this machine; the tags and parameters in BASES; else the last model of the
    parent run. Metrics of a model, else of its run, are fitness in the niche EXPERIMENT/metric, or
    as they are where their name has a slash; `system/` metrics are none.

    Raises LineageError where MLflow is not installed, InvalidValue where it cannot be asked."""
    try:
        tracking = importlib.import_module("mlflow.tracking")
    except ImportError:
        raise LineageError("MLflow is not installed here: pip install mlflow.") from None
    try:
        client = tracking.MlflowClient(tracking_uri=uri)
        experiments = _paged(client.search_experiments)
        for experiment in experiments:
            yield from _experiment(client, experiment)
    except LineageError:
        raise
    except Exception as error:  # MlflowException, and whatever its stores raise
        if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "requests")):
            raise
        said = " ".join(str(error).split())[:300]
        raise InvalidValue(f"MLflow at {uri!r} could not be read: {said}") from error


def _paged(ask: Any, **asked: Any) -> Iterator[Any]:
    token = None
    while True:
        page = ask(max_results=PAGE, page_token=token, **asked)
        yield from page
        token = page.token
        if not token:
            return


def _experiment(client: Any, experiment: Any) -> Iterator[dict[str, Any]]:
    where = [experiment.experiment_id]
    runs = {run.info.run_id: run for run in _paged(client.search_runs, experiment_ids=where)}
    models: dict[str, list[Any]] = {}
    every = sorted(_paged(client.search_logged_models, experiment_ids=where),
                   key=lambda model: (model.creation_timestamp, model.model_id))  # fmt: skip
    for model in every:
        models.setdefault(model.source_run_id or "", []).append(model)
    called = {model.model_id: f"{model.name}/{model.model_id}" for model in every}
    ends = {run: called[held[-1].model_id] for run, held in models.items() if run}
    alone = [
        run
        for run in sorted(runs.values(), key=lambda one: one.info.start_time or 0)
        if run.info.run_id not in models and run.data.metrics
    ]
    ends |= {run.info.run_id: _run_name(run) for run in alone}
    for run in alone:
        yield _organism(_run_name(run), experiment, run, None, called, ends)
    for model in every:
        run = runs.get(model.source_run_id or "")
        yield _organism(called[model.model_id], experiment, run, model, called, ends)


def _run_name(run: Any) -> str:
    return f"{run.info.run_name or 'run'}/{run.info.run_id}"


def _organism(
    name: str,
    experiment: Any,
    run: Any,
    model: Any,
    called: Mapping[str, str],
    ends: Mapping[str, str],
) -> dict[str, Any]:
    tags = dict(run.data.tags) if run else {}
    params = dict(run.data.params) if run else {}
    if model:
        tags |= dict(model.tags)
        params |= dict(model.params)
    created = model.creation_timestamp if model else run.info.start_time
    location = model.artifact_location if model else run.info.artifact_uri
    kept = {
        key: str(value)
        for key, value in tags.items()
        if not key.startswith("mlflow.") and key not in BASES and str(value).strip()
    }
    found: dict[str, Any] = {
        "name": name,
        "run": run.info.run_id if run else None,
        "created": None if created is None else created / 1000,
        "places": [location] if location and "://" in location else [],
        "tags": kept | {"mlflow.experiment": experiment.name},
        "fitness": list(_scores(experiment.name, run, model)),
        "parents": _parents(run, model, tags | params, called, ends),
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def _scores(experiment: str, run: Any, model: Any) -> Iterator[dict[str, Any]]:
    metrics: list[tuple[str, float, str]] = []
    for one in (model.metrics or ()) if model else ():
        metrics.append((one.key, one.value, getattr(one, "dataset_name", None) or experiment))
    if not metrics and run:
        metrics = [(key, value, experiment) for key, value in run.data.metrics.items()]
    for key, value, task in metrics:
        if key.startswith("system/") or value != value or value in (float("inf"), -float("inf")):
            continue
        task, _, metric = (key if "/" in key else f"{task}/{key}").rpartition("/")
        direction = known_direction(metric)
        one = {"task": task, "metric": metric, "value": value}
        yield one | ({"direction": direction} if direction else {})


def _parents(
    run: Any,
    model: Any,
    said: Mapping[str, str],
    called: Mapping[str, str],
    ends: Mapping[str, str],
) -> list[dict[str, Any]]:
    inputs = getattr(getattr(run, "inputs", None), "model_inputs", None) or ()
    found = [{"ref": called[one.model_id], "evidence": "configured"}
             for one in inputs if one.model_id in called]  # fmt: skip
    if model and (base := _peft_base(model.artifact_location)):
        found.append({"ref": base, "relation": "adapter", "evidence": "configured"})
    for key in BASES:
        named = [one.strip() for one in str(said.get(key) or "").split(",") if one.strip()]
        found += [{"ref": called.get(one, one), "evidence": "declared"} for one in named]
    above = ends.get(said.get(PARENT_RUN, ""))
    if not found and above:
        found = [{"ref": above, "relation": "finetune", "evidence": "configured"}]
    return _once(found)


def _once(parents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each parent once, as it was named first."""
    kept: dict[str, dict[str, Any]] = {}
    for one in parents:
        kept.setdefault(one["ref"], one)
    return list(kept.values())


def _peft_base(location: str | None) -> str | None:
    """The base model of a PEFT adapter, by the MLmodel file in a folder of this machine."""
    parts = urlsplit(location or "")
    if parts.scheme not in ("", "file") or not parts.path:
        return None
    file = os.path.join(unquote(parts.path), "MLmodel")
    if not os.path.isfile(file) or os.path.getsize(file) > 1 << 20:
        return None
    import yaml

    try:
        with open(file, encoding="utf-8") as opened:
            known = yaml.safe_load(opened)
        flavor = known["flavors"]["transformers"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    base = flavor.get("source_model_name") if flavor.get("peft_adaptor") else None
    return base if isinstance(base, str) and base.strip() else None
