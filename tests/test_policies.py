"""A policy does what its sentences say, refuses what it cannot mean with the line, and a plan on
paper is applied exactly or not at all."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage import PowerCost
from lineage.cli import main, selecting
from lineage.errors import InvalidValue, NotFound
from lineage.selection import budget, planfile, policy
from lineage.selection.planfile import Outdated
from lineage.selection.policy import Policy
from lineage.trees import plan as page


def run_of(registry, run: str, *values: float, joules: float = 1.0, **facts) -> None:
    """Checkpoints of a run, 500 steps apart, each from the one before."""
    for number, value in enumerate(values, 1):
        registry.register(
            name=f"{run}-{number}", run=run, step=500 * number,
            parents=f"{run}-{number - 1}" if number > 1 else None, relation="continue",
            fitness={"x/acc": value}, bytes=1_000_000_000,
            power=PowerCost(joules=joules, phase="serving", per="token"), **facts,
        )  # fmt: skip


def proposed(registry, asked: Policy) -> set[str]:
    return {str(one.organism) for one in registry.select(asked).proposals}


def one(settings: str) -> Policy:
    (found,) = policy.parse(f"[mine]\n{settings}").values()
    return found


# ---- Reading


@pytest.mark.parametrize(
    ("written", "line", "says"),
    [
        ("delta = 0.1", 1, "stands in no policy"),
        ("[a]\nconfidense = 0.9", 2, "Is 'confidence' meant?"),
        ("[a]\n\nconfidence = 1.0", 3, "0.5 or more and below 1"),
        ("[a]\ndelta = nan", 2, "0 or more, not nan"),
        ("[a]\nscope.run = 'x'\nscope.agee = '3d'", 3, "Is 'age' meant?"),
        ("['a.b'.keep_best]\nn = 1\nper = 'runs'", 3, "per"),
        ("[a]\ntraffic = ['2 tokens/month', '3 tokens/month']", 2, "says tokens twice."),
        ("[a]\nkeep_last = 0", 2, "keep_last"),
        ("[a]\nkeep_every = 1000", 2, "1000 steps"),
        ("[a]\ngrace = '7 years'", 2, "30d"),
        ("[a]\nscope = { age = '99999999999999w' }", 2, "longer than 30,000 years"),
        ("[a]\nkeep_last = 99999999999999999999", 2, "from 1 to"),
        ("[a]\nkeep_every = '99999999999999999999 steps'", 2, "1000 steps"),
        ("[a]\nkeep_best = {n = 2, pre = 'run'}", 2, "Is 'per' meant?"),
        ("[a]\ndelta = 0.1\n[a.scope]\nage = 3", 4, "age"),
        ("[a]\nbudget = '2 XB'", 2, "'XB'"),
        ("[a]\nbudget = '5 EUR/month'", 2, "needs a price"),
        ("[a]\nprice = '1 USD/kWh'\nbudget = '5 EUR/month'", 3, "the budget is in EUR"),
        ("[a]\ntraffic = '3 cups/month'", 2, "tokens"),
        ("[a]\nretire = 'all'", 2, "keep_last"),
        ("[b]\ndelta = 1\n[a]\ndelta = true", 4, "delta"),
        ("[a]\nmix_estimates = 1", 2, "true or false"),
    ],
)
def test_what_a_policy_cannot_mean_is_said_with_the_line(written, line, says):
    with pytest.raises(InvalidValue) as error:
        policy.parse(written, "p.toml")
    assert f"p.toml, line {line}:" in str(error.value)
    assert says in str(error.value)
    assert str(error.value).endswith((".", "?"))
    assert not str(error.value).endswith("?.")


def test_every_setting_can_be_written_and_is_told():
    assert {each.name for each in fields(Policy)} - {"name"} == policy.SETTINGS.keys()
    found = one(
        'cost = "bytes"\ncorrect_comparisons = true\ndelta = 0.01\ncost_margin = 0.1\n'
        'niches = ["x/*"]\nleave_out = ["x/loss"]\nduplicates = "oldest"\nprotect = ["keep*"]\n'
        'aliases = ["prod"]\ngrace = "7d"\nkeep_founders = true\nkeep_last = 2\n'
        'keep_best = { n = 3, niche = "x/acc", per = "clade" }\nkeep_every = "1000 steps"\n'
        'keep_within = "12h"\nbudget = "500 EUR/month"\nprice = "0.40 EUR/kWh"\n'
        'storage_price = "0.02 EUR/GB/month"\ncarbon = "380 g/kWh"\n'
        'traffic = ["2e9 tokens/month", "720 hours/month"]\n'
        'scope = { run = "sft-*", tag = "team=a", clade = "base", age = "30d", name = "m*" }'
    )
    assert found.traffic == {"token": 2e9, "hour": 720}
    assert policy.of_plain(json.loads(json.dumps(policy.plain(found)))) == found
    told = " ".join(policy.describe(found))
    for word in ("sft-*", "team=a", "30 days", "prod", "keep*", "7 days", "3 best of each clade",
                 "2 last", "1,000 steps", "12 hours", "500 EUR a month", "0.02 EUR", "oldest",
                 "10 % fewer bytes", "x/loss", "380 g"):  # fmt: skip
        assert word in told, word


def test_a_file_may_hold_several_policies(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text("[a]\ndelta = 0.5\n[b]\ndelta = 0.25\n")
    assert policy.load(f"{file}:b").delta == 0.25
    with pytest.raises(InvalidValue, match="2 policies: a, b"):
        policy.load(str(file))
    with pytest.raises(InvalidValue, match="no policy 'c'"):
        policy.load(f"{file}:c")
    with pytest.raises(InvalidValue, match="best-per-niche"):
        policy.load("frontierr")


# ---- Guards and keepers


def test_what_is_leased_is_not_selected_until_it_is_released(registry_url):
    with lineage.open(registry_url) as registry:
        run_of(registry, "r", 0.1, 0.9)
        assert proposed(registry, policy.FRONTIER) == {"r-1"}
        end = datetime.now(UTC) + timedelta(days=1)
        registry.lease("r-1", end, "evaluation")
        assert proposed(registry, policy.FRONTIER) == set()
        assert [kept.guard for kept in registry.select().kept] == ["leased"]
        assert "leased by evaluation" in registry.explain("r-1").guards[0]
        with pytest.raises(NotFound, match="leased by evaluation"):
            registry.release("r-1", "somebody")
        registry.release("r-1", "evaluation")
        assert proposed(registry, policy.FRONTIER) == {"r-1"}
        assert [e.kind for e in registry.history("r-1")][-2:] == ["leased", "released"]
        with pytest.raises(InvalidValue, match="over already"):
            registry.lease("r-1", datetime.now(UTC) - timedelta(days=1), "late")
        # a lease that is over guards nothing
        with registry.store.act() as act:
            own = registry.get("r-1").id
            act.connection.execute(
                "INSERT INTO lease (organism, holder, until) VALUES (?, 'old', ?)",
                (own, act.at - 1),
            )
        assert proposed(registry, policy.FRONTIER) == {"r-1"}


def test_what_the_policy_names_and_nothing_fits_is_said(registry_url):
    slips = one(
        'niches = ["x/*", "y/*"]\nprotect = ["r-1", "release-*", "tag:paper"]\n'
        'keep_best = { niche = "x/ac" }\naliases = ["production", "prodution"]'
    )
    with lineage.open(registry_url) as registry:
        run_of(registry, "r", 0.1, 0.9)
        registry.alias("r-2", "production")
        plan = registry.select(slips)
        assert plan.idle == (
            'niches "y/*"', 'keep_best niche "x/ac"', 'aliases "prodution"',
            'protect "release-*"', 'protect "tag:paper"',
        )  # fmt: skip
        assert registry.select().idle == ()


def test_what_nothing_fits_is_told_where_a_pipe_takes_the_plan(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "r", 0.1, 0.9)
    (tmp_path / "p.toml").write_text('[mine]\nprotect = ["relase-*"]')
    asked = ["--db", str(tmp_path / "r.db"), "select", "--policy", str(tmp_path / "p.toml")]
    done = CliRunner().invoke(main, asked)
    assert done.stdout.split("\t")[0] == "r-1"
    assert 'protect "relase-*"' in done.stderr


def test_what_was_applied_is_told_though_the_page_cannot_be_written(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "r", 0.1, 0.9)
    page_ = str(tmp_path / "nowhere" / "plan.html")
    asked = ["--db", str(tmp_path / "r.db"), "select", "--apply", "--output", page_]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1
    told, error = done.stderr.splitlines()
    assert "Marked 1 as selected against. `lineage revive NAME`" in told
    assert "could not be written" in error


def test_a_simulated_price_says_that_it_wants_traffic(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "r", 0.1, joules=2.0)
        run_of(registry, "s", 0.9)
    asked = ["--db", str(tmp_path / "r.db"), "select", "--simulate", "price=0.40 EUR/kWh"]
    assert "where traffic is known" in CliRunner().invoke(main, asked).stdout
    done = CliRunner().invoke(main, [*asked, "--simulate", "traffic=9e6 tokens/month"])
    assert "1.00 EUR a month" in done.stdout
    assert "where traffic is known" not in done.stdout


def test_a_score_that_a_policy_does_not_count_is_none_and_no_missing_cost(registry_url):
    with lineage.open(registry_url) as registry:
        run_of(registry, "r", 0.1, 0.9)
        for asked in (one('niches = ["y/*"]'), one('leave_out = ["x/*"]')):
            plan = registry.select(asked)
            assert (plan.unscored, plan.uncosted, plan.proposed) == (2, 0, 0)
            assert {unknown.missing for unknown in plan.unknown} == {"score"}
            assert registry.explain("r-1", asked).missing == "score"
            assert page.headline(plan) == "Nothing to mark among 2 living organisms."
        registry.register(name="sizeless", fitness={"x/acc": 0.2})
        plan = registry.select(policy.READY["storage"])
        assert (plan.unscored, plan.uncosted) == (0, 1)
        assert "room" in page.headline(plan)
        assert page.missing("cost", plan.cost) == "no known size"


def test_a_lease_goes_through_export_and_import(tmp_path):
    from lineage.formats import jsonl

    end = datetime(2040, 1, 1, tzinfo=UTC)
    with lineage.open(tmp_path / "a.db") as a, lineage.open(tmp_path / "b.db") as b:
        run_of(a, "r", 0.1, 0.9)
        a.lease("r-1", end, "me")
        with a.database.read() as connection:
            lines = list(jsonl.export(connection))
        assert jsonl.import_lines(b.store, lines).set_aside == 0
        with b.database.read() as connection:
            assert list(jsonl.export(connection)) == lines
        assert proposed(b, policy.FRONTIER) == set()
        assert b.explain("r-1").guards == ("leased by me until 2040-01-01 00:00 UTC",)


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ("", {"r-1", "r-2", "r-3", "s-1", "s-2"}),
        ("keep_last = 2", {"r-1", "r-2", "s-1"}),
        ('keep_every = "1000 steps"', {"r-1", "r-3", "s-1"}),
        ('keep_within = "1d"', set()),
        ('grace = "1d"', set()),
        ('keep_best = { n = 2, per = "run" }', {"r-1", "r-2", "s-1"}),
        ('keep_best = { n = 2, per = "clade" }', {"r-1", "r-2", "s-1"}),
        ("keep_best = { n = 2 }", {"r-1", "r-2", "r-3", "s-1", "s-2"}),
        ("keep_founders = true", {"r-2", "r-3", "s-2"}),
        ('protect = ["s-*", "tag:keep=yes"]', {"r-1", "r-3"}),
        ('scope = { run = "r" }', {"r-1", "r-2", "r-3"}),
        ('scope = { clade = "s-1" }', {"s-1", "s-2"}),
        ('scope = { tag = "keep" }', {"r-2"}),
        ('scope = { age = "1d" }', set()),
        ('leave_out = ["x/*"]', set()),
        ('retire = "all"\nkeep_last = 1', {"r-1", "r-2", "r-3", "s-1", "s-2"}),
        ('retire = "scored"\nkeep_best = { n = 1 }', {"r-1", "r-2", "r-3", "s-1", "s-2", "s-3"}),
    ],
)
def test_a_policy_spares_what_it_says(registry_url, settings, gone):
    with lineage.open(registry_url) as registry:
        run_of(registry, "r", 0.1, 0.2, 0.3, 0.9)
        run_of(registry, "s", 0.1, 0.2, 0.8, joules=0.5)
        registry.tag("r-2", {"keep": "yes"})
        assert proposed(registry, one(settings)) == gone


@pytest.mark.parametrize("settings", ["", '\nbudget = "1 GB"'])
def test_a_founder_goes_with_its_clade_and_a_second_run_finds_nothing(registry_url, settings):
    asked = one(f"keep_founders = true{settings}")
    with lineage.open(registry_url) as registry:
        run_of(registry, "r", 0.1, 0.2, joules=2.0)
        run_of(registry, "top", 0.9)
        registry.protect("r-2")
        assert proposed(registry, asked) == ({"top-1"} if settings else set())
        registry.unprotect("r-2")
        assert proposed(registry, asked) == {"r-1", "r-2"}
        registry.select(asked, apply=True)
        assert proposed(registry, asked) == set()


def test_a_rotation_needs_no_score_and_says_nothing_else(registry_url):
    asked = policy.READY["trainer-rotation"]
    with lineage.open(registry_url) as registry:
        for step in range(3):
            registry.register(name=f"c-{step}", run="r", step=step)
        plan = registry.select(asked)
        assert page.headline(plan) == "Nothing to mark among 3 living organisms."
        assert registry.select().unscored == 3
        registry.register(name="c-3", run="r", step=3)
        plan = registry.select(asked)
        assert [str(found.organism) for found in plan.proposals] == ["c-0"]
        assert (plan.kept_count, plan.unscored, plan.unknown) == (3, 0, ())


def test_who_is_beaten_out_of_scope_does_not_justify_its_bill(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "r", 0.1, 0.2, 0.9)
        plan = registry.select(one('scope = { run = "s" }'))
        assert "1 of 3 living organisms justifies" in page.headline(plan)


def test_marks_of_one_policy_are_nothing_to_another(tmp_path):
    """A wide delta marks what the frontier keeps; the frontier does not revive it, and its own
    next run changes nothing."""
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "cheap", 0.5)
        run_of(registry, "dear", 0.55, joules=2.0)
        wide = one("delta = 0.1")
        assert registry.select(wide, apply=True).marked == 1
        assert registry.select().revivable == 0
        assert registry.select(wide).revivable == 0
        registry.score("dear-1", "x/acc", 0.9)
        assert [str(found) for found in registry.select(wide).revivals] == ["dear-1"]
        done = registry.select(wide, apply=True)
        assert (done.marked, done.revived) == (0, 1)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("confidence", 7), ("delta", "x"), ("niches", "x/acc"), ("retire", "everything"),
        ("grace", 1e400), ("scope", {"runs": "r"}), ("keep_best", {"n": "two"}),
        ("budget", {"amount": "x", "unit": "B"}), ("budget", {"unit": "B"}),
        ("traffic", {"cup": 1.0}), ("price", 3), ("name", 5), ("unknown", 1),
    ],
)  # fmt: skip
def test_a_plan_with_a_policy_that_nobody_could_write_is_refused(tmp_path, part, value):
    plan = {"policy": policy.plain(Policy()) | {part: value}, "select": [], "revive": []}
    (tmp_path / "p.json").write_text(json.dumps({"format": planfile.FORMAT} | plan))
    with lineage.open(tmp_path / "r.db") as registry, pytest.raises(InvalidValue, match="json"):
        registry.select(from_plan=tmp_path / "p.json")


@pytest.mark.parametrize("entry", [{}, {"ref": "a", "rule": "x", "reasons": [{}]}, 1])
def test_a_plan_with_parts_missing_is_refused(tmp_path, entry):
    plan = {"policy": policy.plain(Policy()), "select": [entry], "revive": []}
    (tmp_path / "p.json").write_text(json.dumps({"format": planfile.FORMAT} | plan))
    with lineage.open(tmp_path / "r.db") as registry:
        with pytest.raises(InvalidValue, match="parts missing"):
            registry.select(from_plan=tmp_path / "p.json")
        url = str(tmp_path / "r.db")
    for more in (["--policy", "frontier"], ["--simulate", "delta=1"]):
        asked = ["--db", url, "select", "--from-plan", str(tmp_path / "p.json"), *more]
        assert CliRunner().invoke(main, asked).exit_code == 2


# ---- Budgets


def test_who_is_revived_has_room_in_the_budget(registry_url):
    with lineage.open(registry_url) as registry:
        run_of(registry, "good", 0.9)
        run_of(registry, "bad", 0.5, joules=2.0)
        asked = one('budget = "1 GB"')
        assert registry.select(asked, apply=True).marked == 1
        registry.score("bad-1", "x/acc", 0.8)
        registry.score("good-1", "x/acc", 0.7)
        plan = registry.select(asked)  # bad-1 is obsolete no more: one of both has to go
        assert ([str(found) for found in plan.revivals], proposed(registry, asked)) == (
            ["bad-1"], {"good-1"},
        )  # fmt: skip
        assert (plan.budget.before, plan.budget.after, plan.budget.met) == (1e9, 1e9, True)
        registry.protect("good-1")
        plan = registry.select(asked)
        assert (plan.revivals, plan.proposed, plan.budget.after) == ((), 0, 1e9)
        scoped = one('budget = "1 GB"\nscope = { run = "bad" }')
        assert registry.select(scoped).revivals == ()
        registry.select(asked, apply=True)
        assert registry.get("bad-1").status == "selected_against"
        registry.unprotect("good-1")
        registry.select(asked, apply=True)
        (told,) = [x for x in selecting._remarks(registry.explain("good-1")) if "Marked" in x]
        assert ", by policy mine, for the budget." in told


def test_a_budget_takes_the_least_fit_first_and_says_when_it_cannot_be_met(registry_url):
    with lineage.open(registry_url) as registry:
        for place, value in enumerate((0.5, 0.6, 0.7, 0.8), 1):  # all on the front
            run_of(registry, f"m{place}", value, joules=float(place))
        registry.protect("m1-1")
        plan = registry.select(one('budget = "2 GB"'))
        assert [str(each.organism) for each in plan.proposals] == ["m2-1", "m3-1"]
        assert {each.rule for each in plan.proposals} == {"budget"}
        assert plan.budget
        assert (plan.budget.before, plan.budget.after, plan.budget.met) == (4e9, 2e9, True)
        short = registry.select(one('budget = "0.5 GB"')).budget
        assert short
        assert (short.after, short.met) == (1e9, False)
        done = registry.select(one('budget = "2 GB"'), apply=True)
        assert done.marked == 2
        again = registry.select(one('budget = "2 GB"'), apply=True)
        assert (again.marked, again.revived) == (0, 0)
        assert registry.revive_run(str(done.run)) == 2


def test_a_plan_frees_what_the_dominator_does_not_use(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "good", 0.9, joules=1.0)
        run_of(registry, "bad", 0.1, joules=4.0)
        settings = (
            'traffic = "3.6e6 tokens/month"\nprice = "0.50 EUR/kWh"\ncarbon = "400 g/kWh"\n'
            'storage_price = "2 EUR/GB/month"'
        )
        freed = registry.select(one(settings)).frees
        assert freed.bytes == 1_000_000_000
        assert freed.joules == pytest.approx(3 * 3.6e6)  # 4 J a token, less 1 J
        assert (freed.money, freed.currency) == (pytest.approx(3 * 0.5 + 2), "EUR")
        assert freed.gco2e == pytest.approx(1200)
        registry.tag("bad-1", {"traffic": "7.2e6 tokens/month"})
        assert registry.select(one(settings)).frees.joules == pytest.approx(6 * 3.6e6)
        assert registry.select().frees.joules == pytest.approx(6 * 3.6e6)
        assert registry.select().frees.money is None


@settings(max_examples=200)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.data())
def test_the_diversity_that_is_left_is_the_largest(parents, data):
    """Against all subsets of the leaves: with equal fitness and use, as many as may stay keep as
    many links as any set of that size (Steel 2005)."""
    above = {own: above % own for own, above in enumerate(parents, 1)}
    leaves = [own for own in range(len(parents) + 1) if own not in above.values()]
    keep = data.draw(st.integers(1, len(leaves)))

    def links(those) -> int:
        found = set()
        for at in those:
            while at in above:
                found.add(at)
                at = above[at]
        return len(found)

    gone, left = budget.retire(
        keep, dict.fromkeys(leaves, 1.0), leaves, dict.fromkeys(leaves, 1.0), above, leaves
    )
    assert left == keep
    best = max(links(some) for some in itertools.combinations(leaves, keep))
    assert links(set(leaves) - set(gone)) == best


def test_a_long_chain_is_no_burden():
    above = {own: own - 1 for own in range(1, 100_000)}
    everyone = range(100_000)
    gone, left = budget.retire(
        50_000, dict.fromkeys(everyone, 1.0), everyone, {}, above, everyone
    )
    assert (len(gone), left) == (50_000, 50_000)
    assert not math.isnan(left)


# ---- Plans on paper


def test_a_plan_is_applied_exactly_and_undone_at_once(registry_url, tmp_path):
    file = tmp_path / "plan.json"
    with lineage.open(registry_url) as registry:
        run_of(registry, "r", 0.1, 0.2, 0.9)
        registry.select(write_plan=file)
        with pytest.raises(InvalidValue, match="is there already"):
            registry.select(write_plan=file)
        run_of(registry, "s", 0.05)  # a newcomer: it is not in the plan, and changes nothing in it
        done = registry.select(from_plan=file, apply=True)
        assert done.marked == 2
        marked = {str(found) for found in registry.find(status="selected_against")}
        assert marked == {"r-1", "r-2"}
        (event,) = [e for e in registry.history("r-1") if e.kind == "selected_against"]
        assert event.body["run"] == done.run
        assert registry.revive_run(str(done.run), "undo") == 2
        assert registry.find(status="selected_against") == []
        with pytest.raises(NotFound, match="no mark that stands"):
            registry.revive_run(str(done.run))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.protect("r-1"), "r-1@v1 would not be proposed any more"),
        (lambda r: r.score("r-3", "x/acc", 0.8), "by_value was 0.9, is 0.8"),
        (lambda r: r.alias("r-2", "production"), "r-2@v1 would not be proposed any more"),
        (lambda r: run_of(r, "new", 0.95), "by was r-3@v1, is new-1@v1"),
    ],
)
def test_a_plan_whose_ground_has_moved_is_refused_and_told(tmp_path, change, says):
    file = tmp_path / "plan.json"
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "r", 0.1, 0.2, 0.9)
        registry.select(write_plan=file)
        change(registry)
        with pytest.raises(Outdated) as error:
            registry.select(from_plan=file, apply=True)
        assert says in str(error.value)
        assert registry.find(status="selected_against") == []


@pytest.mark.parametrize(
    ("marked", "revived", "told"),
    [
        (0, 0, ""),
        (0, 2, "Revived 2."),
        (3, 0, "Marked 3 as selected against. `lineage revive NAME`"),
        (3, 2, "Marked 3 as selected against. Revived 2. `lineage revive NAME`"),
    ],
)
def test_what_an_application_did_is_told_and_how_to_take_it_back(tmp_path, marked, revived, told):
    with lineage.open(tmp_path / "r.db") as registry:
        plan = replace(registry.select(), marked=marked, revived=revived, run="abc")
    said = selecting._next(plan, "")
    assert said.startswith(told)
    assert ("`lineage revive --run abc`" in said) == bool(marked)


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"format": "lineage plan 1"}', '{"a": NaN'])
def test_what_is_no_plan_is_refused(tmp_path, written):
    file = Path(tmp_path / "plan.json")
    file.write_text(written)
    with lineage.open(tmp_path / "r.db") as registry, pytest.raises(InvalidValue, match="plan"):
        registry.select(from_plan=file, apply=True)


def test_who_goes_for_the_budget_frees_all_that_it_uses(tmp_path):
    """Nobody serves in its place, so the sums of the plan and of the budget agree."""
    with lineage.open(tmp_path / "r.db") as registry:
        for name, score, joules in (("a", 0.5, 2.0), ("b", 0.9, 1.0)):
            registry.register(
                name=name, fitness={"x/acc": score},
                power=PowerCost(joules=joules, phase="serving", per="token", source="measured"),
            )  # fmt: skip
        (found,) = policy.parse(
            '[p]\ntraffic = "1e6 tokens/month"\nbudget = "0.1 kWh/month"'
        ).values()
        plan = registry.select(found)
    assert {one.rule for one in plan.proposals} == {"budget"}
    assert plan.frees.joules == pytest.approx(plan.budget.before - plan.budget.after)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("frontier", ["no longer justifies", "Kept though beaten: c", "`lineage select --apply`"]),
        ("best-per-niche", ["is kept by nothing", "Kept: ", "--policy best-per-niche --apply"]),
    ],
)
def test_what_a_plan_says_is_of_its_policy(tmp_path, capsys, chosen, told):
    with lineage.open(tmp_path / "r.db") as registry:
        for name, score in (("a", 0.5), ("b", 0.9), ("c", 0.4)):
            registry.register(
                name=name, fitness={"x/acc": score},
                power=PowerCost(joules=1.0, phase="serving", per="token", source="measured"),
            )  # fmt: skip
        registry.protect("c")
        plan = registry.select(chosen)
    selecting.say(plan, selecting._asked(chosen, None))
    said = capsys.readouterr().out
    for words in told:
        assert words in said


def test_a_policy_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for asked, why in ((tmp_path / "no.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InvalidValue, match=rf"is no policy \({why}.*one of: frontier"):
            policy.load(str(asked))


def test_explain_says_where_a_policy_goes_by_more_than_fronts(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "r.db") as registry:
        run_of(registry, "r", 0.1, 0.2, 0.9)
    asked = tmp_path / "p.toml"
    for written, more in (("", False), ("keep_founders = true", True), ("keep_last = 1", True)):
        asked.write_text(f"[p]\n{written}\n")
        arguments = ["--db", str(tmp_path / "r.db"), "explain", "r-1", "--policy", str(asked)]
        said = " ".join(CliRunner().invoke(main, arguments).output.split())
        assert ("This policy goes by more than fronts" in said) == more
        assert ("proposes it" in said) != more
