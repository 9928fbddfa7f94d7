"""The errors a user can meet. Each says what was refused, its value, what is allowed and what to do next."""


class NasError(Exception):
    """Something went wrong that the user can act on; the verbs end with `exit_code` and the message."""

    exit_code = 1


class UsageError(NasError):
    """The request itself cannot be met: a wrong option, a missing folder, an impossible pick."""

    exit_code = 2


class ConfigError(UsageError):
    """A config is wrong; the message lists everything that is."""


class DataError(UsageError):
    """A data set is missing, empty or not laid out as its loader needs."""


class RunMismatch(UsageError):
    """A run folder was made with another config."""


class EmptyBudget(UsageError):
    """No genotype of the space fits the budget."""


class CheckpointError(NasError):
    """A checkpoint is missing, damaged or belongs to another network."""


class StudyCorrupt(NasError):
    """The study file of a run cannot be read."""


class RunLocked(NasError):
    """Another process is writing to the run folder."""


class SearchStopped(NasError):
    """The search cannot go on: too many failures in a row."""


class Diverged(NasError):
    """Training produced a loss that is not finite."""
