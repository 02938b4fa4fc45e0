"""The questions of bench/questions.py to MLflow or ml-metadata, inside an environment that has it.
Reads as JSON from standard input the family, [[child, [parents]], ...], whose ancestors and whose
descendants are asked for; writes seconds and answers."""

import json
import sys
import time


def mlflow_walk(folder, family, asked, first):
    """Runs with a tag that names their parents, walked a run at a time."""
    import logging

    from mlflow.tracking import MlflowClient

    logging.disable()
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/questions-mlflow.db")
    experiment = client.create_experiment("family", artifact_location=f"{folder}/artifacts")
    ids = {}
    for child, parents in family:
        tags = {"lineage.parents": ",".join(ids[one] for one in parents)}
        tags |= {"mlflow.parentRunId": ids[parents[0]]} if parents else {}
        ids[child] = client.create_run(experiment, run_name=str(child), tags=tags).info.run_id
    names = {run: own for own, run in ids.items()}

    def ancestors(own):
        seen, left = set(), [ids[own]]
        while left:
            said = client.get_run(left.pop()).data.tags["lineage.parents"]
            new = [one for one in said.split(",") if one and one not in seen]
            seen.update(new)
            left += new
        return sorted(names[one] for one in seen)

    def descendants(own):
        seen, left = set(), [ids[own]]
        while left:
            one = left.pop()
            for run in client.search_runs([experiment], f"tags.`lineage.parents` LIKE '%{one}%'",
                                          max_results=50000):
                if run.info.run_id not in seen:
                    seen.add(run.info.run_id)
                    left.append(run.info.run_id)
        return sorted(names[one] for one in seen)

    return timed(ancestors, asked), timed(descendants, first)


def mlmd_subgraph(folder, family, asked, first):
    """Artifacts and executions between them, asked by get_lineage_subgraph."""
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = f"{folder}/questions-mlmd.db"
    config.sqlite.connection_mode = 3
    store = metadata_store.MetadataStore(config)
    kind = store.put_artifact_type(pb.ArtifactType(name="Model"))
    act = store.put_execution_type(pb.ExecutionType(name="Train"))
    ids = {}
    for child, parents in family:
        (own,) = store.put_artifacts([pb.Artifact(type_id=kind, uri=str(child))])
        ids[child] = own
        (run,) = store.put_executions([pb.Execution(type_id=act)])
        store.put_events(
            [pb.Event(artifact_id=ids[one], execution_id=run, type=pb.Event.INPUT)
             for one in parents]
            + [pb.Event(artifact_id=own, execution_id=run, type=pb.Event.OUTPUT)])
    names = {own: child for child, own in ids.items()}

    def walk(own, direction):
        options = pb.LineageSubgraphQueryOptions(
            starting_artifacts=pb.LineageSubgraphQueryOptions.StartingNodes(
                filter_query=f"id = {ids[own]}"),
            max_num_hops=100, direction=direction)
        graph = store.get_lineage_subgraph(options)
        return sorted(names[one.id] for one in graph.artifacts if one.id != ids[own])

    up = pb.LineageSubgraphQueryOptions.Direction.UPSTREAM
    down = pb.LineageSubgraphQueryOptions.Direction.DOWNSTREAM
    return timed(lambda own: walk(own, up), asked), timed(lambda own: walk(own, down), first)


def timed(ask, owns):
    taken, answers = [], []
    for own in owns:
        begin = time.perf_counter()
        answers.append(ask(own))
        taken.append(time.perf_counter() - begin)
    return [taken, answers]


PEERS = {"MLflow": mlflow_walk, "ml-metadata": mlmd_subgraph}


def main(peer, folder):
    family, asked, first = json.loads(sys.stdin.read())
    print(json.dumps(PEERS[peer](folder, family, asked, first)))


if __name__ == "__main__":
    main(*sys.argv[1:])
