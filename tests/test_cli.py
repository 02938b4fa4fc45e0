"""Recording, reading and asking from the terminal: what a user sees, into a terminal and into a
pipe, and what each mistake is answered with."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage import ledger, references, store
from lineage.cli import drawing, listing, main, reading
from lineage.organism import Score
from lineage.registry import Registry
from lineage.trees import axis, sheet, tint
from lineage.trees.family import ORDERS

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def cells(self) -> list[list[str]]:
        return [line.split("\t") for line in self.lines]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ask(*args: str, into: type[io.StringIO] = io.StringIO) -> Answer:
    """The command in this process; into a pipe, or a terminal."""
    out, err = into(), into()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main(list(args))
    return Answer(end.value.code, out.getvalue(), err.getvalue())  # type: ignore[arg-type]


def see(*args: str) -> Answer:
    """The command at a terminal of 80 columns, which the answer fits."""
    answer = ask(*args, into=Terminal)
    assert answer.code == 0, answer.err
    assert all(len(line) <= 80 for line in answer.lines), answer.out
    return answer


def checkpoint(path: str, fill: int = 0) -> str:
    """A folder with one small tensor in safetensors, as a trainer would write it."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]}}).encode()
    Path(path).mkdir(parents=True)
    weights = struct.pack("<Q", len(header)) + header + bytes([fill]) * 64
    (Path(path) / "model.safetensors").write_bytes(weights)
    (Path(path) / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    return path


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def empty() -> Path:
    assert ask("init").code == 0
    return Path(".lineage/registry.db").absolute()


def digest(n: int) -> str:
    return f"{n:064x}"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base, two steps of fine-tuning, a sibling, their merge, a quantization, and a loner."""
    file = tmp_path_factory.mktemp("grown") / "registry.db"
    with lineage.open(file, command="train.py") as registry:
        serving = {
            "base": lineage.PowerCost(6.4e-6, "serving", "token", "measured"),
            "sft-int8": lineage.PowerCost(2.3e-6, "serving", "token", "estimated"),
        }
        for n, (name, relation, parents, acc, stderr) in enumerate(
            [
                ("base", None, (), 0.41, 0.004),
                ("sft-500", "finetune", "base", 0.58, 0.004),
                ("sft", "continue", "sft-500", 0.61, 0.004),
                ("code", "finetune", "base", 0.43, None),
                ("mix", "merge", {"sft": 0.7, "code": 0.3}, 0.59, 0.0123),
                ("sft-int8", "quantized", "sft", 0.6, 0.004),
                ("loner", None, (), None, None),
            ],
            1,
        ):
            registry.register(
                name=name,
                digest=digest(n),
                parents=parents,
                relation=relation,
                fitness=[] if acc is None else [Score("gsm8k/acc", acc, stderr, 1319)],
                power=serving.get(name),
                parameters=2_500_000 if name != "loner" else None,
            )
        registry.score("base", "mmlu/acc", 0.3)
        registry.meter("sft", lineage.PowerCost(3.1e6, source="measured", meter="rapl"))
        registry.protect("base", "everything descends from it")
    return file


@pytest.fixture
def family(grown: Path) -> Path:
    """A copy of the family of `grown`, as the registry of this folder."""
    Path(".lineage").mkdir()
    return Path(shutil.copy(grown, ".lineage/registry.db")).absolute()


# ---- Making one, finding one


def test_the_demo_has_its_own_registry() -> None:
    answer = ask("--db", "other.db", "demo")
    assert answer.code == 2
    assert "not in other.db: `lineage demo FOLDER`" in answer.err
    assert not os.path.exists("demo-family")


def test_init_makes_a_private_registry_in_this_folder_once() -> None:
    first, again = ask("init"), ask("init")
    made = Path(".lineage/registry.db").absolute()
    assert first.out == f"made a registry: {made}\n"
    assert made.stat().st_mode & 0o777 == 0o600
    assert again.out == f"there is a registry already: {made} (0 organisms)\n"
    assert (first.code, again.code) == (0, 0)


def test_init_makes_what_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("init", "--db", "here.db").code == 0
    assert Path("here.db").exists()
    monkeypatch.setenv("LINEAGE_DB", "there.db")
    assert ask("init").code == 0
    assert Path("there.db").exists()
    assert not Path(".lineage").exists()


@pytest.mark.parametrize(
    "args", [("ls",), ("show", "x"), ("score", "x", "a/acc", "1"), ("db", "upgrade")]
)
def test_a_registry_that_is_not_there_is_said_and_not_made(args: tuple[str, ...]) -> None:
    answer = ask(*args, "--db", "misspelt.db")
    assert answer.code == 3
    assert "misspelt.db" in answer.err
    assert "lineage init" in answer.err
    assert not Path("misspelt.db").exists()


def test_registering_makes_the_users_own_registry_but_none_that_was_named() -> None:
    checkpoint("run")
    named = ask("register", "run", "--db", "misspelt.db")
    assert named.code == 3
    assert not Path("misspelt.db").exists()
    own = ask("register", "run")
    assert own.code == 0
    assert "made a registry" in own.err
    assert ask("ls").cells[0][0] == "run@v1"


@pytest.mark.parametrize("named", [(), ("--db", "named.db")])
def test_an_import_says_where_it_made_a_registry(named: tuple[str, ...]) -> None:
    Path("one.jsonl").write_text('{"name": "one"}\n')
    first, again = ask("import", "one.jsonl", *named), ask("import", "one.jsonl", *named)
    assert (first.code, again.code) == (0, 0)
    assert "made a registry" in first.err
    assert "named.db" in first.err or not named
    assert again.err == ""


def test_nobody_scores_better_than_nobody(family: Path) -> None:
    with lineage.open(family) as registry, registry.store.act() as act:
        every = [registry.get(name).id for name in ("base", "sft-500", "sft", "code", "mix")]
        store.mark(act, "selected_against", "selected_against", [(own, {}) for own in every])
    assert "1 scores better and is" in see("best", "gsm8k/acc").out
    nobody = see("best", "gsm8k/acc", "--per", "dollar").out
    assert "5 are selected against or culled." in nobody
    assert "better and are" not in nobody


def test_a_lease_is_of_a_user_without_a_name_too(
    family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(getpass, "getuser", nobody)
    references.this_user.cache_clear()
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    try:
        assert "leased to 54321 until" in ask("lease", "sft", "--until", "7d").out
        assert ask("release", "sft").code == 0
    finally:
        references.this_user.cache_clear()


def test_a_name_that_is_written_like_a_place_is_found(empty: Path) -> None:
    assert ask("register", "--name", "hf:org/x").code == 0
    assert ask("show", "hf:org/x").code == 0
    at_place = ask("register", "--name", "y", "--place", "hf:org/x@main")
    assert at_place.out.startswith("registered y,")
    assert ask("where", "hf:org/x", "--json").json["organism"]["name"] == "y"


def test_formats_of_trees_steer_no_terminal(empty: Path) -> None:
    ask("register", "--name", "rtl\u202eabc")
    assert "\u202e" in ask("tree", "--format", "newick").out  # a file has what is true
    assert "\u202e" not in see("tree", "--format", "newick").out


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(family: Path) -> None:
    answer = ask("export", "--output", "nowhere/x.jsonl")
    assert answer.code == 1
    assert answer.err == "lineage: no such file or directory: nowhere/x.jsonl.\n"


def test_mlflow_without_its_address_is_asked_for_it(empty: Path) -> None:
    answer = ask("import", "mlflow")
    assert answer.code == 2
    assert "URI" in answer.err


def test_a_file_that_is_no_registry_is_refused() -> None:
    Path("text.db").write_text("hello, this is no database at all" * 100)
    answer = ask("ls", "--db", "text.db")
    assert answer.code == 3
    assert "not a lineage registry" in answer.err


# ---- Recording


def test_register_says_what_became_of_it(empty: Path) -> None:
    run = checkpoint("runs/sft-500")
    answer = ask("register", run, "--parent", "base", "--fitness", "gsm8k/acc=0.61±0.004")
    first, ghost = answer.lines
    assert re.fullmatch(r"registered sft-500, finetune of base \(digest [0-9a-f]{12}\)", first)
    assert ghost == "base is not registered yet: kept as a ghost"
    again = ask("register", run, "--parent", "base", "--fitness", "gsm8k/acc=0.61±0.004")
    assert re.fullmatch(r"known already: sft-500 \(digest [0-9a-f]{12}\); nothing new\n", again.out)
    more = ask("register", run, "--fitness", "mmlu/acc=0.5", "--tag", "team=nlp", "--name", "x")
    assert more.out.endswith("; added the name x@v1, 1 score, team=nlp\n")
    real = ask("register", checkpoint("runs/base", 1))
    assert real.out.endswith(": a ghost until now, with 1 child\n")


def test_a_folder_of_checkpoints_that_becomes_one_organism_says_so(empty: Path) -> None:
    for fill, name in enumerate(("a", "b")):
        checkpoint(f"runs/{name}", fill)
        Path(f"runs/{name}/config.json").write_text("{}")
    answer = ask("register", "runs")
    assert answer.out.startswith("registered runs, a founder")
    assert answer.err.startswith("lineage: runs holds 2 checkpoints, and they are one organism now")
    assert ask("register", "runs/a").err == ""


def test_a_scan_shows_what_it_found_under_the_headings_of_all_tables(empty: Path) -> None:
    checkpoint("runs/base")
    listed = see("scan", "runs").lines
    assert listed[0].split() == ["checkpoint", "kind", "step", "scores", "size"]
    assert listed[1].split()[0] == "base"


def test_a_scan_that_finds_nothing_says_so(empty: Path) -> None:
    Path("notes").mkdir()
    assert see("scan", "notes").out == "No checkpoint was found.\n"
    Path("notes/model.safetensors").write_text("no weights at all")
    assert ask("scan", "notes", into=Terminal).lines[-1] == "No other checkpoint was found."


def test_other_weights_under_a_name_get_a_further_version(empty: Path) -> None:
    ask("register", checkpoint("a/sft"))
    assert ask("register", checkpoint("b/sft", 1)).out.startswith("registered sft@v2, a founder")


def test_everything_that_register_takes_is_kept(empty: Path) -> None:
    answer = ask(
        "register", checkpoint("run"), "--name", "mix", "--parent", "a", "--weight", "0.7",
        "--parent", "b", "--weight", "0.3", "--fitness", "x/acc=0.5", "--fitness", "y/loss=1+-0.1",
        "--joules", "3.1e6", "--source", "measured", "--tag", "k=v=w", "--alias", "best",
        "--run", "r", "--step", "7", "--licence", "mit", "--created", "2026-01-02",
        "--place", "hf:org/mix@main",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    known = ask("show", "mix@best", "--json").json
    assert {one["ref"]: one["weight"] for one in known["parents"]} == {"a@v1": 0.7, "b@v1": 0.3}
    assert {one["relation"] for one in known["parents"]} == {"merge"}
    scores = {one["task"]: (one["value"], one["stderr"]) for one in known["fitness"]}
    assert scores == {"x": (0.5, None), "y": (1.0, 0.1)}
    (power,) = known["power"]
    assert (power["joules"], power["phase"], power["source"]) == (3.1e6, "training", "measured")
    assert known["tags"] == {"k": "v=w"}
    assert known["aliases"] == ["best"]
    assert (known["run"], known["step"], known["licence"]) == ("r", 7, "mit")
    assert known["created"] == "2026-01-02T00:00:00Z"
    assert {one["uri"] for one in known["places"]} == {os.path.abspath("run"), "hf:org/mix@main"}
    # and what the files tell
    assert (known["parameters"], known["precision"]) == (32, "BF16")
    assert known["architecture"] == "LlamaForCausalLM"


def test_what_is_not_on_this_machine_is_known_by_digest_place_or_name(empty: Path) -> None:
    for options in (["--digest", "ab" * 32], ["--place", "hf:org/x@main"], ["--name", "y"]):
        answer = ask("register", *options)
        assert answer.code == 0, answer.err
    assert len(ask("ls").lines) == 3


def test_links_are_made_and_taken_back(family: Path) -> None:
    assert ask("link", "loner", "code", "--relation", "distill").out == (
        "linked loner to code: distill\n"
    )
    assert ask("link", "loner", "code").out == "known already: code is a parent of loner\n"
    assert ask("unlink", "loner", "code").out == (
        "unlinked loner from code (was: distill, declared)\n"
    )
    assert ask("link", "loner", "hf:org/x@main").lines[1] == (
        "hf:org/x@main is not registered yet: kept as a ghost"
    )
    assert "unlinked" in ask("log", "loner").out


def test_scores_say_what_they_replace_and_which_way_is_better(family: Path) -> None:
    assert ask("score", "sft", "gsm8k/acc", "0.65", "--stderr", "0.01").out == (
        "sft scored 0.65 ± 0.01 in gsm8k/acc, was 0.610 ± 0.004 (higher is better)\n"
    )
    assert ask("score", "sft", "gsm8k/acc", "0.65", "--stderr", "0.01").out == (
        "known already: sft scored 0.65 ± 0.01 in gsm8k/acc\n"
    )
    unknown = ask("score", "sft", "home/made", "-0.5").out
    assert unknown.startswith("sft scored -0.5 in home/made")
    assert "--direction" in unknown
    told = ask("score", "sft", "home/made", "-0.4", "--direction", "lower").out
    assert told.endswith("(lower is better)\n")


def test_costs_add_up_or_replace(family: Path) -> None:
    assert ask("meter", "sft", "--kwh", "1", "--source", "measured", "--meter", "wall").out == (
        "training of sft: 3.6 MJ (1 kWh), measured by wall; 6.7 MJ (1.861 kWh) in all\n"
    )
    refused = ask("meter", "sft", "--watts", "700")
    assert refused.code == 2
    assert "watts for how long?" in refused.err
    assert ask("meter", "sft", "--watts", "700", "--hours", "8").out.startswith(
        "training of sft: 20.2 MJ (5.6 kWh), 8 h, declared; "
    )
    rate = ("meter", "sft", "--phase", "serving", "--per", "token", "--joules")
    ask(*rate, "0.4")
    assert ask(*rate, "0.3").out == ("serving of sft: 300 kJ/Mtok, declared, was 400 kJ/Mtok\n")


def test_aliases_move_tags_change_protection_holds(family: Path) -> None:
    assert ask("alias", "sft", "production").out == "sft@production is sft@v1 now\n"
    assert ask("alias", "sft", "production").out == "known already: sft@production is sft@v1\n"
    assert ask("tag", "sft", "team=nlp", "a=1").out == "tagged sft: team=nlp, a=1\n"
    assert ask("tag", "sft", "a=2", "--remove", "team").out == (
        "tagged sft: a=2 (was 1), team taken away (was nlp)\n"
    )
    assert ask("protect", "sft", "--reason", "in use").out == "sft is protected now\n"
    assert ask("protect", "sft").out == "sft is protected already\n"
    assert ask("unprotect", "sft").out == "sft is not protected any more\n"
    assert ask("unprotect", "sft").out == "sft was not protected\n"
    assert "in use" in ask("log", "sft").out


# ---- Mistakes


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ("show sfd", 1, "no organism is called 'sfd'. Nearest: sft"),
        ("show sft@v9", 1, "sft@v1"),
        ("ancestors nobody", 1, "nobody"),
        ("mrca sft nobody", 1, "nobody"),
        ("diff nobody sft", 1, "nobody"),
        ("link base mix", 1, "base@v1 → code@v1 → mix@v1"),
        ("link base base", 1, "its own parent"),
        ("unlink loner base", 1, "base@v1 is not a parent of loner@v1"),
        ("register nowhere/at/all", 1, "nowhere/at/all"),
        ("register .", 1, "no weight file"),
        ("show .", 1, "'.'. It is a path, where nothing is registered: `lineage register PATH`"),
        ("show hf:org/name", 1, "`lineage hub pull ORG/NAME` brings"),
        ("import nothere.csv", 2, "for 'FILE|mlflow': File 'nothere.csv' does not exist"),
        ("ls --limit all", 2, "'all' is not a whole number."),
        ("tree base -o base.pdf", 2, "'base.pdf' has an ending of no format. Known are .svg, "),
        ("export -o family.csv", 2, "'family.csv' has an ending of no format. Give --format: "),
        ("score sft gsm8k/acc nan", 2, "nan"),
        ("score sft gsm8k/acc inf", 2, "inf"),
        ("score sft gsm8k/acc much", 2, "'much'"),
        ("score sft gsm8k 0.5", 2, "task/metric"),
        ("score sft gsm8k/acc 0.5 --direction lower", 2, "higher"),
        ("score sft gsm8k/acc 0.5 --stderr -1", 2, "-1"),
        ("link loner base --relation cousin", 2, "'finetune'"),
        ("register --name x --relation cousin", 2, "'finetune'"),
        ("register --name x --fitness gsm8k", 2, "task/metric=0.61"),
        ("register --name x --tag team", 2, "key=value"),
        ("register --name x --parent a --parent b --weight 1", 2, "1 weight for 2 parents"),
        ("register --digest 1234", 2, "64 hex digits"),
        ("register", 2, "PATH"),
        ("meter sft", 2, "joules"),
        ("meter sft --joules -1", 2, "-1"),
        ("meter sft --joules 1 --kwh 1", 2, "--kwh"),
        ("meter sft --cost 3", 2, "currency"),
        ("alias sft v2", 2, "'v2'"),
        ("tag sft", 2, "--remove"),
        ("ls --niche never/acc", 1, "gsm8k/acc"),
        ("ls --sort fitness", 2, "niche"),
        ("ls --since yesterday", 2, "30d"),
        ("ls --status dead", 2, "'selected_against'"),
        ("ancestors sft --depth 0", 2, "--depth"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence_and_changes_nothing(
    family: Path, args: str, code: int, says: str
) -> None:
    before = ask("ls", "--ghosts", "--json").out
    answer = ask(*args.split())
    assert answer.code == code, answer
    assert says in answer.err
    assert answer.err.startswith("lineage: ")
    assert answer.out == ""
    assert ask("ls", "--ghosts", "--json").out == before


def test_an_ambiguous_reference_lists_what_it_fits(empty: Path) -> None:
    ask("register", "--digest", "ab" * 31 + "00")
    ask("register", "--digest", "ab" * 31 + "01")
    answer = ask("show", "abababab")
    assert answer.code == 1
    assert "ab" * 31 + "00" in answer.err


# ---- Reading


def test_the_family_at_80_columns(family: Path) -> None:
    assert see("descendants", "base").out == (
        "organism  relation   gen      gsm8k/acc  J/Mtok  status\n"
        "sft-500   finetune     1  0.580 ± 0.004   ~6.41  alive\n"
        "code      finetune     1  0.430           ~6.41  alive\n"
        "sft       continue     2  0.610 ± 0.004   ~6.41  alive\n"
        "mix       merge        3  0.590 ± 0.012   ~6.41  alive\n"
        "sft-int8  quantized    3  0.600 ± 0.004   ~2.30  alive\n"
        "gsm8k/acc, higher is better; ~ estimated. 5 organisms.\n"
    )


def test_ls_lists_the_newest_first_and_says_how_many_more(family: Path) -> None:
    listed = see("ls", "--limit", "2")
    header, *rows, footer = listed.lines
    assert header.split() == ["organism", "relation", "gsm8k/acc", "J/Mtok", "age", "status"]
    assert [row.split()[0] for row in rows] == ["loner", "sft-int8"]
    assert footer.endswith("2 of 7 organisms; --limit 0 shows all.")


def test_ls_sorts(family: Path) -> None:
    def names(*args: str) -> list[str]:
        return [row[0].removesuffix("@v1") for row in ask("ls", *args).cells]

    assert names("--sort", "fitness", "--niche", "gsm8k/acc")[:3] == ["sft", "sft-int8", "mix"]
    assert names("--sort", "name")[0] == "base"
    # as the column shows it, estimates too; what is not known comes last
    assert names("--sort", "power")[:2] == ["sft-int8", "base"]
    assert names("--sort", "power")[-1] == "loner"
    assert names("--sort", "generation")[0] in ("mix", "sft-int8")
    assert names("--limit", "3") == ["loner", "sft-int8", "mix"]


def test_ls_filters(family: Path) -> None:
    def names(*args: str) -> set[str]:
        return {row[0].removesuffix("@v1") for row in ask("ls", *args).cells}

    ask("tag", "sft", "team=nlp")
    ask("tag", "mix", "team=vision")
    ask("link", "loner", "someone")
    assert names("sft*") == {"sft", "sft-500", "sft-int8"}
    assert names("sft") == {"sft"}
    assert names("--relation", "finetune") == {"sft-500", "code", "loner"}
    assert names("--tag", "team") == {"sft", "mix"}
    assert names("--tag", "team=nlp") == {"sft"}
    assert names("--niche", "mmlu/acc") == {"base"}
    assert names("--status", "culled") == set()
    assert "someone" not in names()
    assert "someone" in names("--ghosts")
    assert names("--since", "2000-01-01") == names() == names("--since", "2w")
    assert names("--since", "2999-01-01") == set()


def test_an_empty_list_is_said_at_a_terminal_and_is_no_failure(empty: Path) -> None:
    assert "lineage register" in see("ls").out
    assert see("ls", "x*").out == "No organism fits that.\n"
    assert ask("ls") == Answer(0, "", "")
    assert ask("ls", "--json").out == "[]\n"


def test_what_may_be_chosen_is_what_there_is() -> None:
    """A command that is asked for help alone does not read how lists are sorted and trees drawn."""
    assert reading.SORTS == ledger.SORTS
    assert drawing.ORDERS == ORDERS
    assert drawing.LAYOUTS == sheet.LAYOUTS
    assert tuple(axis.LABELS) == drawing.AXES
    assert drawing.COLOURS == tint.TINTS


ORGANISM = {
    "ref", "id", "name", "version", "digest", "status", "ghost", "kind", "generation", "protected",
    "here", "parameters", "bytes", "architecture", "precision", "licence", "created", "registered",
    "run", "step", "latest", "retracted", "place",
}  # fmt: skip
LISTED = ORGANISM | {"parents", "fitness", "serving"}
SHOWN = LISTED | {
    "names", "places", "files", "children", "power", "tags", "aliases", "load_bearing", "events",
}  # fmt: skip


def test_json_has_one_shape_wherever_an_organism_is_read(family: Path) -> None:
    listed = ask("ls", "--json").json
    assert all(one.keys() == LISTED for one in listed)
    for args in (("ancestors", "mix"), ("descendants", "base"), ("mrca", "mix", "code")):
        assert all(one in listed for one in ask(*args, "--json").json)
    shown = ask("show", "sft", "--json").json
    assert shown.keys() == SHOWN
    (same,) = (one for one in listed if one["name"] == "sft")
    assert {key: shown[key] for key in LISTED} == same
    assert shown["parents"] == [
        {"ref": "sft-500@v1", "relation": "continue", "weight": None, "evidence": "declared",
         "confidence": None, "needed": False}
    ]  # fmt: skip
    (score,) = shown["fitness"]
    assert score.keys() == {
        "task", "metric", "split", "value", "direction", "stderr", "n", "at", "retracted"
    }  # fmt: skip
    (cost,) = shown["power"]
    assert cost.keys() >= {
        "phase", "per", "joules", "seconds", "watts", "cost", "currency", "gco2e", "source", "meter"
    }  # fmt: skip


def test_show_tells_everything_of_one(empty: Path) -> None:
    ask("register", checkpoint("runs/base"), "--name", "base")
    ask("register", checkpoint("runs/lora", 1), "--parent", "base", "--relation", "adapter",
        "--fitness", "gsm8k/acc=0.6±0.01", "--joules", "7.2e6", "--tag", "team=nlp",
        "--alias", "best")  # fmt: skip
    ask("score", "lora", "gsm8k/acc", "0.61", "--stderr", "0.01", "--n", "1319")
    page = see("show", "lora").out
    head, *_ = page.splitlines()
    assert head == "lora  alive"
    assert "adapter of base; generation 1, no children" in page
    assert re.search(
        r"gsm8k/acc  0\.61 ± 0\.01  higher is better, n = 1,319, 2 scores, before 0\.6", page
    )
    assert re.search(r"training +7\.2 MJ \(2 kWh\) +declared", page)
    assert re.search(r"serving .* estimated", page)
    assert os.path.abspath("runs/lora") in page
    assert re.search(r"model\.safetensors +\d+ B +genome", page)
    assert re.search(r"config\.json +\d+ B +carried", page)
    assert "needed to run" in page
    assert "team  nlp" in page
    assert "load-bearing" in see("show", "base").out
    piped = ask("show", "lora").cells
    assert ["parents", "base", "adapter", "declared; needed to run"] in piped
    assert ["tags", "team", "nlp"] in piped


def test_show_says_which_places_are_gone(empty: Path) -> None:
    ask("register", checkpoint("run"), "--name", "old")
    shutil.rmtree("run")
    ask("register", checkpoint("run", 1), "--name", "new")
    assert "✕ gone since" in see("show", "old").out
    assert "gone" not in see("show", "new").out


def test_the_line_of_descent_is_shown_up_to_a_few_generations(family: Path) -> None:
    assert "base → sft-500 → sft → sft-int8" in see("show", "sft-int8").out
    assert "merge of sft 70 %, code 30 %" in see("show", "mix").out


def test_log_tells_a_life_with_numbers_and_who(family: Path) -> None:
    ask("score", "sft", "gsm8k/acc", "0.65", "--n", "1319")
    first, second, third = ask("log", "sft").cells
    assert [one[1] for one in (first, second, third)] == ["registered", "metered", "scored"]
    assert "continues sft-500" in first[2]
    assert "gsm8k/acc 0.610 ± 0.004 (n = 1,319)" in first[2]
    assert second[2] == "training 3.1 MJ (0.861 kWh), measured by rapl"
    assert third[2] == "gsm8k/acc 0.65 (n = 1,319)"
    assert (first[4], third[4]) == ("train.py", "lineage score")
    events = ask("log", "sft", "--json").json
    assert [one["kind"] for one in events] == ["registered", "metered", "scored"]
    assert events[2]["body"]["value"] == 0.65
    page = see("log", "sft").out
    assert page.count("train.py") == 1  # who is said once for what they did in a row
    assert "scored gsm8k/acc 0.65" in page


@pytest.mark.parametrize(
    "asked", ["ls", "ls --json", "descendants base", "log --all", "log --all --json"]
)
def test_a_long_list_is_never_held(
    empty: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    with lineage.open(empty) as registry:
        registry.register(name="base")
        below = asked.startswith("descendants")
        number = 50 if below else 49
        registry.register_many(
            {"name": f"n{i}", "parents": "base" if below else None} for i in range(number)
        )
    whole = ask(*asked.split())
    read: list[int] = []
    before_the_first_line: list[int] = []
    run = Registry.organisms

    def organisms(self: Registry, ids: Any) -> Any:
        read.append(len(ids))
        return run(self, ids)

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            before_the_first_line.append(sum(read))
            return super().write(text)

    monkeypatch.setattr(Registry, "organisms", organisms)
    monkeypatch.setattr("lineage.registry.TOGETHER", 10)
    monkeypatch.setattr(listing, "CHUNK", 10)
    streamed = ask(*asked.split(), into=Pipe)
    assert streamed.out == whole.out
    assert (len(streamed.lines), max(read), sum(read)) == (1 if "json" in asked else 50, 10, 50)
    assert before_the_first_line[0] == 10


def test_a_huge_score_fits_a_line(empty: Path) -> None:
    with lineage.open(empty) as registry:
        one = registry.register(name="one", digest="a" * 64)
        registry.score(one, "t/acc", -1e308)
        registry.score(one, "u/acc", 1e300, stderr=1e299)
    assert "-1e+308" in see("ls", "--niche", "t/acc").lines[1]
    assert "1e+300 ± 1e+299" in see("show", "one").out
    for asked in (["ls"], ["tree"], ["show", "one"]):
        assert max(map(len, see(*asked).lines)) <= 80


def test_who_is_known_by_a_place_alone_is_called_by_it(empty: Path) -> None:
    with lineage.open(empty) as registry:
        registry.register(name="lora", digest="a" * 64, parents="hf:org/base", relation="adapter")
    assert see("tree").lines[0].startswith("hf:org/base")
    assert "adapter of hf:org/base" in see("show", "lora").out
    assert [one["place"] for one in ask("ls", "--ghosts", "--json").json] == [None, "hf:org/base"]


def test_a_terminal_reads_the_descendants_that_it_shows(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(empty) as registry:
        registry.register(name="base")
        registry.register_many({"name": f"n{i}", "parents": "base"} for i in range(90))
    read: list[int] = []
    run = Registry.organisms
    monkeypatch.setattr(
        Registry, "organisms", lambda self, ids: read.append(len(ids)) or run(self, ids)
    )
    assert see("descendants", "base").lines[-1].startswith("50 of 90 organisms")
    assert read == [50]


@pytest.mark.parametrize("limit", [None, 3, 10, 13, 99])
def test_the_first_of_a_long_list_are_found_before_the_rest(
    empty: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """What comes meanwhile puts nothing into the list twice, and nothing out of it."""
    monkeypatch.setattr("lineage.registry.TOGETHER", 10)
    with lineage.open(empty) as registry:
        registry.register_many({"name": f"n{i}"} for i in range(25))
        whole = [one.name for one in registry.find()]
        each = registry.each(limit=limit)
        first = next(each).name
        registry.register_many({"name": f"later{i}"} for i in range(4))
        rest = [one.name for one in each]
    names = [one for one in (first, *rest) if not str(one).startswith("later")]
    assert names == whole[: len(names)]
    assert len(rest) + 1 == min(29 if limit is None else limit, 29)


def test_an_array_is_written_as_json_writes_it(empty: Path) -> None:
    assert ask("ls", "--json").out == "[]\n"
    assert ask("ls", "--json", into=Terminal).out == "[]\n"
    with lineage.open(empty) as registry:
        registry.register_many({"name": f"n{i}\u202e\u00e9"} for i in range(3))
    for into, indent in ((io.StringIO, None), (Terminal, 2)):
        answer = ask("ls", "--json", into=into)
        expected = json.dumps(answer.json, ensure_ascii=False, indent=indent) + "\n"
        assert answer.out == expected.replace("\u202e", "\\u202e")


def test_a_long_list_is_cut_at_a_terminal_and_whole_in_a_pipe(empty: Path) -> None:
    with lineage.open(empty) as registry:
        registry.register_many(
            {"name": f"step-{n}", "parents": f"step-{n - 1}" if n else None} for n in range(120)
        )
    assert len(see("ls").lines) == 1 + listing.SHOWN + 1
    assert see("ls").lines[-1] == "50 of 120 organisms; --limit 0 shows all."
    assert len(ask("ls").lines) == 120
    assert len(ask("descendants", "step-0").lines) == 119
    assert see("descendants", "step-0").lines[-1].startswith("50 of 119 organisms")


# ---- Asking


def test_ancestors_and_descendants_follow_relation_and_depth(family: Path) -> None:
    def names(*args: str) -> list[str]:
        return [row[0].removesuffix("@v1") for row in ask(*args).cells]

    assert names("ancestors", "mix") == ["sft", "sft-500", "code", "base"]
    assert names("ancestors", "mix", "--depth", "1") == ["sft", "code"]
    assert names("ancestors", "mix", "--relation", "merge") == ["sft", "code"]
    assert names("descendants", "base", "--depth", "1") == ["sft-500", "code"]
    assert names("descendants", "base", "--status", "culled") == []
    assert see("ancestors", "base").out == "base is a founder: it has no ancestor.\n"
    assert see("descendants", "mix").out == "Nothing descends from mix.\n"
    assert see("ancestors", "mix", "--relation", "prune").out == "No ancestor of mix fits that.\n"


def test_mrca_says_when_there_is_none(family: Path) -> None:
    assert ask("mrca", "mix", "code").cells[0][0] == "code@v1"
    assert [row[0] for row in ask("mrca", "sft-int8", "code").cells] == ["base@v1"]
    assert see("mrca", "mix", "loner").out == "mix and loner have no common ancestor.\n"
    assert ask("mrca", "mix", "loner") == Answer(0, "", "")
    assert ask("mrca", "mix", "loner", "--json").json == []


def test_path_walks_up_and_down(family: Path) -> None:
    assert see("path", "sft-int8", "code").out == (
        "sft-int8\n"
        "↑ quantized  sft\n"
        "↑ continue   sft-500\n"
        "↑ finetune   base   the common ancestor\n"
        "↓ finetune   code\n"
        "4 links: ↑ to a parent, ↓ to a child.\n"
    )
    assert ask("path", "sft-500", "code").cells == [
        ["sft-500@v1", "finetune", "base@v1"],
        ["code@v1", "finetune", "base@v1"],
    ]
    assert see("path", "mix", "loner").out == (
        "mix and loner are not related: they have no common ancestor.\n"
    )
    assert see("path", "mix", "mix@v1").out == "mix and mix@v1 are one organism: mix.\n"
    walked = ask("path", "sft-500", "code", "--json").json
    assert walked["related"] is True
    assert [one["relation"] for one in walked["links"]] == ["finetune", "finetune"]
    assert ask("path", "mix", "loner", "--json").json["related"] is False


def test_diff_compares_score_by_score(family: Path) -> None:
    assert see("diff", "sft-int8", "code").out == (
        "sft-int8 and code parted at base: 3 links to the one, 1 link to the other.\n"
        "  finetune sft-500, continue sft, quantized sft-int8\n"
        "  finetune code\n"
        "\n"
        "            sft-int8         code          difference\n"
        "gsm8k/acc   ▸ 0.600 ± 0.004  0.43          -0.17\n"
        "serving     ~2.3 J/Mtok      ~6.41 J/Mtok  × 2.79\n"
        "parameters  2.5M             2.5M          the same\n"
        "▸ better; ~ estimated.\n"
    )
    # errors of both known: the difference has one too (0.004 √2)
    assert "+0.0300 ± 0.0057 (5.3 se)" in see("diff", "sft-500", "sft").out
    assert "sft descends from sft-500, 1 link below it." in see("diff", "sft-500", "sft").out
    assert "not related" in see("diff", "sft", "loner").out
    found = ask("diff", "sft-500", "sft", "--json").json
    assert found.keys() == {
        "a", "b", "common", "since", "branch_a", "branch_b", "niches", "serving",
        "training", "files", "configuration", "data_sets", "related",
    }  # fmt: skip
    (niche,) = found["niches"]
    assert niche["delta_stderr"] == pytest.approx(0.004 * 2**0.5)
    assert niche["delta"] == pytest.approx(0.03)
    rows = {row[0]: row[1:] for row in ask("diff", "sft-500", "sft").cells}
    assert [float(x) for x in rows["gsm8k/acc"]] == pytest.approx([0.58, 0.61, 0.03])


# ---- Text from outside

HOSTILE = [
    "two\nlines",
    "\x1b[31mred\x1b]0;title\x07",
    "<b onclick=x>",
    "a\tb",
    "\u202egnp.exe",
    "x" * 10_000,
    "שלום",
    'it\'s "quoted"',
    "--help",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_steers_no_terminal_and_breaks_no_line(empty: Path, name: str) -> None:
    with lineage.open(empty) as registry:
        registry.register(name=name, parents="base", fitness={f"{name}/acc": 0.5},
                          tags={name: name}, run=name)  # fmt: skip
        ref = registry.get(name)
        registry.score(ref, "x/acc", 0.1)
    for args in (("ls",), ("show", "--", name), ("log", "--", name), ("descendants", "base"),
                 ("path", "base", "--", name), ("diff", "base", "--", name)):  # fmt: skip
        for into in (Terminal, io.StringIO):
            answer = ask(*args, into=into)
            assert answer.code == 0, answer.err
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f\x9b\u202e]", answer.out)
    assert len(ask("ls").lines) == 1
    assert len(ask("ls").cells[0]) == 12
    assert ask("ls", "--json").json[0]["name"] == name
    assert see("ls").code == 0


def test_colour_is_there_at_a_terminal_and_goes_with_no_color(
    family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in see("show", "sft").out
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[1m" in ask("show", "sft", into=Terminal).out
    assert "\x1b" not in ask("show", "sft").out


def test_a_real_process_keeps_the_exit_codes_and_a_pipe_may_close(family: Path) -> None:
    def run(command: str) -> subprocess.CompletedProcess[str]:
        python = f"{sys.executable} {ROOT / 'cli.py'}"
        return subprocess.run(
            command.replace("lineage", python, 1), shell=True, capture_output=True, text=True,
            executable="/bin/bash",
        )  # fmt: skip

    assert run("lineage ls | head -1").stderr == ""
    assert run("lineage ls --db no/where.db").returncode == 3


def test_the_users_registry_is_brought_up_to_date_on_request(family: Path) -> None:
    answer = ask("db", "upgrade")
    assert answer.code == 0
    assert "has the newest schema already" in answer.out


def test_postgresql_answers_alike(postgres: str) -> None:
    """What a user reads does not depend on the database."""
    db = ["--db", postgres]
    Path("none.jsonl").write_text("")
    assert "lineage: made a registry: postgresql" in ask("import", "none.jsonl", *db).err
    assert "already" in ask("init", *db).out
    ask("register", "--name", "base", "--fitness", "gsm8k/acc=0.4±0.01", "--parameters", "100", *db)
    ask("register", "--name", "sft", "--parent", "base", "--fitness", "gsm8k/acc=0.5±0.01", *db)
    ask("meter", "sft", "--phase", "serving", "--per", "token", "--joules", "0.001", *db)
    for sort in ("fitness", "power", "name", "created"):
        listed = ask("ls", "*s*", "--niche", "gsm8k/acc", "--sort", sort, "--limit", "1", *db)
        assert len(listed.lines) == 1, listed.err
    power = ask("ls", "--sort", "power", *db).cells
    assert [row[0] for row in power] == ["base@v1", "sft@v1"]
    assert (
        see("ls", "--limit", "1", *db).lines[-1].endswith("1 of 2 organisms; --limit 0 shows all.")
    )
    for args in (("show", "sft"), ("log", "sft"), ("path", "sft", "base"), ("diff", "sft", "base"),
                 ("ancestors", "sft"), ("mrca", "sft", "base")):  # fmt: skip
        assert ask(*args, *db).out, args
        assert ask(*args, "--json", *db).json, args
