"""What a config needs besides its data, looked at before anything is trained: packages, and enough classes."""

from nas.config import RunConfig
from nas.evaluation import check_attacks
from nas.packages import check_installed
from nas.search.database import Database


def check_needs(config: RunConfig, num_classes: int) -> None:
    """Looks at everything that a search, its workers, and the retraining after it will need. Imports the packages.

    Raises UsageError where a package cannot be imported or the variable of a database is not set, ConfigError where an
    attack cannot be made with so few classes.
    """
    check_installed(config.search.sampler)
    check_installed(config.search.executor)
    if config.search.storage_env is not None:
        Database(config.search.storage_env, "").check_driver()
    check_attacks_of(config, num_classes)


def check_attacks_of(config: RunConfig, num_classes: int) -> None:
    """The part of `check_needs` that a retraining needs: every attack of the config."""
    for attack in (config.evaluation.attack, config.retrain.validation_attack):
        check_attacks(config.evaluation.ladder, attack, num_classes)
