"""MLflow's side of the comparison, run inside an environment that has it. Reads a number of rounds
from each line of standard input, and answers with the seconds that each took, as JSON."""

import json
import sys
import time


def main(folder: str) -> None:
    import mlflow
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("bench", artifact_location=f"{folder}/artifacts")
    base = client.create_run(experiment, run_name="base")

    def register(number: int, end: bool) -> None:
        """A run below another, its LoggedModel, two scores and a power cost."""
        run = client.create_run(
            experiment,
            run_name=f"checkpoint-{number}",
            tags={"mlflow.parentRunId": base.info.run_id},
        )
        model = client.create_logged_model(
            experiment, name=f"checkpoint-{number}", source_run_id=run.info.run_id
        )
        now = int(time.time() * 1000)
        values = {"gsm8k_acc": 0.61, "mmlu_acc": 0.58, "training_joules": 3.1e6}
        client.log_batch(
            run.info.run_id,
            metrics=[
                Metric(key, value, now, 0, model_id=model.model_id) for key, value in values.items()
            ],
        )
        if end:
            client.finalize_logged_model(model.model_id, "READY")
            client.set_terminated(run.info.run_id)

    register(0, True)
    print(json.dumps({"version": mlflow.__version__}), flush=True)
    number = 0
    for line in sys.stdin:
        end, rounds = json.loads(line)
        taken = []
        for _ in range(rounds):
            number += 1
            begin = time.perf_counter()
            register(number, end)
            taken.append(time.perf_counter() - begin)
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
