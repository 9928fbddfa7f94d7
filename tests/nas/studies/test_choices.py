"""Which choices matter: known additive truths, chance, and what cannot be told."""

from math import log2
from random import Random

import pytest

from nas.measures import measure
from nas.report.study_tables import SMALL, choice_sentences
from nas.studies.choices import choice_effects
from search_spaces.tiny_blocks import tiny_blocks
from tests.builders import TINY_BLOCKS
from tests.nas.studies.records import record_of, trained

ROBUST = measure("robust_accuracy")
WIDTHS, EXPANDS = (0.25, 0.5, 1.0, 1.5), (1, 2, 4, 6)


def test_it_finds_the_slopes_and_shares_of_an_additive_truth() -> None:
    grid = [(w, e) for w in WIDTHS for e in EXPANDS]
    records = [trained(n, w, e, robust_accuracy=0.5 + 0.1 * log2(w) + 0.02 * log2(e)) for n, (w, e) in enumerate(grid)]
    found = choice_effects(records, ROBUST)
    width, expand = found["choices"]
    assert (width["choice"], expand["choice"], found["networks"]) == ("width", "expand", 16)
    assert width["per_doubling"] == pytest.approx(0.1, rel=0.025), "the ridge takes two percent"
    assert expand["per_doubling"] == pytest.approx(0.02, rel=0.025)
    variances = [sum((log2(v) - sum(map(log2, vs)) / 4) ** 2 for v in vs) / 4 for vs in (WIDTHS, EXPANDS)]
    parts = [0.1**2 * variances[0], 0.02**2 * variances[1]]  # a grid: the choices are independent
    assert width["share"] == pytest.approx(parts[0] / sum(parts), rel=0.025)
    assert expand["share"] == pytest.approx(parts[1] / sum(parts), rel=0.025)
    assert found["explained"] == pytest.approx(1, abs=0.03)
    assert width["low"] <= width["per_doubling"] <= width["high"]
    sentences = choice_sentences(found, ROBUST.title)
    assert sentences[0].startswith(
        "The choices explain 98 % of the variance of robust accuracy over 16 networks: width 9"
    )
    assert "Doubling adds: width +0.098" in sentences[1]


def test_seeds_of_a_network_count_once() -> None:
    once = [trained(n, w, 2, robust_accuracy=0.1 * n) for n, w in enumerate((0.25, 0.5, 0.75, 1.0, 1.25, 1.5))]
    once += [trained(10 + n, w, 4, robust_accuracy=0.1 * n) for n, w in enumerate((0.25, 0.5, 0.75, 1.0, 1.25, 1.5))]
    thrice, found = (choice_effects(records, ROBUST) for records in (once * 3, once))
    assert thrice["networks"] == found["networks"] == 12
    assert thrice["choices"] == [pytest.approx(one) for one in found["choices"]]


def test_choices_without_effect_are_not_claimed() -> None:
    rng = Random(0)
    claimed, drawn = 0, 0
    for _ in range(20):
        records = [trained(n, w, e, robust_accuracy=rng.random()) for n, (w, e) in
                   enumerate((w, e) for w in WIDTHS for e in EXPANDS)]  # fmt: skip
        found = choice_effects(records, ROBUST)["choices"]
        claimed, drawn = claimed + sum(one["share_low"] > SMALL for one in found), drawn + len(found)
    assert drawn == 40
    assert claimed <= 4


def test_a_choice_without_order_has_a_share_and_no_doubling() -> None:
    space = tiny_blocks(TINY_BLOCKS, (1, 8, 8), 10)
    small = {**space.smallest().values, "block_1": "separable", "block_3": "separable"}  # a skipped one has no width
    kinds = next(c for c in space.choices if c.name == "block_2").options
    genotypes = [space.genotype({**small, "block_2": kind, "width_3": width}) for kind in kinds for width in (0.5, 1.0)]
    genotypes += [space.genotype({**small, "width_1": 1.0, "block_2": kind, "width_3": 0.5}) for kind in kinds]
    worth = {kind: 0.1 * place for place, kind in enumerate(kinds)}
    records = [record_of(space, g, n, robust_accuracy=worth[str(g.values["block_2"])]) for n, g in enumerate(genotypes)]
    first = choice_effects(records, ROBUST)["choices"][0]
    assert (first["choice"], first["per_doubling"]) == ("block_2", None)
    assert first["share"] > 0.9


def test_what_cannot_be_told_says_why() -> None:
    few = choice_effects([trained(n, w, robust_accuracy=w) for n, w in enumerate(WIDTHS)], ROBUST)
    assert (few["choices"], few["words"]) == ([], "4 networks, at least 8 are needed to tell 1 choices apart")
    assert choice_sentences(few, "robust accuracy") == [
        f"Which choices matter for robust accuracy cannot be told: {few['words']}."
    ]
    alike = choice_effects(
        [trained(n, w, e) for n, (w, e) in enumerate((w, e) for w in WIDTHS for e in EXPANDS)], ROBUST
    )
    assert alike["words"] == "robust_accuracy does not vary"
    assert choice_effects([], ROBUST)["words"].startswith("0 networks")
