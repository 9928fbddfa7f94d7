"""A search that ends anywhere and is started again: nothing finished is lost, nothing is trained twice."""

from importlib.util import find_spec
from pathlib import Path
from random import Random

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from nas.base.errors import StudyCorrupt
from nas.base.records import Candidate, Outcome, TrialState
from nas.search.finished import read_records
from nas.search.journal import STUDY_NAME, read_trials
from nas.search.samplers import SAMPLERS
from nas.search.study import open_storage
from tests.toy import Batched, Result, ToyEvaluate, open_study, search, settings, toy_problem, toy_space

USABLE = sorted(name for name in SAMPLERS if name != "pymoo_agemoea" or find_spec("numba"))
each_sampler = pytest.mark.parametrize("sampler", USABLE)
TRIALS = 8
PROBLEM = toy_problem(toy_space(3), params=1000)
SHORT = settings(6)


class _Interrupting:
    """Ctrl-C at the `at`-th call, before (True) or after the candidate was trained."""

    def __init__(self, at: int) -> None:
        self.at, self.calls, self.evaluate = at, 0, ToyEvaluate()

    def __call__(self, candidate: Candidate) -> Outcome:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.evaluate(candidate)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: search(folder / name, PROBLEM, settings(TRIALS, sampler=name)) for name in USABLE}


@each_sampler
def test_one_worker_and_one_seed_give_one_search(tmp_path: Path, whole: dict[str, Result], sampler: str) -> None:
    again = search(tmp_path / "j", PROBLEM, settings(TRIALS, sampler=sampler))
    assert again.records == whole[sampler].records
    other = search(tmp_path / "k", PROBLEM, settings(TRIALS, sampler=sampler, seed=1))
    assert [r.genotype for r in other.records] != [r.genotype for r in again.records]


@each_sampler
def test_interrupted_after_any_report_it_goes_on_the_same(
    tmp_path: Path, whole: dict[str, Result], sampler: str
) -> None:
    chosen, uninterrupted = settings(TRIALS, sampler=sampler), whole[sampler]
    assert len(uninterrupted.reports) > TRIALS
    for stop in range(1, len(uninterrupted.reports) + 1, {"gp": 4, "tpe": 2}.get(sampler, 1)):  # slow ones
        left = [stop]

        def interrupt(_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        path = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            search(path, PROBLEM, chosen, report=interrupt)
        assert search(path, PROBLEM, chosen).records == uninterrupted.records, f"stopped at report {stop}"


@each_sampler
def test_interrupted_within_any_trial_it_goes_on_the_same(
    tmp_path: Path, whole: dict[str, Result], sampler: str
) -> None:
    chosen = settings(TRIALS, sampler=sampler)
    for stop in range(1, TRIALS + 1):
        interrupting = _Interrupting(stop)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / str(stop), PROBLEM, chosen, executor=Batched(interrupting, 1))
        resumed = search(tmp_path / str(stop), PROBLEM, chosen)
        assert resumed.records == whole[sampler].records, f"stopped in training {stop}"
        assert len(interrupting.evaluate.calls) + len(resumed.trained) == TRIALS


def test_interrupted_among_barren_proposals_it_goes_on_the_same(tmp_path: Path) -> None:
    """Proposals that train nothing are counted across an interruption, too."""
    problem, chosen = toy_problem(toy_space(3, (1, 2))), settings(10)  # two more than the space has
    uninterrupted = search(tmp_path / "whole", problem, chosen)
    reused = [record.number for record in uninterrupted.records if record.reused_from is not None]
    assert len(reused) > 10
    for number in reused[4::6]:

        def interrupt(progress: object, number: int = number) -> None:
            if progress.latest and progress.latest.number == number:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / str(number), problem, chosen, report=interrupt)
        assert search(tmp_path / str(number), problem, chosen).records == uninterrupted.records


def test_several_running_trials_are_all_taken_up_again(tmp_path: Path) -> None:
    interrupting = _Interrupting(5)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "j", executor=Batched(interrupting, 3))
    finished = {record.number for record in read_records(tmp_path / "j")}
    trained = [record for record in read_records(tmp_path / "j") if record.reused_from is None]
    result = search(tmp_path / "j")
    assert len(trained) == 4
    assert len(result.fresh) == 12
    assert finished.isdisjoint(candidate.number for candidate in result.trained)
    assert [record.number for record in result.records] == list(range(len(result.records)))


def test_a_finished_search_trains_nothing_more_and_can_be_prolonged(tmp_path: Path) -> None:
    first = search(tmp_path / "j", chosen=settings(6))
    again = search(tmp_path / "j", chosen=settings(6))
    assert again.trained == []
    assert again.records == first.records
    longer = search(tmp_path / "j", chosen=settings(10))
    assert len(longer.trained) == 4
    assert longer.records == search(tmp_path / "k", chosen=settings(10)).records


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Result]:
    path = tmp_path_factory.mktemp("journal") / "j"
    result = search(path, PROBLEM, SHORT)
    assert {TrialState.REJECTED, TrialState.COMPLETE} == {record.state for record in result.records}
    return path.read_bytes(), result


def _cuts(content: bytes, count: int) -> list[int]:
    """Every line's start and `count` seeded positions within lines."""
    starts = [0, *(index + 1 for index, byte in enumerate(content) if byte == ord("\n"))]
    return sorted({*starts, *Random(0).sample(range(len(content)), count)})


def test_a_journal_cut_anywhere_is_taken_up_again(tmp_path: Path, journal: tuple[bytes, Result]) -> None:
    content, uninterrupted = journal
    path = tmp_path / "j"
    previous = 0
    for cut in _cuts(content, 25):
        path.write_bytes(content[:cut])
        study = open_study(path, PROBLEM, SHORT)
        kept, half_finished = study.records(), [record for _, record in study.half_finished()]
        assert kept == uninterrupted.records[: len(kept)], f"cut at byte {cut}"
        assert previous <= len(kept) <= previous + 1, f"cut at byte {cut} lost more than the unfinished trial"
        previous = len(kept)
        result = search(path, PROBLEM, SHORT)
        assert result.records[: len(kept)] == kept, f"cut at byte {cut} changed a finished trial"
        assert half_finished in (
            [],
            [uninterrupted.records[len(kept)]] if len(kept) < len(uninterrupted.records) else [],
        )
        finished = {r.genotype.key for r in (*kept, *half_finished) if r.state is not TrialState.REJECTED}
        trained = [candidate.genotype.key for candidate in result.trained]
        assert finished.isdisjoint(trained), f"cut at byte {cut} trained a finished architecture again"
        assert len(finished) + len(set(trained)) == len(finished) + len(trained) == SHORT.trials, f"cut at byte {cut}"
    assert previous == len(uninterrupted.records)


@each_sampler
def test_a_journal_cut_within_a_proposal_gives_the_same_proposal(tmp_path: Path, sampler: str) -> None:
    chosen = settings(6, sampler=sampler)
    uninterrupted = search(tmp_path / "whole", PROBLEM, chosen)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    proposals = [index for index, line in enumerate(lines) if b'"param_name"' in line]
    differing = []
    for index in proposals:
        path = tmp_path / f"{index}"
        path.write_bytes(b"".join(lines[:index]))
        if search(path, PROBLEM, chosen).records != uninterrupted.records:
            differing.append(index)
    assert not differing, f"other records after a cut before lines {differing} of {len(lines)}"


def test_a_journal_is_read_as_optuna_reads_it(tmp_path: Path, journal: tuple[bytes, Result]) -> None:
    lines = journal[0].splitlines(keepends=True)
    path = tmp_path / "j"
    for kept in range(2, len(lines) + 1, 3):
        path.write_bytes(b"".join(lines[:kept]))
        found = optuna.load_study(study_name=STUDY_NAME, storage=open_storage(path)).get_trials(
            states=(OptunaState.COMPLETE, OptunaState.FAIL)
        )
        assert {
            number: (trial.state, trial.values, trial.attributes) for number, trial in read_trials(path).items()
        } == {trial.number: (trial.state.value, trial.values, trial.user_attrs) for trial in found}


def test_reading_a_journal_with_a_torn_last_line_changes_nothing(tmp_path: Path, journal: tuple[bytes, Result]) -> None:
    content, uninterrupted = journal
    torn = content[:-40]
    (tmp_path / "j").write_bytes(torn)
    assert read_records(tmp_path / "j") == uninterrupted.records[:-1]
    assert (tmp_path / "j").read_bytes() == torn


@pytest.mark.parametrize("damage", [b"{]", b"\x00\x80\xff", b'{"op_code": 99}', b"[]", b"17"])
def test_a_corrupt_line_in_the_middle_is_named(tmp_path: Path, journal: tuple[bytes, Result], damage: bytes) -> None:
    lines = journal[0].splitlines()
    lines[len(lines) // 2] = damage
    path = tmp_path / "j"
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(StudyCorrupt, match=rf"{path} .*line: {len(lines) // 2 + 1}\)"):
        search(path, PROBLEM, SHORT)
    with pytest.raises(StudyCorrupt, match=rf"{path} .*line: {len(lines) // 2 + 1}\)"):
        read_records(path)
    assert path.read_bytes() == b"\n".join(lines) + b"\n", "a corrupt study is left as it was found"


def test_a_missing_study_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(StudyCorrupt, match="nas search CONFIG"):
        read_records(tmp_path / "none")


def test_a_study_of_other_objectives_is_refused(tmp_path: Path) -> None:
    search(tmp_path / "j", chosen=settings(2))
    other = toy_problem(objectives=["params", "instability", "robust_accuracy"])
    with pytest.raises(StudyCorrupt):
        open_study(tmp_path / "j", other, settings(2))


@pytest.mark.parametrize(("blank", "share"), [(b"\n", 1), (b"\0\0\0\0", 1), (b"\n \t\r\n", 0.5)], ids=repr)
def test_blank_lines_are_no_lines_of_a_journal(
    tmp_path: Path, journal: tuple[bytes, Result], blank: bytes, share: float
) -> None:
    content, uninterrupted = journal
    lines = content.splitlines(keepends=True)
    lines.insert(round(len(lines) * share), blank)
    path, found = tmp_path / "j", b"".join(lines)
    path.write_bytes(found)
    assert read_records(path) == uninterrupted.records
    assert path.read_bytes() == found, "reading changes nothing"
    longer = search(path, PROBLEM, settings(10)).records
    assert longer[: len(uninterrupted.records)] == uninterrupted.records
    assert read_records(path) == longer
    assert all(line.strip() for line in path.read_bytes().splitlines())


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"], ids=repr)
def test_half_a_line_is_removed_before_the_next_is_written_whatever_follows_it(
    tmp_path: Path, journal: tuple[bytes, Result], end: bytes
) -> None:
    content, uninterrupted = journal
    path = tmp_path / "j"
    path.write_bytes(content[:-40] + end)  # an editor ends what a crash left unended
    assert read_records(path) == uninterrupted.records[:-1]
    assert search(path, PROBLEM, SHORT).records == uninterrupted.records
    assert read_records(path) == uninterrupted.records


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [(b'"costs":', b'"cost":', "cost"), (b'"warnings":', b'"remarks":', "evaluation.remarks"),
     (b'"record":{"number":0,', b'"record":{"number":"x",', "number")],
)  # fmt: skip
def test_a_record_of_another_version_is_refused_with_what_to_do(
    tmp_path: Path, journal: tuple[bytes, Result], old: bytes, new: bytes, named: str
) -> None:
    path = tmp_path / "j"
    assert old in journal[0]
    changed = journal[0].replace(old, new, 1)
    path.write_bytes(changed)
    for read in (read_records, lambda path: search(path, PROBLEM, settings(10))):
        with pytest.raises(
            StudyCorrupt, match=rf"{path}: the record of trial \d+ .*{named}.*the version that wrote it"
        ):
            read(path)
        assert path.read_bytes().startswith(changed), "what was found is kept"
