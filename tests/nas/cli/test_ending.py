"""How a verb ends by a signal."""

import os
import signal
from collections.abc import Iterator

import pytest

from nas.cli.ending import Terminated, end_in_order


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_further_signals_do_not_disturb_the_end_that_the_first_began(number: int, error: type[BaseException]) -> None:
    end_in_order()
    with pytest.raises(error):
        os.kill(os.getpid(), number)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_with_the_code_of_the_shell() -> None:
    assert Terminated().code == 143


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_in_order()
    os.kill(os.getpid(), signal.SIGINT)
