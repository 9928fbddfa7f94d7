"""What training would give, learned from what it gave: a linear trend with its uncertainty, and trees for the rest.

Letters: N trials, K proposals, F features, M targets, T draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_LEAF = 5
"""Trials in a leaf at least: scores of brief trainings are noisy, and a leaf of one trial would learn the noise."""


@dataclass(frozen=True)
class Surrogate:
    """Regression of M targets on F features, T draws of it.

    Scores of networks rise and fall nearly linearly with the choices and the logarithms of the costs; Bayesian ridge
    regression (MacKay 1992) learns that from a dozen noisy trials, and its posterior says how uncertain it is. A random
    forest (Breiman 2001) learns what is left, one tree for each draw.
    """

    mean_F: Array
    scale_F: Array
    coefficients_TFM: Array
    intercept_M: Array
    trees: Any

    def draws(self, features_KF: Array) -> Array:
        """T predictions of the targets, shape (T, K, M): what training may give but for its own noise."""
        scaled = (features_KF - self.mean_F) / self.scale_F
        trend = np.einsum("kf,tfm->tkm", scaled, self.coefficients_TFM) + self.intercept_M
        rows = features_KF.astype(np.float32)
        rest = np.stack([tree.tree_.predict(rows).reshape(trend.shape[1:]) for tree in self.trees.estimators_])
        return np.asarray(trend + rest)


def features_of(indices: Sequence[int], costs: Mapping[str, float]) -> tuple[float, ...]:
    """Features of a genotype: its option indices, which are ordered from small to large, and its costs' logarithms."""
    return (*indices, *map(log1p, costs.values()))


def fit_surrogate(features_NF: Array, targets_NM: Array, draws: int, seed: int) -> Surrogate:
    """Surrogate of the trials with these features and targets; chance comes from `seed`."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import BayesianRidge

    rng = np.random.default_rng(seed)
    mean, scale = features_NF.mean(0), np.where(np.ptp(features_NF, axis=0) > 0, features_NF.std(0), 1.0)
    scaled = (features_NF - mean) / scale
    trends = [BayesianRidge().fit(scaled, target) for target in targets_NM.T]
    coefficients = [rng.multivariate_normal(trend.coef_, trend.sigma_, draws, method="eigh") for trend in trends]
    rest = targets_NM - np.stack([trend.predict(scaled) for trend in trends], 1)
    trees = RandomForestRegressor(draws, min_samples_leaf=MIN_LEAF, random_state=seed)
    trees.fit(features_NF, rest if rest.shape[1] > 1 else rest[:, 0])
    return Surrogate(mean, scale, np.stack(coefficients, 2), np.array([trend.intercept_ for trend in trends]), trees)
