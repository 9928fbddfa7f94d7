"""Every knob of a search."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nas.base.settings import Settings, amount, nearest
from search_spaces.presets import KNOWN


class Halting(Settings):
    """Stages of epochs, and which candidates go on."""

    epochs: tuple[int, ...] = Field((), max_length=20)
    """Epochs after which candidates are compared, rising; none: every candidate is trained to its end."""
    keep: float = Field(0.5, gt=0, le=1)
    """Share of the candidates at a stage that go on."""
    spared: float = Field(0.0, ge=0, le=1)
    """Share of the candidates that go on whatever their rank, drawn by their seeds: whether halting is safe can only be
    seen on those."""

    @field_validator("epochs")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(a >= b for a, b in zip((0, *value), value, strict=False)):
            raise ValueError("epochs must be positive and rising, e.g. [1, 3]")
        return value


class PrescreenSettings(Settings):
    """Choice among several proposals by a regression that predicts what training would give."""

    proposals: int | None = Field(None, ge=1, le=1000)
    """Proposals for each candidate that is trained: the sampler's own, others drawn uniformly and next to the front. 1:
    no choice. 32 when left out, 1 with Gaussian processes."""
    refit: int = Field(8, ge=2)
    """Trials from one fit of the regression to the next, and evaluated candidates that the first needs. Twice as many
    beyond 40 fits, and so on: at least a fortieth more than there were."""
    trees: int = Field(32, ge=2, le=1000)
    """Trees of the regression, each beside a draw of its linear trend: their spread is its uncertainty."""
    window: int = Field(1000, ge=10)
    """Latest evaluated candidates that it learns from."""


class StartFrom(Settings):
    """Genotypes that are proposed first, after the anchors, in this order (nas/search/start.py)."""

    genotypes: tuple[dict[str, float | str], ...] = ()
    """Values of the choices, an entry for each network."""
    presets: tuple[str, ...] = ()
    """Published networks: of Mousavi 2023, their width multiplier and expand ratio in the rows of this space; resnet8
    and ds_cnn of MLPerf Tiny, in the spaces resnet_tiny and ds_cnn."""
    runs: tuple[Path, ...] = ()
    """Folders of other runs, from the working directory: the genotypes of their fronts, best first objective first.
    Their results are not taken over, as training, data or attack may differ."""
    uniform: int = Field(0, ge=0, le=1000)
    """At most so many uniform networks within the budget (one width multiplier and one expand ratio for all layers),
    from few to many parameters: what scaling by hand would try. Evolutionary samplers breed from them."""

    @field_validator("presets")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in KNOWN]
        if unknown:
            raise ValueError(f"unknown preset {unknown[0]!r} (allowed: {', '.join(KNOWN)})")
        return value


class SearchSettings(Settings):
    """How candidates are proposed and where they are trained."""

    sampler: Literal[
        "nsga2", "nsga3", "random", "tpe", "gp", "pymoo_nsga2", "pymoo_nsga3", "pymoo_agemoea", "pymoo_smsemoa"
    ] = "nsga2"
    """Of Optuna: NSGA-II (Deb 2002), NSGA-III (Deb & Jain 2014), uniform random, multi-objective TPE (Ozaki 2022),
    Gaussian processes (Ament 2023; for at most some hundred trials). Of pymoo: NSGA-II, NSGA-III, AGE-MOEA (Panichella
    2019; needs numba), SMS-EMOA (Beume 2007)."""
    trials: int = Field(32, ge=1, le=1_000_000)
    """Full trainings to spend: a candidate counts 1, a halted one the share of its epochs; rejected and reused ones do
    not count. May be raised later to go on."""
    population: int = Field(16, ge=2, le=10_000)
    """Trials of a generation; random trials before a model (TPE, Gaussian processes)."""
    crossover_probability: float = Field(0.9, ge=0, le=1)
    """Evolution: probability that a child mixes two parents instead of copying one."""
    swapping_probability: float = Field(0.5, ge=0, le=1)
    """Evolution: probability of taking each choice from the second parent, in uniform crossover."""
    mutation_probability: float | None = Field(None, ge=0, le=1)
    """Evolution: probability of redrawing each choice of a child; 1 / number of choices when left out."""
    prescreen: PrescreenSettings = PrescreenSettings()
    """Surrogate pre-screening; not with Gaussian processes, which are a surrogate themselves."""
    anchors: bool = True
    """Begin with the smallest and the largest genotype, the ends of the range the front can span."""
    start_from: StartFrom = StartFrom()
    """Genotypes to begin with, as they are when the run is created; the trials are ordinary ones."""
    exploit: int = Field(0, ge=0)
    """Last trainings that go to networks of which a regression on all before predicts the largest gain in
    hypervolume, found by climbing from the front (nas/search/exploit.py); the sampler proposes all others."""
    seed: int = Field(0, ge=0)
    """Seed of everything random; with one worker, one seed gives one search."""
    workers: int | Literal["auto"] = "auto"
    """Candidates trained at once; auto: as many as cores on the CPU, four on a GPU, which share its memory."""
    executor: Literal["processes", "in_process", "ray"] = "processes"
    """Worker processes (isolated crashes, timeouts), the search's own process, one candidate at a time, or Ray tasks
    on one or many machines (docs/clusters.md; with it `workers` counts the whole cluster)."""
    ray_address: str | None = None
    """Ray cluster: auto (the one this machine belongs to), host:port or ray://host:port; a local one when left out."""
    storage_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the URL of a database for the study, postgresql://USER:PASSWORD@HOST/DATABASE, so
    that others can watch; study.journal in the run folder when left out. The URL itself is stored nowhere."""
    train_images: int | None = Field(None, ge=20)
    """Training images of a candidate, a stratified part; all when left out. A supernet and a retraining have all."""
    trial_timeout: float | None = Field(None, gt=0)
    """Seconds after which a candidate is stopped and failed (not in_process)."""
    max_failures: int = Field(5, ge=1)
    """Failures in a row that stop the search."""
    halting: Halting = Halting()
    """Early end of the training of candidates that are behind."""
    evaluator: Literal["scratch", "supernet", "fine_tuned"] = "scratch"
    """What a candidate's weights are when it is scored: trained from random ones; its part of a supernet that is
    trained once for all (docs/one-shot.md), as it is; that part, trained on with the settings of `training`."""
    inherit: bool = False
    """Start each candidate from the weights of the nearest network trained so far (nas/search/parents.py), not from
    random ones. Such a search needs the weights of its trials to go on; `nas retrain` starts from random ones all the
    same."""
    reject_untrusted: bool = False
    """Treat a candidate whose robust accuracy fails a check of trust as one that violates a constraint."""
    reference_point: dict[str, float] = Field({})
    """Worst value of metrics for the hypervolume, where the default is not wanted; of costs as in a budget: 60k."""

    @property
    def proposals(self) -> int:
        """Proposals for each candidate that is trained."""
        return self.prescreen.proposals or (1 if self.sampler == "gp" else 32)

    @field_validator("reference_point", mode="before")
    @classmethod
    def _with_units(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: nearest(amount(worst, in_bytes=str(name).endswith("_bytes"))) if isinstance(worst, str) else worst
            for name, worst in value.items()
        }

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.evaluator != "scratch" and self.inherit:
            raise ValueError(
                f"inherit: with evaluator {self.evaluator}, weights come from the supernet; set it to false"
            )
        if self.evaluator == "supernet" and self.halting.epochs:
            raise ValueError("halting: with evaluator supernet no candidate is trained; leave halting.epochs empty")
        return self

    @model_validator(mode="after")
    def _one_surrogate(self) -> Self:
        if self.sampler == "gp" and (self.prescreen.proposals or 1) > 1:
            raise ValueError(
                "prescreen: the sampler gp chooses by a surrogate of its own; leave prescreen.proposals at 1"
            )
        return self
