"""Other people's tables: a map is checked before the first row, a row says what its columns mean,
and what cannot be read is told by its line while the rest goes in."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

import lineage
from lineage.cli import main
from lineage.errors import InvalidValue
from lineage.formats import guess, jsonl, maps, tables
from lineage.formats.importing import Report
from lineage.registry import Registry

ZOO = ROOT / "examples" / "torchvision_zoo.csv"
ZOO_MAP = ROOT / "examples" / "torchvision_zoo.toml"

NAMED = '[organism]\nname = "name"\n'


def imported(registry: Registry, csv: str | bytes, mapping: str, **how: Any) -> Report:
    raw = csv if isinstance(csv, bytes) else csv.encode()
    known = maps.parse_map(mapping)
    table = tables.open_table(io.BytesIO(raw), "table.csv", known)
    return tables.import_table(registry.store, table.rows, known.reader(table.columns), **how)


def imported_zoo(registry: Registry) -> Report:
    with ZOO.open("rb") as file:
        known = maps.load_map(ZOO_MAP)
        table = tables.open_table(file, ZOO.name, known)
        return tables.import_table(registry.store, table.rows, known.reader(table.columns))


def exported(registry: Registry) -> list[dict[str, Any]]:
    with registry.database.read() as connection:
        lines = [json.loads(line) for line in jsonl.export(connection)]
    for line in lines:  # of this import alone
        del line["events"]
        line.pop("registered", None)
        for one in line.get("power", []) + line.get("fitness", []):
            one.pop("at", None)
    return lines


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def registry(tmp_path: Path) -> Any:
    with lineage.open(tmp_path / "r.db", durable=False) as opened:
        yield opened


# ---- the zoo


def test_the_zoo_comes_in_whole_and_once(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        report = imported_zoo(registry)
        assert (report.created, report.set_aside) == (166, 0)
        again = imported_zoo(registry)
        assert (again.created, again.updated, again.unchanged) == (0, 0, 166)
        lines = exported(registry)
    links = Counter(one["relation"] for line in lines for one in line.get("parents", ()))
    assert links == {"quantized": 14, "finetune": 31}
    evidence = Counter(one["evidence"] for line in lines for one in line.get("parents", ()))
    assert evidence == {"declared": 26, "configured": 19}
    alexnet = next(line for line in lines if line["name"].startswith("AlexNet"))
    assert alexnet["tags"] == {"digest_prefix": "7be5be79"}
    assert "digest" not in alexnet
    assert alexnet["bytes"] == round(233.087 * 2**20)
    assert {(one["metric"], one["value"]) for one in alexnet["fitness"]} == {
        ("acc@1", 56.522),
        ("acc@5", 79.066),
    }


def test_a_quantized_row_has_the_operations_of_its_parent_at_the_price_of_8_bits(
    registry: Registry,
) -> None:
    imported_zoo(registry)
    lines = {line["name"]: line for line in exported(registry)}
    (int8,) = lines["GoogLeNet_QuantizedWeights.IMAGENET1K_FBGEMM_V1"]["power"]
    (float32,) = lines["GoogLeNet_Weights.IMAGENET1K_V1"]["power"]
    # 1.498 giga multiply-adds; NVIDIA's data sheet: 400 W, 156e12 TF32 and 624e12 INT8 a second
    assert math.isclose(float32["joules"], 2 * 1.498e9 * 400 / 156e12)
    assert math.isclose(int8["joules"], 2 * 1.498e9 * 400 / 624e12)
    assert (int8["source"], int8["per"]) == ("estimated", "image")
    assert "A100" in int8["meter"]
    assert "lower bound" in int8["meter"]


def test_a_person_detector_is_no_rival_of_a_detector(registry: Registry) -> None:
    imported_zoo(registry)
    niches = {
        str(score.niche)
        for one in registry.summaries(registry.find("KeypointRCNN*"))
        for score in one.scores
    }
    assert niches == {"COCO-val2017/box_map (person)", "COCO-val2017/kp_map (person)"}


# ---- what a map can say

LONG = "name,task,metric,value\na,gsm8k,acc,0.5\na,own,thing,7\nb,gsm8k,acc,0.6\n"
WIDE = "name,gsm8k,thing\na,0.5,7\nb,0.6,\n"


def test_one_score_a_row_and_one_a_column_are_the_same(tmp_path: Path) -> None:
    by_row = """[[score]]
task = "task"
metric = "metric"
value = "value"
direction = { column = "metric", values = { thing = "lower" }, else = "higher" }
"""
    by_column = """[[score]]
niche = { value = "gsm8k/acc" }
value = "gsm8k"
[[score]]
niche = { value = "own/thing" }
value = "thing"
direction = { value = "lower" }
"""
    found = []
    for number, (table, mapping) in enumerate([(LONG, by_row), (WIDE, by_column)]):
        with lineage.open(tmp_path / f"{number}.db", durable=False) as registry:
            report = imported(registry, table, NAMED + mapping)
            assert (report.created, report.set_aside) == (2, 0)
            found.append(exported(registry))
    assert found[0] == found[1]
    assert [len(line["fitness"]) for line in found[0]] == [2, 1]  # unknown is no zero


def test_units_and_counts(registry: Registry) -> None:
    mapping = NAMED + """parameters = { column = "size", unit = "B" }
[[cost]]
phase = { value = "serving" }
per = { value = "token" }
count = 1e6
joules = { column = "wh", unit = "Wh" }
cost = { column = "usd", unit = "USD" }
[[cost]]
watts = { column = "kw", unit = "kW" }
seconds = { column = "hours", unit = "h" }
"""
    imported(registry, "name,size,wh,usd,kw,hours\na,7.24,3,2.5,0.4,2\n", mapping)
    (line,) = exported(registry)
    assert line["parameters"] == 7_240_000_000
    rate, total = sorted(line["power"], key=lambda one: str(one["per"]))
    assert math.isclose(rate["joules"], 3 * 3600 / 1e6)
    assert (rate["cost"], rate["currency"]) == (2.5e-6, "USD")
    assert total["joules"] == 400 * 7200


def test_a_device_of_ones_own(registry: Registry) -> None:
    mapping = NAMED + """[device]
name = "T4"
watts = 70
source = "its data sheet"
peak = { F16 = 65e12, I8 = 130e12 }
[[cost]]
operations = { column = "gmacs", unit = "GMAC" }
per = { value = "image" }
precision = "kind"
"""
    report = imported(registry, "name,gmacs,kind\na,4,F16\nb,4,I8\nc,4,F32\nd,4,\n", mapping)
    a, b = exported(registry)
    assert math.isclose(a["power"][0]["joules"], 8e9 * 70 / 65e12)
    assert a["power"][0]["joules"] == 2 * b["power"][0]["joules"]
    assert "its data sheet" in a["power"][0]["meter"]
    # what the device has no rate for has no cost that could be told
    assert [(one.line, one.reason) for one in report.first] == [
        (4, "T4 has no rate for 'F32': F16, I8."),
        (5, "T4 has no rate for 'an unknown precision': F16, I8."),
    ]


def test_a_device_that_is_known_needs_no_data_sheet(registry: Registry) -> None:
    mapping = NAMED + """[device]
name = "T4"
[[cost]]
operations = { column = "gmacs", unit = "GMAC" }
per = { value = "image" }
precision = { value = "I8" }
"""
    imported(registry, "name,gmacs\na,4\n", mapping)
    ((cost,),) = [line["power"] for line in exported(registry)]
    assert math.isclose(cost["joules"], 8e9 * 70 / 130e12)  # NVIDIA's data sheet of the T4
    with pytest.raises(InvalidValue, match=r"no device .T5. is known.*Is 'T4' meant"):
        imported(registry, "name,gmacs\na,4\n", mapping.replace('"T4"', '"T5"'))


def test_parents_may_come_later_and_cycles_are_set_aside(registry_url: str) -> None:
    mapping = NAMED + '[[parent]]\nref = "parent"\nrelation = "how"\n'
    with lineage.open(registry_url) as registry:
        report = imported(
            registry, "name,parent,how\nc,b,finetune\nb,a,merge\na,c,prune\nd,d,\n", mapping
        )
        assert [one.line for one in report.first] == [4, 5]
        assert "descends from it" in report.first[0].reason
        assert [str(one) for one in registry.ancestors("c")] == ["b", "a"]
        assert registry.get("d").generation == 0


@pytest.mark.parametrize(
    ("raw", "settings"),
    [
        ("name;note\nü;1,5\n".encode(), ""),
        ("\ufeffname\tnote\nü\t1,5\n".encode(), ""),
        ("name|note\nü|1,5\n".encode("cp1252"), '[table]\nencoding = "cp1252"\n'),
        ("name\tnote\nü\t1,5\n".encode("utf-16"), '[table]\nencoding = "utf-16"\n'),
        (b'name,note\n"\xc3\xbc","1,5"\n', ""),
        ("name@note\nü@1,5\n".encode(), '[table]\nseparator = "@"\n'),
    ],
)
def test_separators_and_encodings(registry: Registry, raw: bytes, settings: str) -> None:
    report = imported(registry, raw, f'{settings}{NAMED}tags.note = "note"\n')
    assert report.set_aside == 0
    assert [(one["name"], one["tags"]) for one in exported(registry)] == [("ü", {"note": "1,5"})]


def test_parquet_says_what_csv_says(tmp_path: Path) -> None:
    frame = pa.table({"name": ["a", "b"], "acc": [0.5, None], "n": [7, 8], "ok": [True, None]})
    pq.write_table(frame, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("name,acc,n,ok\na,0.5,7,true\nb,,8,\n")
    (tmp_path / "map.toml").write_text(
        NAMED + 'parameters = "n"\ntags.ok = "ok"\n'
        '[[score]]\nniche = { value = "t/acc" }\nvalue = "acc"\n'
    )
    found = []
    for ending in ("parquet", "csv"):
        db = tmp_path / f"{ending}.db"
        done = run("--db", db, "import", tmp_path / f"t.{ending}", "--map", tmp_path / "map.toml")
        assert done.exit_code == 0, done.output
        with lineage.open(db) as registry:
            found.append(exported(registry))
    assert found[0] == found[1]
    assert found[0][0]["parameters"] == 7


# ---- a map is checked before the first row

WRONG = {
    "name = ": "is not TOML",
    '[organism]\nparameters = "name"\n': "needs a name, a digest or a place",
    '[organism]\nname = "nmae"\n': "Line 2: no column is called 'nmae'. Is 'name' meant?",
    '[organism]\nnaem = "name"\n': "[organism] has no key 'naem'. Is 'name' meant?",
    f"{NAMED}[parents]\n": "a map has no table [parents]. Is 'parent' meant?",
    f'{NAMED}[[parent]]\nrelation = "finetune"\n': 'write relation = { value = "finetune" }',
    f'{NAMED}[[parent]]\nref = "acc"\nrelation = {{ value = "child" }}\n': "relation cannot be",
    f'{NAMED}[[score]]\nvalue = "acc"\n': "either a niche (task/metric), or a task and a metric",
    f'{NAMED}[[score]]\nniche = {{ value = "t/odd" }}\nvalue = "acc"\n': "is a higher 'odd' better",
    f'{NAMED}[[score]]\nniche = {{ value = "odd" }}\nvalue = "acc"\n': "Write task/metric",
    f'{NAMED}bytes = {{ column = "acc", unit = "mb" }}\n': "bytes knows no unit \"mb\"",
    f'{NAMED}[[cost]]\ncost = "acc"\n': "cost needs a currency",
    f'{NAMED}[[cost]]\noperations = "acc"\nper = {{ value = "token" }}\n': "needs a unit: FLOP",
    f'{NAMED}[[cost]]\noperations = {{ column = "acc", unit = "MAC" }}\n': "operations per what?",
    f'{NAMED}[[cost]]\noperations = {{ column = "acc", unit = "MAC" }}\nper = {{ value = "token" }}'
    '\nprecision = { value = "I4" }\n': "has no rate for 'I4'",
    f'{NAMED}[[cost]]\nper = {{ value = "token" }}\n': "needs one of joules",
    f'{NAMED}[[cost]]\njoules = "acc"\ncount = 0\n': "count must be a number above zero",
    f'{NAMED}[device]\nname = "x"\nwatts = 1\n': "[device] needs peak, source",
    f'{NAMED}[device]\nname = "x"\n': 'no device "x" is known',
    f'{NAMED}tags.x = "twice"\n': "two columns are called 'twice', the 3rd and the 4th",
    f"{NAMED}step = 7\n": "step = { value = 7 }",
    f'[table]\nencoding = "utf-9"\n{NAMED}': "no encoding is called 'utf-9'",
    f'[table]\nseparator = ";;"\n{NAMED}': "separator must be one character",
}  # fmt: skip


@pytest.mark.parametrize(("mapping", "said"), WRONG.items())
def test_a_wrong_map_is_told_before_anything_happens(
    tmp_path: Path, mapping: str, said: str
) -> None:
    (tmp_path / "map.toml").write_text(mapping)
    (tmp_path / "t.csv").write_text("name,acc,twice,twice\na,0.5,1,2\n")
    done = run("--db", tmp_path / "new.db", "import", tmp_path / "t.csv",
               "--map", tmp_path / "map.toml")  # fmt: skip
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "new.db").exists()


def test_all_mistakes_of_a_map_are_told_at_once() -> None:
    mapping = '[organism]\nname = "x"\nbytes = "y"\n\n[[score]]\nvalue = "z"\n'
    with pytest.raises(InvalidValue, match=r"4 mistakes. Line 2: .* Line 3: .* Line 5: .* Line 6"):
        maps.parse_map(mapping).reader(["name"])


# ---- rows

CELLS = {
    "1,234.5": "separators of thousands",
    "0,5": "decimal comma",
    "50 %": "percent sign",
    "nan": "cannot be compared",
    "n/a": 'unknown = ["n/a"]',
    "1e999": "",
}


@pytest.mark.parametrize(("cell", "said"), CELLS.items())
def test_a_cell_that_could_be_read_in_two_ways_is_set_aside(
    registry: Registry, cell: str, said: str
) -> None:
    mapping = NAMED + '[[score]]\nniche = { value = "t/acc" }\nvalue = "acc"\n'
    report = imported(registry, f'name,acc\nx,0.5\ny,"{cell}"\nz,0.7\n', mapping)
    assert (report.created, [one.line for one in report.first]) == (2, [3])
    assert said in report.first[0].reason


def test_a_broken_table_loses_its_broken_rows_alone(registry: Registry) -> None:
    report = imported(registry, b"name,x\na,1\nb\nc,1,2\n\xff,3\nd,1\n\"e,5\n", NAMED)
    assert report.created == 2
    assert [one.line for one in report.first] == [3, 4, 5, 7]
    assert [one["name"] for one in exported(registry)] == ["a", "d"]


def test_rejects_are_kept_and_the_exit_code_says_so(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(NAMED + 'step = "step"\n')
    (tmp_path / "t.csv").write_text('name,step\na,1\n"<b>\x1b[2J",x\n')
    done = run("--db", tmp_path / "r.db", "import", tmp_path / "t.csv",
               "--map", tmp_path / "map.toml", "--rejects", tmp_path / "no.jsonl")  # fmt: skip
    assert done.exit_code == 1
    assert "1 organism imported" in done.stdout
    assert "line 3: column 'step': 'x' is not a number" in done.stderr
    (kept,) = (tmp_path / "no.jsonl").read_text().splitlines()
    assert json.loads(kept)["rejected"]["line"] == 3
    assert "\x1b" not in kept + done.output


def test_a_table_without_a_map_is_asked_for_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name\na\n")
    done = run("import", tmp_path / "t.csv")
    assert done.exit_code == 2
    assert "--guess" in done.stderr


# ---- guesses


def test_a_guess_of_the_zoo_can_be_used_as_it_is(tmp_path: Path) -> None:
    done = run("import", ZOO, "--guess", "--map", tmp_path / "zoo.toml")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / ".lineage").exists()  # nothing was imported
    again = run("import", ZOO, "--guess", "--map", tmp_path / "zoo.toml")
    assert again.exit_code == 2  # what is there is not written over
    lineage.open(tmp_path / "r.db").close()
    done = run("--db", tmp_path / "r.db", "import", ZOO, "--map", tmp_path / "zoo.toml")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "166 organisms imported: 166 new" in done.stdout


def test_a_guess_knows_names_digests_scores_and_costs() -> None:
    columns = ["Model", "sha256", "base_model", "gsm8k_acc", "gsm8k_acc_stderr", "loss",
               "Params (M)", "energy_kwh", "cost_usd", "odd", "note"]  # fmt: skip
    row = ["a", "ab" * 32, "b", "0.5", "0.01", "2.5", "125", "3", "1.5", "9", "hello"]
    made = maps.parse_map(guess.guess(tables.Table(columns, [(2, row)]), "runs.csv"))
    found = made.reader(columns)(row)
    assert found["digest"] == "ab" * 32
    assert found["parameters"] == 125_000_000
    assert found["parents"] == [{"ref": "b"}]
    assert found["fitness"] == [
        {"task": "gsm8k", "metric": "acc", "value": 0.5, "stderr": 0.01},
        {"task": "runs", "metric": "loss", "value": 2.5},
    ]
    assert found["power"][0]["joules"] == 3 * 3.6e6
    assert found["tags"] == {"note": "hello"}
    assert "odd" in made.text  # as a comment: of what, and which is better?


columns = st.lists(
    st.one_of(
        st.sampled_from(["name", "parent", "relation", "task", "metric", "value", "loss", "flops",
                         "sha256", "mmlu acc", "size_mb", "params", "watts", 'q"\n', "\x1b[2J"]),
        st.text(max_size=8),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@given(columns, st.data())
def test_whatever_the_header_a_guess_fits_it(header: list[str], data: st.DataObject) -> None:
    header = [one.strip() for one in header]
    cells = st.sampled_from(["", "1", "0.5", "abc", "finetune", "ab" * 32, "1,5", "ü\n"])
    width = len(header)
    rows = data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=3))
    table = tables.Table(header, [(number, row) for number, row in enumerate(rows, 2)])
    try:
        made = guess.guess(table, "t.csv")
    except InvalidValue:
        assert header.count("name") != 1  # no column that could be a name is a sound reason
        return
    assert "\x1b" not in made
    read = maps.parse_map(made).reader(header)
    for row in rows:
        with suppress(InvalidValue):  # a row may be wrong; the map is not
            read(row)
