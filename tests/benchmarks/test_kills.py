"""A real search in worker processes, killed at random moments: a few times here, fifty times in the benchmark."""

from tests.benchmarks.kills import kill_again_and_again


def test_a_search_that_is_killed_again_and_again_loses_nothing_and_trains_nothing_twice() -> None:
    found = kill_again_and_again(kills=2, seed=2, ends_within=60, last=2)  # tests on all cores are slow
    assert found["violations"] == []
    assert sum(found["moments"].values()) == 2
    assert found["caught"].keys() - {"nothing running"}, "no kill met a candidate at work"
    assert found["complete"] + found.get("halted", 0) >= 2
