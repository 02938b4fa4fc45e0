"""What MLflow's own client wrote is imported with its own client. The slim distribution will do: it
is the same client, and the stores of its server need what lineage has (SQLAlchemy, Alembic)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lineage.cli import main
from lineage.registry import Registry

SCORE = "gsm8k/acc"


def model(client: Any, name: str, run: Any, **tags: str) -> Any:
    """A logged model of a run, with a score and what is none."""
    from mlflow.entities import Metric

    at = 1_700_000_000_000
    made = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run.info.run_id, tags=tags
    )
    client.log_batch(run.info.run_id, metrics=[
        Metric(SCORE, 0.5, at, 0, model_id=made.model_id),
        Metric("system/cpu", 9.0, at, 0, model_id=made.model_id),
    ])  # fmt: skip
    return client.finalize_logged_model(made.model_id, "READY")


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking store: a model, one of a child run, one that names two parents, a run alone."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    found = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=found)
    zoo = client.create_experiment("zoo", artifact_location=str(tmp_path / "artifacts"))
    first = client.create_run(zoo, run_name="first")
    base = model(client, "base", first)
    parent = {"mlflow.parentRunId": first.info.run_id}
    model(client, "ft", client.create_run(zoo, run_name="second", tags=parent))
    third = client.create_run(zoo, run_name="third")
    model(client, "named", third, base_model=f"org/base, {base.model_id}", team="<b>")
    alone = client.create_run(zoo, run_name="alone")
    client.log_metric(alone.info.run_id, "loss", 1.5)
    return found


def test_mlflow(registry: Registry, uri: str) -> None:
    done = CliRunner().invoke(main, ["import", "mlflow", uri])
    assert done.exit_code == 0, done.output
    (ft,) = registry.find("ft/*")
    (base,) = registry.find("base/*")
    (named,) = registry.find("named/*")
    (alone,) = registry.find("alone/*")
    assert [one.id for one in registry.ancestors(ft)] == [base.id]
    assert {one.name for one in registry.ancestors(named)} == {base.name, "org/base"}
    assert [str(score.niche) for score in registry.record(ft).scores] == [SCORE]
    assert [(str(score.niche), score.direction) for score in registry.record(alone).scores] == [
        ("zoo/loss", "lower")]  # fmt: skip
    assert registry.record(named).tags["team"] == "<b>"
    again = CliRunner().invoke(main, ["import", "mlflow", uri])
    assert "0 new, 0 gained something" in again.output
