"""`nas show --lipschitz`: the certified constant of a trial's stored weights, factor by factor."""

import json
from pathlib import Path

import pytest

from nas.runs import open_run
from tests.tiny_run import nas


def test_the_factors_multiply_to_the_constant_of_the_trial(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    record = next(r for r in open_run(Path("runs/tiny")).records if r.evaluation is not None)
    shown = nas(capsys, "show", "runs/tiny", str(record.number), "--lipschitz", "--format", "json")
    bound = json.loads(shown.out)["certified"]
    assert bound["log10"] == pytest.approx(record.evaluation.lipschitz_certified_log10, abs=1e-4)  # type: ignore[union-attr]
    product = 1.0
    for factor in bound["factors"]:
        product *= factor["value"]
    assert 10 ** bound["log10"] == pytest.approx(product, rel=1e-9)
    table = nas(capsys, "show", "runs/tiny", str(record.number), "--lipschitz").out
    assert "◀ largest" in table
    assert all(factor["name"] in table for factor in bound["factors"])
