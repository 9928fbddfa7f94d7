"""Gaussian processes that look at few candidates: what is tested does not depend on how good their proposals are."""

from typing import Any

import pytest

from nas.search.samplers.of_optuna import _Gp


@pytest.fixture(scope="session", autouse=True)
def _hasty_gaussian_processes() -> Any:
    plain = _Gp.__init__

    def hasty(self: _Gp, *arguments: Any, **named: Any) -> None:
        plain(self, *arguments, **named)
        self._n_preliminary_samples, self._n_local_search = 64, 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Gp, "__init__", hasty)
        yield
