"""What a config needs besides its data, looked at before anything is trained: packages, classes, a space to send."""

from multiprocessing.reduction import ForkingPickler

from nas.base.errors import UsageError
from nas.base.packages import check_installed
from nas.evaluation import check_attacks
from nas.runs.config import RunConfig
from nas.search.database import Database
from search_spaces import SearchSpace


def check_needs(config: RunConfig, space: SearchSpace) -> None:
    """Looks at everything that a search, its workers, and the retraining after it will need. Imports the packages.

    Raises UsageError where a package cannot be imported, the variable of a database is not set or the space cannot be
    sent to workers, ConfigError where an attack cannot be made with so few classes.
    """
    check_installed(config.search.sampler)
    check_installed(config.search.executor)
    if config.search.storage_env is not None:
        Database(config.search.storage_env, "").check_driver()
    if config.search.executor == "processes":
        _check_sendable(space)
    check_attacks_of(config, space.num_classes)


def check_attacks_of(config: RunConfig, num_classes: int) -> None:
    """The part of `check_needs` that a retraining needs: every attack of the config."""
    for attack in (config.evaluation.attack, config.retrain.validation_attack):
        check_attacks(config.evaluation.ladder, attack, num_classes)


def _check_sendable(space: SearchSpace) -> None:
    for name in ("choices", "network_spec"):
        try:
            ForkingPickler.dumps(getattr(space, name))
        except Exception as error:  # of whatever is in there
            raise UsageError(
                f"space {space.name}: its {name} cannot be sent to worker processes ({error}); make it of functions "
                f"and classes that a module defines at its top (functools.partial may hold settings), not of lambdas "
                f"or functions within functions, or set search.executor: in_process"
            ) from error
