"""Grow a family of small language models with numpy alone, and register every one of them.

    python examples/grow_family.py [FOLDER] [--db URL]

The model guesses the next character from the eight before it: embeddings, one hidden layer, a
softmax (Bengio et al. 2003, "A Neural Probabilistic Language Model"). Its text comes with Python
itself: documentation for prose, the standard library's sources for code. Two founders are trained,
then fine-tuned, adapted, merged, quantized, pruned and distilled, in some 20 seconds. The lines
that a training script of your own needs are in `Nursery.keep`: save, then register."""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import math
import os
import sysconfig
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

# One thread multiplies matrices this small as fast as two do, for half the energy, and on a busy
# machine many times faster: two wait for each other. Numpy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("VECLIB_MAXIMUM_THREADS", "1")

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import save_file

import lineage
from lineage import energy

Array = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, Array]

CONTEXT = 8  # characters that the model sees
SYMBOLS = 96  # printable ASCII, and the end of a line
BATCH = 128
RATE = 0.002  # how fast a run learns at its first step
HELD_OUT = 24_576  # characters that every organism is scored on, in each niche
BLOCK = 256  # characters a block, for the standard error
ADAPTED = ("hidden", "output")  # the layers that an adapter changes


# ---- Text that comes with Python


@cache
def corpus() -> dict[str, tuple[Array, Array]]:
    """(training text, held-out text) for prose and code. A paragraph is held out by its hash, so
    none is in both."""
    texts = {}
    for niche, paragraphs in zip(("prose", "code"), standard_library(), strict=True):
        shuffled = sorted(paragraphs, key=lambda p: hashlib.sha256(p.encode()).digest())
        held = len(shuffled) // 8
        texts[niche] = symbols("\n\n".join(shuffled[held:])), symbols("\n\n".join(shuffled[:held]))
    return texts


def standard_library() -> tuple[set[str], set[str]]:
    """Paragraphs of prose: sentences in Python's help topics and in the docstrings of a third of
    the standard library. Paragraphs of code: that third without docstrings and comments."""
    folder, prose, code = Path(sysconfig.get_path("stdlib")), list[str](), list[str]()
    with contextlib.suppress(ImportError):  # some distributions leave the topics out
        from pydoc_data.topics import topics

        prose += [topics[name] for name in sorted(topics)]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in sorted(folder.glob("*.py"))[::3]:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
                prose.append(docstring)
                node.body = node.body[1:] or [ast.Pass()]
        code.append(ast.unparse(tree))
    if not code:
        raise lineage.LineageError(
            f"There are no Python sources in {folder}, and the family learns from them. "
            "Use a Python that comes with its standard library as files."
        )
    sentences = [" ".join(p.split()) for p in "\n\n".join(prose).split("\n\n") if ">>>" not in p]
    return {p for p in sentences if p.endswith(".")}, set("\n\n".join(code).split("\n\n"))


def symbols(text: str) -> Array:
    """`text` as numbers below SYMBOLS. What is not printable ASCII is left out."""
    data = np.frombuffer(text.encode("ascii", "ignore").replace(b"\n", b"\x7f"), np.uint8)
    return data[(data >= 32) & (data <= 127)] - np.uint8(32)


# ---- The model


def newborn(seed: int, hidden: int, embedding: int) -> Weights:
    """Random weights. A `.weight` is (outputs, inputs)."""
    rng, inputs = np.random.default_rng(seed), CONTEXT * embedding
    weights = {
        "embedding": rng.normal(0, 1, (SYMBOLS, embedding)),
        "hidden.weight": rng.normal(0, inputs**-0.5, (hidden, inputs)),
        "hidden.bias": np.zeros(hidden),
        "output.weight": rng.normal(0, 0.1 * hidden**-0.5, (SYMBOLS, hidden)),
        "output.bias": np.zeros(SYMBOLS),
    }
    return {name: array.astype(np.float32) for name, array in weights.items()}


def forward(w: Weights, contexts: Array, eight_bit: bool = False) -> tuple[Array, Array, Array]:
    """(inputs, hidden, log probabilities) of the next character for contexts (N, CONTEXT)."""
    inputs = w["embedding"][contexts].reshape(len(contexts), -1)
    hidden = np.tanh(inputs @ w["hidden.weight"].T + w["hidden.bias"])
    if eight_bit:  # an int8 product takes int8 on both sides
        hidden = np.rint(hidden * 127) / np.float32(127)
    logits = hidden @ w["output.weight"].T + w["output.bias"]
    logits -= logits.max(axis=1, keepdims=True)
    return inputs, hidden, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def gradients(w: Weights, contexts: Array, target: Array) -> tuple[float, Weights]:
    """The cross entropy in nats a character against target probabilities (N, SYMBOLS), and its
    gradient."""
    inputs, hidden, logs = forward(w, contexts)
    slope = (np.exp(logs) - target) / len(contexts)
    inner = (slope @ w["output.weight"]) * (1 - hidden * hidden)
    rows = (inner @ w["hidden.weight"]).reshape(contexts.size, -1)
    chosen = contexts.reshape(-1) == np.arange(SYMBOLS, dtype=np.uint8)[:, None]
    return -float((target * logs).sum()) / len(contexts), {
        "embedding": chosen.astype(np.float32) @ rows,
        "hidden.weight": inner.T @ inputs,
        "hidden.bias": inner.sum(axis=0),
        "output.weight": slope.T @ hidden,
        "output.bias": slope.sum(axis=0),
    }


def evaluate(w: Weights, eight_bit: bool, characters: int) -> list[lineage.Score]:
    """Bits per character on the held-out text of each niche. The standard error is over blocks,
    since neighbouring characters are not independent."""
    scores = []
    for niche, (_, held) in corpus().items():
        bits = []
        windows = sliding_window_view(held[: characters + CONTEXT], CONTEXT + 1)
        for block in np.array_split(windows, len(windows) // BLOCK):
            logs = forward(w, block[:, :CONTEXT], eight_bit)[2]
            bits.append(-logs[np.arange(len(block)), block[:, CONTEXT]] / math.log(2))
        stderr = float(np.std([block.mean() for block in bits], ddof=1)) / math.sqrt(len(bits))
        value = float(np.concatenate(bits).mean())
        scores.append(lineage.Score(f"{niche}/bpc", value, stderr=stderr, n=len(windows)))
    return scores


# ---- How one model comes from another


class Trainer:
    """Adam (Kingma and Ba 2015) with a rate that falls to nothing over `steps`. Its state lives
    from one checkpoint to the next. With a `base`, only the low-rank `weights` learn (LoRA: Hu et
    al. 2021); with a `teacher`, half of every target is what it says (Hinton et al. 2015)."""

    def __init__(
        self,
        run: str,
        weights: Weights,
        text: str,
        steps: int,
        base: Model | None = None,
        teacher: Model | None = None,
    ) -> None:
        self.run, self.text, self.steps, self.step = run, text, steps, 0
        self.weights, self.base, self.teacher = dict(weights), base, teacher
        learned = [train for niche, (train, _) in corpus().items() if text in (niche, "both")]
        equal = min(map(len, learned))
        self.windows = sliding_window_view(
            np.concatenate([train[:equal] for train in learned]), CONTEXT + 1
        )
        self.rng = np.random.default_rng(zlib.crc32(run.encode()))
        self.mean = {name: np.zeros_like(array) for name, array in weights.items()}
        self.square = {name: np.zeros_like(array) for name, array in weights.items()}
        self.log_history: list[dict[str, float]] = []

    def advance(self, steps: int) -> None:
        """Learns from `steps` batches, and logs the mean loss of each fifth of them."""
        for fifth in np.array_split(np.arange(steps), 5):
            loss = sum(self.learn() for _ in fifth) / len(fifth)
            self.log_history.append({"step": self.step, "loss": loss})

    def learn(self) -> float:
        batch = self.windows[self.rng.integers(len(self.windows), size=BATCH)]
        contexts, target = batch[:, :CONTEXT], np.eye(SYMBOLS, dtype=np.float32)[batch[:, CONTEXT]]
        if self.teacher:
            target = (target + np.exp(forward(self.teacher.weights, contexts)[2])) / 2
        loss, slopes = gradients(self.expressed(), contexts, target)
        if self.base:
            slopes = adapter_gradients(self.weights, slopes)
        rate = RATE * (1 - self.step / self.steps)
        self.step += 1
        rate *= math.sqrt(1 - 0.99**self.step) / (1 - 0.9**self.step)
        for name, slope in slopes.items():
            self.mean[name] += 0.1 * (slope - self.mean[name])
            self.square[name] += 0.01 * (slope * slope - self.square[name])
            change = rate * self.mean[name] / (np.sqrt(self.square[name]) + 1e-8)
            self.weights[name] = self.weights[name] - change
        return loss

    def expressed(self) -> Weights:
        """What the model computes with: an adapter is added to its base."""
        return adapted(self.base.weights, self.weights) if self.base else dict(self.weights)


def newborn_adapter(base: Weights, rank: int) -> Weights:
    """Low-rank matrices whose product is zero, so that learning starts from the base."""
    rng, adapter = np.random.default_rng(rank), {}
    for layer in ADAPTED:
        outputs, inputs = base[f"{layer}.weight"].shape
        down = rng.normal(0, inputs**-0.5, (rank, inputs)).astype(np.float32)
        adapter[f"{layer}.lora_A.weight"] = down
        adapter[f"{layer}.lora_B.weight"] = np.zeros((outputs, rank), np.float32)
    return adapter


def adapted(base: Weights, adapter: Weights) -> Weights:
    weights = dict(base)
    for layer in ADAPTED:
        low_rank = adapter[f"{layer}.lora_B.weight"] @ adapter[f"{layer}.lora_A.weight"]
        weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + low_rank
    return weights


def adapter_gradients(adapter: Weights, slopes: Weights) -> Weights:
    """The chain rule through `adapted`."""
    result = {}
    for layer in ADAPTED:
        a, b, slope = f"{layer}.lora_A.weight", f"{layer}.lora_B.weight", slopes[f"{layer}.weight"]
        result[a], result[b] = adapter[b].T @ slope, slope @ adapter[a].T
    return result


def merged(shares: Mapping[Model, float]) -> Weights:
    """The weighted sum of models of one shape."""
    names = next(iter(shares)).weights
    return {
        name: np.sum([share * model.weights[name] for model, share in shares.items()], axis=0)
        for name in names
    }


def quantized(weights: Weights) -> Weights:
    """Matrices as int8 with a float32 scale a row, or one for all embeddings, so that what goes
    into the first product is int8 as well. Biases stay as they are."""
    tensors = {}
    for name, array in weights.items():
        tensors[name] = array
        if array.ndim == 2:
            peak = np.abs(array).max(axis=None if name == "embedding" else 1, keepdims=True)
            tensors[f"{name}_scale"] = peak / np.float32(127)
            tensors[name] = np.rint(array / tensors[f"{name}_scale"]).astype(np.int8)
    return tensors


def dequantized(tensors: Weights) -> Weights:
    return {
        name: array * tensors[f"{name}_scale"] if array.dtype == np.int8 else array
        for name, array in tensors.items()
        if not name.endswith("_scale")
    }


def pruned(weights: Weights, hidden: int) -> Weights:
    """Without all but the `hidden` units that carry most, by the size of what goes in and out."""
    into = np.linalg.norm(weights["hidden.weight"], axis=1)
    out = np.linalg.norm(weights["output.weight"], axis=0)
    kept = np.sort(np.argsort(into * out)[-hidden:])
    return weights | {
        "hidden.weight": weights["hidden.weight"][kept],
        "hidden.bias": weights["hidden.bias"][kept],
        "output.weight": np.ascontiguousarray(weights["output.weight"][:, kept]),
    }


# ---- Saved and registered


def save(place: Path, tensors: Weights, trainer: Trainer | None) -> Path:
    """Writes the folder that a trainer would: weights, their configuration, the trainer's state."""
    place.mkdir(parents=True, exist_ok=True)
    if trainer:
        state = {"global_step": trainer.step, "max_steps": trainer.steps}
        write(place / "trainer_state.json", state | {"log_history": trainer.log_history})
    if trainer and trainer.base:
        rank = len(tensors["hidden.lora_A.weight"])
        adapter = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ADAPTED}
        base = {"base_model_name_or_path": str(trainer.base.place)}
        write(place / "adapter_config.json", adapter | base)
        save_file(tensors, place / "adapter_model.safetensors", {"format": "np"})
    else:
        config = {"architectures": ["NextCharacter"], "model_type": "next-character"}
        hidden, inputs = tensors["hidden.weight"].shape
        sizes = {"hidden_size": hidden, "embedding_size": inputs // CONTEXT}
        write(place / "config.json", config | sizes | {"context": CONTEXT, "vocab_size": SYMBOLS})
        save_file(tensors, place / "model.safetensors", {"format": "np"})
    return place


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def serving_cost(tensors: Weights, precision: str) -> lineage.PowerCost:
    """Joules a character. It meets every .weight once, and looking up an embedding costs nothing.
    What an adapter's base takes, the registry adds."""
    products = sum(tensor.size for name, tensor in tensors.items() if name.endswith(".weight"))
    return energy.serving_estimate(operations=2 * products, precision=precision, per="character")


@dataclass(frozen=True, eq=False)
class Model:
    """An organism, the folder it was saved in, and the weights that it computes with."""

    place: Path
    weights: Weights
    organism: lineage.Organism


@dataclass
class Nursery:
    """Makes models, and keeps each one: saved, scored, registered."""

    folder: Path
    registry: lineage.Registry
    scale: float
    progress: Callable[[str], None] | None
    organisms: list[lineage.Organism] = field(default_factory=list)

    def keep(
        self,
        name: str,
        weights: Weights,
        parents: list[lineage.Parent],
        interval: energy.Interval,
        trainer: Trainer | None = None,
        tensors: Weights | None = None,
    ) -> Model:
        """Saves a model and registers it: where it comes from, what it can do, what it took to
        make and what it takes to run. `tensors` are what its file holds, where that is not the
        weights it computes with."""
        tensors = tensors or weights
        place = save(self.folder / name, tensors, trainer)
        precision = "I8" if "hidden.weight_scale" in tensors else "F32"
        scores = evaluate(weights, precision == "I8", max(1024, round(HELD_OUT * self.scale)))
        organism = self.registry.register(
            place,
            name=name,
            parents=parents,
            fitness=scores,
            power=[interval.cost, serving_cost(tensors, precision)],
            precision=precision,
            run=trainer.run if trainer else None,
            step=trainer.step if trainer else None,
            tags={"text": trainer.text} if trainer else None,
        )
        self.organisms.append(organism)
        if self.progress:
            told = ", ".join(f"{score.niche} {score.value:.3f}" for score in scores)
            self.progress(f"{name}: {told}")
        return Model(place, weights, organism)

    def train(
        self,
        run: str,
        start: Model | Weights,
        text: str,
        steps: int,
        saves: int = 1,
        rank: int = 0,
        teacher: Model | None = None,
    ) -> Model:
        """Trains from a model or from random weights, and keeps `saves` checkpoints: each
        continues the one before, and the last bears the name of the run. With a `rank`, trains an
        adapter of `start`."""
        parents, base = [], None
        if isinstance(start, Model):
            parents = [lineage.Parent(start.organism, "adapter" if rank else "finetune")]
            base = start if rank else None
            start = newborn_adapter(start.weights, rank) if rank else start.weights
        if teacher:
            parents = [lineage.Parent(teacher.organism, "distill")]
        each = max(5, round(steps * self.scale / saves))
        trainer = Trainer(run, start, text, each * saves, base, teacher)
        for save in range(1, saves + 1):
            with energy.measure() as interval:
                trainer.advance(each)
            name = run if save == saves else f"{run}-{trainer.step}"
            weights, tensors = trainer.expressed(), trainer.weights
            model = self.keep(name, weights, parents, interval, trainer, tensors)
            parents = [lineage.Parent(model.organism, "continue")]
        return model

    def merge(self, name: str, shares: Mapping[Model, float]) -> Model:
        with energy.measure() as interval:
            weights = merged(shares)
        parents = [lineage.Parent(m.organism, "merge", weight=w) for m, w in shares.items()]
        return self.keep(name, weights, parents, interval)

    def quantize(self, model: Model) -> Model:
        with energy.measure() as interval:
            tensors = quantized(model.weights)
        name, parents = f"{model.place.name}-int8", [lineage.Parent(model.organism, "quantized")]
        return self.keep(name, dequantized(tensors), parents, interval, tensors=tensors)

    def prune(self, name: str, model: Model, hidden: int) -> Model:
        with energy.measure() as interval:
            weights = pruned(model.weights, hidden)
        return self.keep(name, weights, [lineage.Parent(model.organism, "prune")], interval)


# ---- The family


def grow(
    folder: str | Path,
    registry: lineage.Registry,
    *,
    scale: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> list[lineage.Organism]:
    """Trains the family into `folder`, a folder an organism, registers all of it, and returns the
    organisms in the order of their birth.

    `scale` shortens or lengthens training and evaluation; `progress` is called with a line of text
    for each organism. The same scale gives the same weights, so that growing again adds no
    organism, only the energy that was spent again."""
    nursery = Nursery(Path(folder), registry, scale, progress)
    train, quantize = nursery.train, nursery.quantize

    # Two founders, alike but for the seed.
    fern = train("fern", newborn(1, hidden=256, embedding=16), "both", 2000, saves=4)
    moss = train("moss", newborn(2, hidden=256, embedding=16), "both", 2000, saves=4)

    # Each learns both niches, once in all its weights and once in an adapter.
    fern_prose = train("fern-prose", fern, "prose", 800, saves=2)
    fern_code = train("fern-code", fern, "code", 800, saves=2)
    moss_prose = train("moss-prose", moss, "prose", 800)
    moss_code = train("moss-code", moss, "code", 800, saves=2)
    train("fern-prose-lora", fern, "prose", 400, rank=4)
    train("fern-code-lora", fern, "code", 400, rank=8)
    train("moss-prose-lora", moss, "prose", 400, rank=4)
    train("moss-code-lora", moss, "code", 400, rank=8)

    # Merged siblings keep most of what both learned; founders that never met do not mix.
    mix = nursery.merge("fern-mix", {fern_prose: 0.5, fern_code: 0.5})
    nursery.merge("moss-mix", {moss_prose: 0.5, moss_code: 0.5})
    nursery.merge("fern-moss", {fern: 0.5, moss: 0.5})
    tuned = train("fern-mix-tuned", mix, "both", 600)

    # Cheaper to run: int8, fewer hidden units, a small model taught by a large one.
    for model in (fern_prose, fern_code, tuned, moss_code):
        quantize(model)
    cut = nursery.prune("fern-code-cut", fern_code, hidden=128)
    quantize(train("fern-code-slim", cut, "code", 400))
    small = newborn(3, hidden=64, embedding=8)
    mini = train("fern-mini", small, "both", 1600, saves=2, teacher=tuned)
    quantize(mini)
    quantize(train("fern-mini-prose", mini, "prose", 600))
    train("fern-mini-code", mini, "code", 600)

    registry.protect(fern.organism, "the founder that most of the others come from")
    registry.alias(tuned.organism, "production")
    return nursery.organisms


def main() -> None:
    parser = argparse.ArgumentParser(description="Grow a family of models and register it.")
    parser.add_argument("folder", nargs="?", default="demo-family", help="where to save them")
    parser.add_argument("--db", help="the registry: a path or URL; yours by default")
    options = parser.parse_args()
    with lineage.open(options.db) as registry:
        organisms = grow(options.folder, registry, progress=print)
    print(f"{len(organisms)} organisms in {options.folder}. See them: lineage tree")


if __name__ == "__main__":
    main()
