"""A bad link on a long lineage is found in few evaluations: as few as bisection needs where scores
are exact, not many more where they err; and `--run` does it alone, and loses nothing."""

from __future__ import annotations

import json
import math
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage.cli import main
from lineage.cli.acting import score_in
from lineage.errors import InvalidValue, NotFound
from lineage.regression import Found, Value, locate

ROOT = Path(__file__).resolve().parent.parent

NICHE = "gsm8k/acc"
EVIL = 'x"; rm -rf /\n\x1b[31m{path}\u202e'


def search(
    values: list[Value | None], truth: Callable[[int], Value], skip: frozenset[int] = frozenset()
) -> tuple[Found, int]:
    """Evaluate what is asked for, until the answer is there; and how many evaluations it took."""
    taken = 0
    while True:
        found = locate(values, skip)
        if found.evaluate is None:
            return found, taken
        assert values[found.evaluate] is None, "nobody is evaluated twice"
        assert found.evaluate not in skip
        assert found.left >= 1
        values[found.evaluate] = truth(found.evaluate)
        taken += 1


# ---- How many evaluations


@given(data=st.data(), length=st.integers(2, 3000))
def test_without_noise_the_step_is_found_by_bisection(data: st.DataObject, length: int) -> None:
    bad = data.draw(st.integers(1, length - 1))
    good, worse = data.draw(
        st.tuples(*[st.floats(-1e6, 1e6)] * 2).filter(lambda t: abs(t[0] - t[1]) > 1e-6)
    )
    error = data.draw(st.sampled_from([None, 0.0]))

    def truth(index: int) -> Value:
        return (worse if index >= bad else good), error

    ends: list[Value | None] = [truth(0), *[None] * (length - 2), truth(length - 1)]
    found, taken = search(ends, truth)
    assert (found.before, found.after) == (bad - 1, bad)
    assert taken <= math.ceil(math.log2(length - 1))
    blank: list[Value | None] = [None] * length
    assert search(blank, truth)[1] <= math.ceil(math.log2(length)) + 2


def test_a_thousand_links_take_ten_evaluations() -> None:
    for bad in (1, 2, 499, 500, 501, 998, 999):
        ends: list[Value | None] = [(0.7, None), *[None] * 998, (0.6, None)]
        _, taken = search(ends, lambda index, bad=bad: (0.6 if index >= bad else 0.7, None))
        assert taken <= 10


@pytest.mark.parametrize(("step", "median", "most"), [(5, 13, 30), (3, 20, 80)])
def test_with_noise_it_takes_not_many_more(step: int, median: int, most: int) -> None:
    chance = random.Random(step)
    counts, right = [], 0
    for _ in range(40):
        bad = chance.randrange(50, 950)

        def truth(index: int, bad: int = bad) -> Value:
            return (0 if index < bad else step) + chance.gauss(0, 1), 1.0

        found, taken = search([None] * 1000, truth)
        counts.append(taken)
        assert found.after is not None
        right += abs(found.after - bad) <= 2  # the very link may be beyond what the scores can tell
    assert sorted(counts)[20] <= median
    assert max(counts) <= most
    assert right >= 36


def test_what_is_claimed_to_be_sure_is_right_so_often() -> None:
    chance = random.Random(7)
    claimed = right = 0.0
    for _ in range(150):
        bad = chance.randrange(1, 60)

        def truth(index: int, bad: int = bad) -> Value:
            return (0 if index < bad else 3) + chance.gauss(0, 1), 1.0

        found, _ = search([None] * 60, truth)
        claimed += found.probability or 0.0
        right += found.after == bad
    assert abs(claimed - right) < 20


@given(st.data())
def test_who_cannot_be_evaluated_is_gone_around(data: st.DataObject) -> None:
    length = data.draw(st.integers(2, 200))
    bad = data.draw(st.integers(1, length - 1))
    skip = data.draw(st.frozensets(st.integers(0, length - 1)))
    found, _ = search([None] * length, lambda index: (float(index >= bad), None), skip)
    able = [index for index in range(length) if index not in skip]
    if not able or able[0] >= bad or able[-1] < bad:
        assert found.after is None  # all that could be evaluated score alike
        return
    assert found.before == max(index for index in able if index < bad)
    assert found.after == min(index for index in able if index >= bad)


@given(
    st.lists(
        st.none() | st.tuples(st.floats(-1e9, 1e9), st.none() | st.floats(0, 1e9)), max_size=40
    ),
    st.frozensets(st.integers(0, 40)),
)
@settings(max_examples=300)
def test_any_scores_get_an_answer(values: list[Value | None], skip: frozenset[int]) -> None:
    found, taken = search(values, lambda _: (0.5, None), skip)
    assert taken <= len(values)
    if found.before is not None and found.after is not None:
        assert found.before < found.after
        assert values[found.before] is not None
        assert values[found.after] is not None


def test_where_all_is_measured_and_drifts_the_largest_change_counts() -> None:
    rising = [0.50, 0.55, 0.60, 0.65, 0.45, 0.50, 0.55, 0.60]
    exact = locate([(value, None) for value in rising])
    assert (exact.before, exact.after) == (3, 4)
    known = locate([(value, 0.001) for value in rising])
    assert (known.after, known.one_step) == (4, False)
    assert locate([(value, 0.1) for value in rising]).one_step


def test_equal_scores_have_no_step() -> None:
    assert locate([(0.5, None), None, (0.5, None)]) == Found()
    assert locate([]) == Found()
    assert locate([None], frozenset([0])) == Found()


def test_a_chain_of_a_million_is_no_trouble() -> None:
    values: list[Value | None] = [None] * 1_000_000
    chance = random.Random(1)
    for index in range(0, 1_000_000, 100):
        values[index] = (0.7 - 0.1 * (index > 777_777) + chance.gauss(0, 0.01), 0.01)
    values[-1] = (0.6, 0.01)
    found = locate(values)  # quadratic would take hours
    assert found.evaluate is not None
    assert 777_600 < found.evaluate < 777_900


# ---- In a registry


def grow(url: str | None = None, length: int = 40, bad: int = 13) -> list[Path]:
    """A run of checkpoints s0, s1, ... whose files tell their score."""
    folders = []
    with lineage.open(url) as registry:
        parent = None
        for index in range(length):
            folder = Path(f"run/s{index}").absolute()
            folder.mkdir(parents=True)
            (folder / "weights.bin").write_bytes(b"%d" % index)
            (folder / "score").write_text("0.6" if index >= bad else "0.7")
            how = {"parents": parent, "relation": "continue"} if parent else {}
            parent = registry.register(folder, name=f"s{index}", **how)
            folders.append(folder)
    return folders


def command(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def bisect(*more: str, run: str | None = None, db: str = "r.db") -> Result:
    running = () if run is None else ("--run", run)
    return command("--db", db, "bisect", "s0", "s39", "--niche", NICHE, *more, *running)


PRINT = f"{shlex.quote(sys.executable)} -c \"print(open(r'{{path}}/score').read())\""


def test_the_api_proposes_and_answers(registry_url: str) -> None:
    grow(registry_url, length=9, bad=4)
    with lineage.open(registry_url) as registry:
        registry.score("s0", NICHE, 0.7)
        registry.score("s8", NICHE, 0.6)
        asked = registry.bisect("s0", "s8", NICHE)
        assert asked.evaluate == 4
        assert asked.left == 3
        assert [one.name for one in asked.chain] == [f"s{index}" for index in range(9)]
        seen = []

        def evaluate(organism: lineage.Organism, left: int) -> tuple[float, float] | None:
            seen.append((organism.name, left))
            return (0.6, 0.001) if int(str(organism.name)[1:]) >= 4 else (0.7, 0.001)

        found = registry.bisect("s0", "s8", NICHE, evaluate=evaluate)
        assert (found.before, found.after, found.direction) == (3, 4, "higher")
        assert found.change == pytest.approx(-0.1)
        assert found.stderr == pytest.approx(0.001 * math.sqrt(2))
        assert found.probability is not None
        assert found.probability > 0.99
        assert len(seen) <= 3
        for name, _ in seen:
            (score,) = registry.record(name).scores
            assert (str(score.niche), score.stderr) == (NICHE, 0.001)
        assert registry.bisect("s0", "s8", NICHE) == found


def test_ends_that_are_no_lineage_are_told_so() -> None:
    grow("r.db", length=4)
    with lineage.open("r.db") as registry:
        registry.score("s0", NICHE, 0.7)
        registry.register(name="other", digest="ab" * 32)
        with pytest.raises(NotFound, match=r"the other way round: give s0@v1 first"):
            registry.bisect("s3", "s0", NICHE)
        with pytest.raises(NotFound, match="no lineage between them"):
            registry.bisect("other", "s3", NICHE)
        with pytest.raises(InvalidValue, match="one organism"):
            registry.bisect("s3", "s3", NICHE)
        with pytest.raises(NotFound, match=f"The niches are: {NICHE}"):
            registry.bisect("s0", "s3", "gsm9k/acc")
        assert registry.bisect("s0", "s3", NICHE).evaluate == 3


def test_ghosts_and_culled_ones_are_never_proposed() -> None:
    with lineage.open("r.db") as registry:
        for index in range(1, 6):
            registry.register(name=f"s{index}", digest=f"{index:064x}", parents=f"s{index - 1}")
        assert registry.get("s0").ghost
        registry.score("s1", NICHE, 0.7)
        registry.score("s5", NICHE, 0.6)
        found = registry.bisect("s0", "s5", NICHE)
        assert found.evaluate in (2, 3, 4)


def test_run_finds_the_link_and_records_each_score() -> None:
    grow("r.db")
    result = bisect(run=PRINT)
    assert result.exit_code == 0, result.output
    assert result.stdout.split("\t")[:3] == ["found", "s12@v1", "s13@v1"]
    assert result.stderr.splitlines()[0] == "1. s0, about 8 to go"
    with lineage.open("r.db") as registry:
        scored = registry.find(niche=NICHE)
        assert len(scored) <= 8
        assert {event.command for one in scored for event in registry.history(one)[1:]} == {
            "lineage bisect"
        }
    again = bisect(run="false {path}")
    assert again.stdout == result.stdout
    assert again.stderr == ""
    told = json.loads(bisect("--json").stdout)
    assert (told["before"], told["after"], told["evaluate"]) == ("s12@v1", "s13@v1", None)
    assert told["chain"][0]["score"]["value"] == 0.7
    assert told["chain"][1] == {"ref": "s1@v1", "score": None}


def test_who_has_no_files_or_fails_is_passed_over() -> None:
    folders = grow("r.db")
    (folders[19] / "weights.bin").unlink()
    (folders[9] / "score").write_text("no idea")
    result = bisect(run=PRINT)
    assert result.stdout.split("\t")[:3] == ["found", "s12@v1", "s13@v1"]
    assert "s19 is passed over: s19@v1 is not here" in result.stderr
    assert "weights.bin is missing" in result.stderr
    if "s9," in result.stderr:
        assert "s9 is passed over: the last number" in result.stderr


def test_what_is_around_the_link_may_be_beyond_evaluation() -> None:
    folders = grow("r.db", bad=13)
    for index in range(11, 16):
        (folders[index] / "weights.bin").unlink()
    result = bisect(run=PRINT)
    assert result.stdout.split("\t")[:3] == ["found", "s10@v1", "s16@v1"]


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        ("python eval.py", 2, "does not say where the organism goes"),
        ("python 'eval.py {path}", 2, "cannot be read"),
        ("no-such-command-at-all {path}", 2, "cannot be run: No such file"),
        ("false {path}", 1, "failed 3 times in a row"),
        ("echo {path} nan", 1, "failed 3 times in a row"),
    ],
)
def test_a_command_that_cannot_work_stops_at_once(run: str, code: int, said: str) -> None:
    grow("r.db")
    result = bisect(run=run)
    assert result.exit_code == code
    assert said in result.stderr
    with lineage.open("r.db") as registry:
        assert not any(registry.record(f"s{index}").scores for index in (0, 39))


def test_an_interrupted_search_keeps_its_scores_and_goes_on() -> None:
    grow("r.db")
    seen: list[str] = []

    def evaluate(organism: lineage.Organism, left: int) -> float:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(str(organism.name))
        return float(Path(f"run/{organism.name}/score").read_text())

    with lineage.open("r.db") as registry:
        with pytest.raises(KeyboardInterrupt):
            registry.bisect("s0", "s39", NICHE, evaluate=evaluate)
        assert {one.name for one in registry.find(niche=NICHE)} == set(seen)
        found = registry.bisect("s0", "s39", NICHE)
        assert found.evaluate is not None
        assert found.chain[found.evaluate].name not in seen


def test_ctrl_c_in_a_terminal_says_what_is_kept() -> None:
    grow("r.db")
    code = (
        "import os, sys, time; n = len(os.listdir('seen')); open(f'seen/{n}', 'w').close();"
        "n < 3 or time.sleep(600); print(open(sys.argv[1] + '/score').read())"
    )
    Path("seen").mkdir()
    run = shlex.join([sys.executable, "-c", code, "{path}"])
    words = ["--db", "r.db", "bisect", "s0", "s39", "--niche", NICHE, "--run", run]
    started = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *words], stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not Path("seen/3").exists():
        assert started.poll() is None
        time.sleep(0.02)
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=240)
    assert started.returncode == 130
    assert "stopped: 3 scores are recorded. The same command goes on from there." in said
    with lineage.open("r.db") as registry:
        assert len(registry.find(niche=NICHE)) == 3


def test_no_shell_reads_the_path() -> None:
    folder = Path("$(touch owned); `touch owned` {path} é").absolute()
    with lineage.open("r.db") as registry:
        parent = None
        for index in range(2):
            place = folder / str(index)
            place.mkdir(parents=True)
            (place / "weights.bin").write_bytes(b"%d" % index)
            (place / "score").write_text(str(index))
            parent = registry.register(place, name=f"{EVIL}{index}", parents=parent)
        ends = [one.ref for one in reversed(registry.find())]
    code = "import sys; print(open(sys.argv[1] + '/score').read())"
    run = shlex.join([sys.executable, "-c", code, "{path}"])
    result = command("--db", "r.db", "bisect", *ends, "--niche", "a/acc", "--run", run)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("found\t")
    assert not Path("owned").exists()
    assert "\x1b" not in result.output
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ("0.61", (0.61, None)),
        ("loading step-500\nacc: 0.61\n", (0.61, None)),
        ("acc=.61.\n\n", (0.61, None)),
        ("0.61 0.02\n", (0.61, 0.02)),
        ("acc 0.61 ± 0.02", (0.61, 0.02)),
        ("acc,none: -1e-3 +/- 2E-4\n", (-0.001, 0.0002)),
        ("7 of 10 right: 70 %", (70.0, None)),
        ("epoch 3\nloss nan", None),
        ("0.61 nan", None),
        ("0.61 -0.02", None),
        ("inf", None),
        ("no number, v1.2.3x", None),
        ("", None),
    ],
)
def test_the_score_in_an_output(output: str, score: tuple[float, float | None] | None) -> None:
    assert score_in(output) == score
