"""Ray keeps the executors' contract; a node that is killed costs no finished trial and repeats none."""

import importlib.util
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.base.errors import ConfigError, NasError, UsageError
from nas.search.finished import is_trained
from nas.workers.local import Executor
from nas.workers.ray import ATTEMPTS, Node, RayTasks, Share, cluster, share_out
from tests.contracts.executor_contract import EVALUATE, ExecutorContract, run_all
from tests.ray_cluster import HEAD, PORT, SECOND, Diary, PlainJob, kill_node, ray_environment, read_diary, two_nodes
from tests.toy import Result, ToyEvaluate, search, settings

has_ray = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not has_ray, reason="Ray is not installed (pip install '.[ray]')")


@needs_ray
class TestRayTasks(ExecutorContract):
    kind = RayTasks

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with ray_environment(), cluster(None, 2) as nodes:
            assert nodes == (Node(2),)
            tasks = RayTasks(PlainJob(EVALUATE), Share(workers=2, threads=1), timeout=2.0)
            yield tasks
            tasks.close()

    def test_has_the_capacity_of_its_workers(self, executor: Executor) -> None:
        assert executor.capacity == 2

    def test_a_crash_and_a_timeout_touch_no_other_candidate(self, executor: Executor) -> None:
        outcomes = run_all(executor, [60, 1, 61, 2])
        assert f"lost for good in attempt {ATTEMPTS} of {ATTEMPTS}" in (outcomes[60].error or "")
        assert "search.trial_timeout = 2 s" in (outcomes[61].error or "")
        assert all(outcomes[number].evaluation is None for number in (60, 61))
        assert all(outcomes[number].evaluation is not None for number in (1, 2))

    def test_a_worker_loads_the_job_once(self, executor: Executor, tmp_path: Path) -> None:
        counted = RayTasks(_Counted(str(tmp_path)), Share(workers=2, threads=1), timeout=None)
        assert len(run_all(counted, range(6))) == 6
        loads = [path.name.split("-")[0] for path in tmp_path.iterdir()]
        assert loads
        assert len(loads) == len(set(loads)) <= 2

    def test_a_job_that_a_node_cannot_load_is_an_error_of_ours(self, executor: Executor) -> None:
        broken = RayTasks(_Unloadable(), Share(workers=1, threads=1), timeout=None)
        with pytest.raises(NasError, match="a node cannot run candidates"):
            run_all(broken, [1])


class _Counted(PlainJob):
    """Leaves a file PID-… in a folder whenever a process loads it."""

    def __init__(self, folder: str) -> None:
        super().__init__(EVALUATE)
        object.__setattr__(self, "folder", folder)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _count, (self.folder,)  # type: ignore[attr-defined]


def _count(folder: str) -> PlainJob:
    Path(folder, f"{os.getpid()}-{time.time_ns()}").touch()
    return PlainJob(EVALUATE)


class _Unloadable(PlainJob):
    """Arrives nowhere, like a class of a package that a node lacks."""

    def __init__(self) -> None:
        super().__init__(EVALUATE)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return importlib.import_module, ("no_such_package",)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return search(tmp_path_factory.mktemp("local") / "j", chosen=settings(8))


class _KillWhenItWorks(threading.Thread):
    """Kills the second node while it works on a candidate and `after` others have ended there."""

    def __init__(self, folder: Path, nodes: dict, after: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.nodes, self.after = folder, nodes, after
        self.before: list[tuple[int, str, str]] = []
        """The diary at the moment of the kill."""
        self.start()

    def run(self) -> None:
        while True:
            own = [what for _, node, what in read_diary(self.folder) if node == SECOND]
            if own.count("ended") >= self.after and own.count("began") > own.count("ended"):
                kill_node(self.nodes[SECOND])
                self.before = read_diary(self.folder)
                return
            time.sleep(0.02)


@needs_ray
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_node_loses_no_finished_trial_and_repeats_none(tmp_path: Path, local: Result, workers: int) -> None:
    diary = Diary(ToyEvaluate(), tmp_path, seconds=0.4)
    with ray_environment(), two_nodes(tmp_path) as started, cluster(f"{HEAD}:{PORT}", 1) as nodes:
        assert nodes == (Node(1), Node(1))
        if workers == 1:  # the head only starts what the other node cannot
            _occupy(HEAD)
        killer = _KillWhenItWorks(tmp_path, started, after=2)
        tasks = RayTasks(PlainJob(diary), share_out(nodes, workers, 8, None), timeout=None)
        if workers == 1:
            threading.Thread(target=lambda: (killer.join(), _release()), daemon=True).start()
        result = search(tmp_path / "j", chosen=settings(8), executor=tasks)
        tasks.close()
    assert killer.before, "the node was killed in the middle"
    trained = [record for record in result.records if is_trained(record)]
    assert len(trained) == 8
    assert all(record.evaluation is not None for record in trained), "no finished trial is lost"
    after = read_diary(tmp_path)
    ended = Counter(number for number, _, what in after if what == "ended")
    assert ended == Counter({record.number: 1 for record in trained}), "every candidate is trained to its end once"
    interrupted = {n for n, node, what in killer.before if node == SECOND and (n, node, "ended") not in killer.before}
    began = Counter(number for number, _, what in after if what == "began")
    assert {number for number, count in began.items() if count > 1} == interrupted
    assert len(interrupted) == 1
    if workers == 1:
        assert result.records == local.records, "one worker and one seed give one search, wherever it runs"
        assert {r.genotype for r in trained} == {r.genotype for r in local.records if is_trained(r)}


_HELD: list = []


def _occupy(address: str) -> None:
    """Takes the CPU of the node at `address` until `_release`."""
    import ray

    @ray.remote(num_cpus=1, resources={f"node:{address}": 0.001})
    class Holder:
        def ready(self) -> bool:
            return True

    _HELD.append(Holder.remote())
    ray.get(_HELD[-1].ready.remote())


def _release() -> None:
    import ray

    ray.kill(_HELD.pop())


@needs_ray
def test_an_address_without_a_cluster_is_an_error_that_names_the_setting() -> None:
    with ray_environment(), pytest.raises(UsageError, match=r"search\.ray_address"), cluster("127.0.0.2:1", 1):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[ray\]'"), cluster(None, 1):
        pass


CPU, GPU = (Node(8), Node(4)), (Node(16, 2), Node(8, 1), Node(4))


@pytest.mark.parametrize(("nodes", "workers", "trials", "per_gpu", "expected"), [
    (CPU, None, 99, None, Share(12, 1)),
    (CPU, None, 3, None, Share(3, 4)),  # 8 // 4 + 4 // 4
    (CPU, 1, 99, None, Share(1, 8)),
    (CPU, 2, 99, None, Share(2, 4)),
    (CPU, 40, 99, None, Share(40, 1)),  # more than fit wait for nodes that join
    (GPU, None, 99, 4, Share(12, 2, 0.25, 4)),
    (GPU, 3, 99, 4, Share(3, 8, 1.0, 1)),
    (GPU, 9, 99, 4, Share(9, 2, 0.3333, 3)),
    (GPU, 4, 99, 4, Share(4, 5, 0.5, 2)),  # three on the first node, one on the second
])  # fmt: skip
def test_a_cluster_is_shared_out(
    nodes: tuple[Node, ...], workers: int | None, trials: int, per_gpu: int | None, expected: Share
) -> None:
    assert share_out(nodes, workers, trials, per_gpu) == expected


def test_a_cluster_that_can_run_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="no CPU"):
        share_out((Node(0),), None, 9, None)
    with pytest.raises(ConfigError, match="and a GPU"):
        share_out(CPU, 2, 9, 4)
