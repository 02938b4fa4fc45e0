"""The example grows a real family: trained models, true links, scores and costs computed from
them, saved as a trainer would."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import lineage
from examples import grow_family
from examples.grow_family import CONTEXT, SYMBOLS

CHECKOUT = Path(__file__).parent.parent
SCALE = 0.05
NICHES = ("prose/bpc", "code/bpc")


SCRIPT = """
import sys, lineage
from examples.grow_family import grow
folder, db, scale = sys.argv[1:]
with lineage.open(db) as registry:
    for organism in grow(folder, registry, scale=float(scale), progress=print):
        print("born", organism.ref, organism.digest)
"""


def grown(folder: Path, db: Path) -> tuple[list[str], list[list[str]]]:
    """Grows in a process of its own, as a user would: (lines of progress, [ref, digest] each)."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(folder), str(db), str(SCALE)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    lines = done.stdout.splitlines()
    born = [line.split()[1:] for line in lines if line.startswith("born ")]
    return lines[: -len(born)], born


class Family:
    """A family that was grown once: its folder, registry and records by name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.db = folder / "family", folder / "r.db"
        self.lines, self.born = grown(self.folder, self.db)
        with lineage.open(self.db) as registry:
            records = [registry.record(ref) for ref, _ in self.born]
        self.records = {record.organism.name: record for record in records}

    def place(self, name: str) -> Path:
        return self.folder / name

    def scores(self, name: str) -> dict[str, float]:
        return {str(score.niche): score.value for score in self.records[name].scores}

    def costs(self, name: str, phase: str) -> list[lineage.PowerCost]:
        return [cost for cost in self.records[name].power if cost.phase == phase]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return Family(tmp_path_factory.mktemp("grown"))


# ---- the family


def test_at_least_thirty_organisms_in_five_generations_from_two_founders(family):
    assert len(family.records) == len(family.born) == len(family.lines) >= 30
    assert max(record.organism.generation for record in family.records.values()) >= 5
    founders = [name for name, record in family.records.items() if not record.parents]
    assert len(founders) == 2
    assert {name.split("-")[0] for name in founders} == {"fern", "moss"}


def test_every_kind_of_descent_is_there(family):
    links = [link for record in family.records.values() for link in record.parents]
    assert {link.relation for link in links} == {
        "continue", "finetune", "adapter", "merge", "quantized", "prune", "distill"
    }  # fmt: skip
    merge = family.records["fern-mix"].parents
    assert {str(link.parent): link.weight for link in merge} == {
        "fern-prose": 0.5,
        "fern-code": 0.5,
    }


def test_a_digest_is_that_of_the_file(family):
    for name, record in family.records.items():
        (file,) = family.place(name).glob("*.safetensors")
        assert record.organism.digest == hashlib.sha256(file.read_bytes()).hexdigest()
        assert record.organism.parameters
        assert record.organism.here
    digests = {record.organism.digest for record in family.records.values()}
    assert len(digests) == len(family.records)


def test_one_is_in_production_and_a_founder_is_protected(family):
    assert "production" in family.records["fern-mix-tuned"].aliases
    assert family.records["fern"].organism.protected


def test_training_losses_fall_and_scores_follow(family):
    for run in ("fern", "moss", "fern-prose", "fern-code", "fern-mini"):
        state = json.loads((family.place(run) / "trainer_state.json").read_text())
        losses = [entry["loss"] for entry in state["log_history"]]
        assert losses[-1] < losses[0], run
        assert state["global_step"] == state["max_steps"] == family.records[run].organism.step
    first = next(name for name in family.records if name.startswith("fern-"))
    for niche in NICHES:
        assert family.scores("fern")[niche] < family.scores(first)[niche] < math.log2(SYMBOLS)
    assert family.scores("fern-prose")["prose/bpc"] < family.scores("fern")["prose/bpc"]
    assert family.scores("fern-code")["code/bpc"] < family.scores("fern")["code/bpc"]


def test_every_number_is_finite_and_every_score_has_its_error(family):
    for record in family.records.values():
        assert {str(score.niche) for score in record.scores} == set(NICHES)
        for score in record.scores:
            assert math.isfinite(score.value)
            assert 0 < score.stderr < score.value
            assert score.n >= 1024
            assert score.direction == "lower"
        for cost in record.power:
            assert math.isfinite(cost.joules)
            assert cost.meter


def test_training_joules_are_intervals_and_serving_joules_are_counted(family):
    for name in family.records:
        (training,) = family.costs(name, "training")
        assert training.uuid
        assert training.source in ("measured", "estimated")
        (serving,) = family.costs(name, "serving")
        assert (serving.per, serving.source) == ("character", "estimated")
    (fern,) = family.costs("fern", "serving")
    products = 256 * CONTEXT * 16 + SYMBOLS * 256
    assert fern.joules == pytest.approx(2 * products * 400 / 156e12)
    (int8,) = family.costs("fern-prose-int8", "serving")
    assert int8.joules == pytest.approx(fern.joules / 4)
    (lora,) = family.costs("fern-prose-lora", "serving")
    own = 4 * (CONTEXT * 16 + 256) + 4 * (256 + SYMBOLS)
    assert lora.joules == pytest.approx(2 * own * 400 / 156e12)


def test_adapters_hold_themselves_alone_and_int8_is_smaller(family):
    size = {name: record.organism.bytes for name, record in family.records.items()}
    for name in size:
        if name.endswith("-lora"):
            base = name.split("-")[0]
            assert size[name] < size[base] / 8
            config = json.loads((family.place(name) / "adapter_config.json").read_text())
            assert config["base_model_name_or_path"] == str(family.place(base))
        if name.endswith("-int8"):
            assert size[name] < size[name.removesuffix("-int8")] / 3
            assert family.records[name].organism.precision == "I8"
    assert size["fern-mini"] < size["fern"] / 4


def test_a_saved_model_scores_what_was_registered(family):
    characters = family.records["fern"].scores[0].n
    base = load_file(family.place("fern") / "model.safetensors")
    adapter = load_file(family.place("fern-code-lora") / "adapter_model.safetensors")
    int8 = load_file(family.place("fern-code-int8") / "model.safetensors")
    for name, weights in {
        "fern": base,
        "fern-code-lora": grow_family.adapted(base, adapter),
        "fern-code-int8": grow_family.dequantized(int8),
    }.items():
        scores = grow_family.evaluate(weights, name.endswith("int8"), characters)
        told = {str(score.niche): score.value for score in scores}
        assert told == pytest.approx(family.scores(name)), name


def test_the_same_weights_grow_anywhere(family, tmp_path):
    _, elsewhere = grown(tmp_path / "family", tmp_path / "other.db")
    assert elsewhere == family.born


def test_growing_again_adds_no_organism_only_energy(family):
    _, again = grown(family.folder, family.db)
    assert again == family.born
    with lineage.open(family.db) as registry:
        assert len(registry.find()) == len(family.born)
        power = registry.record("fern").power
    assert len({cost.uuid for cost in power if cost.phase == "training"}) == 2


# ---- the model


def test_held_out_text_is_in_both_niches_and_in_neither_training_text():
    for train, held in grow_family.corpus().values():
        assert len(train) > 5 * len(held) > 5 * grow_family.HELD_OUT
        assert max(train.max(), held.max()) < SYMBOLS
        assert held[:200].tobytes() not in train.tobytes()


def nudged(weights, name, index, by):
    changed = weights[name].copy()
    changed[index] += by
    return weights | {name: changed}


@pytest.mark.parametrize("rank", [0, 2])
def test_gradients_are_those_of_finite_differences(rank):
    rng = np.random.default_rng(0)
    base = grow_family.newborn(1, hidden=5, embedding=3)
    base = {name: array.astype(np.float64) for name, array in base.items()}
    learned = base
    if rank:
        learned = grow_family.newborn_adapter(base, rank)
        learned = {name: rng.normal(size=array.shape) for name, array in learned.items()}
    contexts = rng.integers(SYMBOLS, size=(4, CONTEXT)).astype(np.uint8)
    target = rng.dirichlet(np.ones(SYMBOLS), size=4)

    def loss_and_slopes(weights):
        full = grow_family.adapted(base, weights) if rank else weights
        loss, slopes = grow_family.gradients(full, contexts, target)
        return loss, grow_family.adapter_gradients(weights, slopes) if rank else slopes

    slopes = loss_and_slopes(learned)[1]
    assert slopes.keys() == learned.keys()
    for name, slope in slopes.items():
        index = np.unravel_index(np.abs(slope).argmax(), slope.shape)
        up = loss_and_slopes(nudged(learned, name, index, 1e-5))[0]
        down = loss_and_slopes(nudged(learned, name, index, -1e-5))[0]
        assert slope[index] == pytest.approx((up - down) / 2e-5, rel=1e-4), name


def test_int8_is_within_half_a_step_of_the_weights():
    weights = grow_family.newborn(1, hidden=16, embedding=4)
    tensors = grow_family.quantized(weights)
    assert tensors["hidden.weight"].dtype == np.int8
    back = grow_family.dequantized(tensors)
    assert back.keys() == weights.keys()
    for name in ("embedding", "hidden.weight", "output.weight"):
        step = tensors[f"{name}_scale"]
        assert np.all(np.abs(back[name] - weights[name]) <= step * 0.501)
