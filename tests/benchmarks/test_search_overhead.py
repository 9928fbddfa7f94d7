"""The measurement of the search's own cost runs; nothing here judges the time."""

import pytest

from tests.benchmarks.search_overhead import measure


@pytest.mark.parametrize("proposals", [1, 2])
def test_it_measures_a_short_study(proposals: int) -> None:
    found = measure("nsga2", 40, ("robust_accuracy", "params"), proposals)
    assert found["trials"] == 40
    assert 0 < found["ms_per_trial"] < 1000 * found["seconds"]
    assert found["resume_seconds"] > 0
    assert 0 < found["journal_mb"] < 1
