"""Real searches that begin with the front of another run: frozen at their first start, refused by name."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.base.errors import ConfigError, RunMismatch, UsageError
from nas.base.records import TrialRecord
from nas.runs import open_run
from nas.runs.config import RunConfig, dump_config, load_config
from nas.runs.work import search, sweep
from nas.search.problem import Progress
from tests.tiny_run import nas, write_config

TINY = Path("runs", "tiny")
NEW = Path("runs", "new")
GENOTYPE = {"width_1": 0.5, "width_2": 1, "expand_2": 2}
FROM = (
    "search.start_from.genotypes=[{width_1: 0.5, width_2: 1, expand_2: 2}]", "search.start_from.runs=[runs/tiny]",
)  # fmt: skip


def _config(*overrides: str) -> RunConfig:
    return load_config(write_config(Path()), overrides)


def _ignore(_: object) -> None:
    pass


def _values(records: Sequence[TrialRecord]) -> list[dict[str, object]]:
    return [dict(record.genotype.values) for record in records]


def _results(folder: Path) -> list[tuple[object, ...]]:
    """All of the trials in `folder` but how long they took."""
    return [(r.number, r.genotype, r.seed, r.state, r.evaluation, r.violations) for r in open_run(folder).records]


def test_a_search_begins_with_what_is_listed_and_the_front_of_another_run(copy: Path) -> None:
    front = open_run(TINY).front().records
    search(_config(*FROM, "search.trials=5", "search.anchors=false"), NEW, _ignore)
    found = open_run(NEW).records
    expected = [GENOTYPE, *(one for one in _values(front) if one != GENOTYPE)]
    assert _values(found)[: len(expected)] == expected
    best = [record.evaluation.robust_accuracy for record in front if record.evaluation]
    assert best == sorted(best, reverse=True)
    assert len(best) > 1, "a front of one member has no order: the test proves nothing"
    written = json.loads((NEW / "start.json").read_text())
    assert [entry["genotype"] for entry in written] == [GENOTYPE, *_values(front)]
    assert [entry["origin"] for entry in written[1:]] == [f"runs/tiny, trial {record.number}" for record in front]


def test_their_results_are_measured_anew(copy: Path) -> None:
    front = {record.genotype.key: record for record in open_run(TINY).front().records}
    search(_config(*FROM, "threat.epsilon=0.05"), NEW, _ignore)
    again = [record for record in open_run(NEW).records if record.genotype.key in front]
    assert again
    for record in again:
        assert record.evaluation
        assert record.evaluation.threat["epsilon"] == 0.05
        assert record.evaluation != front[record.genotype.key].evaluation


class _Stopping:
    """Ctrl-C at the `at`-th report."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, _: Progress) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_a_resumed_search_heeds_neither_change_nor_loss_of_the_other_run(copy: Path) -> None:
    config = _config(*FROM, "search.trials=5")
    search(config, Path("runs", "whole"), _ignore)
    whole = _results(Path("runs", "whole"))
    for stop in (1, 3):  # before any trial, and after the second
        folder = Path("runs", f"stopped_{stop}")
        with pytest.raises(KeyboardInterrupt):
            search(config, folder, _Stopping(stop))
        before = open_run(TINY).front().records
        shutil.move(TINY, "aside")
        if stop > 1:
            other = _config("search.sampler=random", "search.seed=5", "search.anchors=false", "objectives=[params]")
            search(other, TINY, _ignore)
            assert _values(open_run(TINY).front().records) != _values(before)
            with pytest.raises(KeyboardInterrupt):
                search(config, folder, _Stopping(1))
            shutil.rmtree(TINY)
        search(config, folder, _ignore)
        shutil.move("aside", TINY)
        assert _results(folder) == whole, f"stopped at report {stop}"


def test_killed_before_the_list_was_written_it_is_made_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nas.runs.work.frozen", killed)
        with pytest.raises(KeyboardInterrupt):
            search(_config(*FROM), NEW, _ignore)
    assert (NEW / "config.yaml").exists()
    assert not (NEW / "start.json").exists()
    search(_config(*FROM), NEW, _ignore)
    assert GENOTYPE in _values(open_run(NEW).records)


def test_where_a_search_starts_is_fixed_once_the_run_exists(copy: Path) -> None:
    with pytest.raises(RunMismatch, match=r"search\.start_from\.genotypes: the run has \[\]"):
        search(_config(FROM[0]), TINY, _ignore)
    search(_config(*FROM), NEW, _ignore)
    with pytest.raises(RunMismatch, match=r"search\.start_from\.runs: the run has \[\"runs/tiny\"\]"):
        search(_config(FROM[0]), NEW, _ignore)


def test_trials_without_the_list_are_refused(copy: Path) -> None:
    config = _config(*FROM)
    search(config, NEW, _ignore)
    (NEW / "start.json").unlink()
    with pytest.raises(RunMismatch, match=r"runs/new holds trials but no start\.json"):
        search(config, NEW, _ignore)
    assert not (NEW / "start.json").exists()


def test_a_sweep_trains_its_own_list_alone(copy: Path) -> None:
    config = _config(*FROM, "sweep={genotypes: [{width_1: 1, width_2: 1, expand_2: 3}], seeds: 1}")
    sweep(config, NEW, _ignore)
    assert _values(open_run(NEW).records) == [{"width_1": 1, "width_2": 1, "expand_2": 3}]
    assert not (NEW / "start.json").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("runs=[runs/none]", r"search\.start_from\.runs: no run in runs/none"),
        ("runs=[.]", r"search\.start_from\.runs: no run in \."),
        (
            "presets=[mousavi_w1.0_e6]",
            r"mousavi_w1\.0_e6 .*expand_2 = 6 is not an option of \[1\.0, 2\.0, 3\.0, 4\.0\]",
        ),
        ("genotypes=[{width_1: 0.7, width_2: 1, expand_2: 2}]", r"genotypes\.0: .*width_1 = 0\.7 .*\[0\.5, 1\.0\]"),
    ],
)
def test_what_cannot_be_begun_with_leaves_no_folder(copy: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        search(_config(f"search.start_from.{override}"), NEW, _ignore)
    assert not NEW.exists()


def test_a_run_that_nothing_was_searched_in_is_named(copy: Path) -> None:
    (TINY / "study.journal").unlink()
    with pytest.raises(ConfigError, match=r"search\.start_from\.runs: no study at runs/tiny/study\.journal"):
        search(_config(*FROM), NEW, _ignore)


def test_a_run_of_other_options_gives_the_members_that_fit(copy: Path) -> None:
    front = open_run(TINY).front().records
    widest = max(float(record.genotype.values["expand_2"]) for record in front)
    kept = [one for one in _values(front) if one["expand_2"] != widest]
    options = sorted({one["expand_2"] for one in kept})  # type: ignore[type-var]
    assert 0 < len(kept) < len(front)
    search(_config(FROM[1], f"space.expand_ratios={options}", "search.anchors=false"), NEW, _ignore)
    assert [entry["genotype"] for entry in json.loads((NEW / "start.json").read_text())] == kept
    with pytest.raises(ConfigError, match=r"runs/tiny .*expand_2 = .* is not an option of \[9\.0\]"):
        search(_config(FROM[1], "space.expand_ratios=[9]"), Path("runs", "other"), _ignore)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("presets=[mousavi_w0.35_e7]", "unknown preset 'mousavi_w0.35_e7' (allowed: mousavi_w0.35_e6, "),
        ("run=[runs/tiny]", "search.start_from.run: unknown field [got [\"runs/tiny\"]] (allowed: genotypes, presets"),
        ("genotypes=[3]", "search.start_from.genotypes.0"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_meant_is_refused_when_it_is_read(here: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Path("tiny.yaml"), [f"search.start_from.{override}"])
    assert words in str(caught.value)


def test_a_dumped_config_is_read_back_equal(copy: Path) -> None:
    config = _config(*FROM, "search.start_from.presets=[mousavi_w0.35_e6]")
    again = load_config(write_config(Path(), dump_config(config)))
    assert again == config
    assert dump_config(again) == dump_config(config)
    assert again.search.start_from.genotypes == (GENOTYPE,)
    assert again.search.start_from.runs == (TINY,)


def test_check_counts_what_a_search_begins_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(*overrides: str, form: str = "json") -> str:
        options = [word for override in overrides for word in ("--set", override)]
        ended = nas(capsys, "check", "tiny.yaml", "--no-time", "--format", form, *options)
        assert ended.code == 0, ended.err
        return ended.out

    assert json.loads(check())["begins_with"] == {
        "architectures": 2,
        "anchors": 2,
        "over_budget": 0,
        "anchors_over_budget": [],
    }
    front = {record.genotype.key for record in open_run(TINY).front().records}
    found = json.loads(check(FROM[1], "search.anchors=false"))["begins_with"]
    assert found == {"architectures": len(front), "anchors": 0, "over_budget": 0, "anchors_over_budget": []}
    costs = [record.costs.params for record in open_run(TINY).records]
    budget = f"budget.params={min(costs)}"
    tight = json.loads(check(budget))["begins_with"]
    assert (tight["architectures"], tight["over_budget"], tight["anchors_over_budget"]) == (2, 1, ["largest"])
    table = check(budget, FROM[0], form="table")
    assert "the smallest and the largest network (the largest is over budget and skipped)" in table
    assert "then 1 of search.start_from (1 over budget and skipped)" in table
    assert "first trials" not in check("search.anchors=false", form="table"), "there are none"
    refused = nas(capsys, "check", "tiny.yaml", "--no-time", "--set", "search.start_from.runs=[runs/none]")
    assert (refused.code, "no run in runs/none" in refused.message) == (2, True)


def test_a_damaged_list_of_a_run_is_named(copy: Path) -> None:
    config = _config(*FROM)
    search(config, NEW, _ignore)
    (NEW / "start.json").write_text("[")
    with pytest.raises(UsageError, match=r"runs/new/start\.json is damaged"):
        search(config, NEW, _ignore)
