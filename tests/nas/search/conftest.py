"""Gaussian processes that are hastily fitted and look at few candidates.

What is tested here does not depend on how good their proposals are.
"""

from typing import Any

import pytest
from optuna._gp import gp

from nas.search.samplers.of_optuna import _Gp


@pytest.fixture(scope="session", autouse=True)
def _hasty_gaussian_processes() -> Any:
    plain, fit = _Gp.__init__, gp.fit_kernel_params

    def hasty(self: _Gp, *arguments: Any, **named: Any) -> None:
        plain(self, *arguments, **named)
        self._n_preliminary_samples, self._n_local_search = 16, 2

    def coarse(*arguments: Any, **named: Any) -> Any:
        return fit(*arguments, **{**named, "gtol": 10.0})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Gp, "__init__", hasty)
        patch.setattr(gp, "fit_kernel_params", coarse)
        yield
