"""The comparison of two revisions sees what differs, and nothing else."""

from tests.benchmarks.identical import compare

OLD = {"00000": {"stored": {"outcome": {"robust": 0.5, "seconds": 1.0}}, "weights": "aa"}}


def test_times_do_not_count_and_new_fields_are_named() -> None:
    new = {"00000": {"stored": {"outcome": {"robust": 0.5, "seconds": 9.0, "scores": {}}}, "weights": "aa"}}
    assert compare(OLD, new) == ([], ["stored.outcome.scores"])


def test_another_value_other_weights_and_other_trials_are_differences() -> None:
    new = {"00000": {"stored": {"outcome": {"robust": 0.6, "seconds": 1.0}}, "weights": "bb"}, "00001": {}}
    changed, alone = compare(OLD, new)
    assert changed == ["00000: stored.outcome.robust", "00000: weights", "trials ['00001']"]
    assert alone == []
