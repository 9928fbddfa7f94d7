"""What training would give, learned from what it gave: a linear trend with its uncertainty, and trees for the rest.

Letters: N trials, K proposals, F features, M targets, T draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import Genotype, SearchSpace

Array = NDArray[np.float64]
MIN_LEAF = 5
"""Trials in a leaf at least: scores of brief trainings are noisy, and a leaf of one trial would learn the noise."""


@dataclass(frozen=True)
class Trend:
    """Linear trend of M targets on F features, with its uncertainty: Bayesian ridge regression (MacKay 1992)."""

    mean_F: Array
    scale_F: Array
    coefficients_FM: Array
    covariances_MFF: Array
    intercept_M: Array

    def mean(self, features_KF: Array) -> Array:
        """Expected targets, shape (K, M)."""
        return np.asarray(self._scaled(features_KF) @ self.coefficients_FM + self.intercept_M)

    def draws(self, features_KF: Array, coefficients_TFM: Array) -> Array:
        """Targets by each of the drawn coefficients, shape (T, K, M)."""
        return np.asarray(np.einsum("kf,tfm->tkm", self._scaled(features_KF), coefficients_TFM) + self.intercept_M)

    def coefficients(self, draws: int, rng: np.random.Generator) -> Array:
        """Draws of the coefficients, shape (T, F, M)."""
        pairs = zip(self.coefficients_FM.T, self.covariances_MFF, strict=True)
        return np.stack([rng.multivariate_normal(mean, spread, draws, method="eigh") for mean, spread in pairs], 2)

    def _scaled(self, features_KF: Array) -> Array:
        return np.asarray((features_KF - self.mean_F) / self.scale_F)


@dataclass(frozen=True)
class Surrogate:
    """Regression of M targets on F features, T draws of it.

    Scores of networks rise and fall nearly linearly with the choices and the logarithms of the costs; the trend learns
    that from a dozen noisy trials, and its posterior says how uncertain it is. A random forest (Breiman 2001) learns
    what is left, one tree for each draw.
    """

    trend: Trend
    coefficients_TFM: Array
    trees: Any

    def draws(self, features_KF: Array) -> Array:
        """T predictions of the targets, shape (T, K, M): what training may give but for its own noise."""
        trend = self.trend.draws(features_KF, self.coefficients_TFM)
        rows = features_KF.astype(np.float32)
        rest = np.stack([tree.tree_.predict(rows).reshape(trend.shape[1:]) for tree in self.trees.estimators_])
        return np.asarray(trend + rest)


def columns_of(genes: Sequence[Sequence[int]], unordered: Sequence[int]) -> Array:
    """Features of genotypes with these option indices, shape (K, F).

    The index itself of an ordered choice, from small to large; of one without order, whose number of options
    `unordered` has (0 for the others), a column of 0 and 1 for each option.
    """
    rows = np.array(genes, dtype=np.float64).reshape(-1, len(unordered))
    columns = [
        rows[:, [index]] == np.arange(options) if options else rows[:, [index]]
        for index, options in enumerate(unordered)
    ]
    return np.concatenate(columns, 1).astype(np.float64)


def columns_in(space: SearchSpace, genotypes: Sequence[Genotype]) -> Array:
    """`columns_of` the `genotypes` of `space`, (K, F)."""
    unordered = [0 if choice.is_ordered else len(choice.options) for choice in space.choices]
    return columns_of([space.encode(one) for one in genotypes], unordered)


def with_costs(columns: Array, costs: Sequence[Mapping[str, float]]) -> Array:
    """`columns` of genotypes, shape (K, F), and the logarithms of their `costs`."""
    logarithms = [[log1p(value) for value in one.values()] for one in costs]
    return np.concatenate([columns, np.array(logarithms, dtype=np.float64).reshape(len(columns), -1)], 1)


def fit_trend(features_NF: Array, targets_NM: Array) -> Trend:
    """Trend of the trials with these features and targets."""
    from sklearn.linear_model import BayesianRidge

    mean, scale = features_NF.mean(0), np.where(np.ptp(features_NF, axis=0) > 0, features_NF.std(0), 1.0)
    fits = [BayesianRidge().fit((features_NF - mean) / scale, target) for target in targets_NM.T]
    return Trend(
        mean,
        scale,
        np.stack([fit.coef_ for fit in fits], 1),
        np.stack([fit.sigma_ for fit in fits]),
        np.array([fit.intercept_ for fit in fits]),
    )


def fit_surrogate(features_NF: Array, targets_NM: Array, draws: int, seed: int) -> Surrogate:
    """Surrogate of the trials with these features and targets; chance comes from `seed`."""
    from sklearn.ensemble import RandomForestRegressor

    trend = fit_trend(features_NF, targets_NM)
    rest = targets_NM - trend.mean(features_NF)
    trees = RandomForestRegressor(draws, min_samples_leaf=MIN_LEAF, random_state=seed)
    trees.fit(features_NF, rest if rest.shape[1] > 1 else rest[:, 0])
    return Surrogate(trend, trend.coefficients(draws, np.random.default_rng(seed)), trees)
