"""What several tests of configs ask for."""

from pathlib import Path

import pytest

from nas.base.errors import ConfigError
from nas.runs.config import load_config
from tests.tiny_run import Refusal, write_config


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """What is said where the small config is refused with overrides."""

    def refuse(*overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(write_config(tmp_path), overrides)
        return str(caught.value)

    return refuse
