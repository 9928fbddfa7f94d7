"""Every knob of adversarial training."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from nas.base.settings import Ratio, Settings
from nas.data import Augmentation
from nas.training.schedule import Schedule

if TYPE_CHECKING:
    import torch


METHODS: dict[str, str] = {
    "trades": "nas.training.methods:Trades",
    "madry": "nas.training.methods:Madry",
    "natural": "nas.training.methods:Natural",
}
"""Training methods by name: module:class, imported where a training begins, as a config is read without torch."""


StartName = Literal["normal", "uniform", "noise", "carried", "universal"]
AscentName = Literal["kl", "cross_entropy"]


class InnerAttack(Settings):
    """The inner maximisation of each training batch."""

    steps: int = Field(1, ge=1, le=1000)
    """Gradient steps K. What one of them is worth, by data set and start: docs/performance.md."""
    step_size: Ratio | None = Field(None, gt=0)
    """Length of a step in pixel units; epsilon / min(K, 4) when left out (8/255 → 2/255 for 4 steps and more)."""
    start: StartName | None = None
    """Where the steps begin. normal: 0.001 · N(0, 1) around the image (Zhang 2019). uniform: in the ball (Madry 2018).
    noise: uniform in the ball of 2 epsilon, and no step is projected (N-FGSM, de Jorge 2022). carried: what the latest
    epoch ended at, kept for every image in int8 (ATTA, Zheng 2020; FGSM-PGI, Jia 2022). universal: one perturbation a
    class, which every step moves (FGSM-UAP). null: carried with fewer than 3 steps, else the method's own, normal for
    trades and uniform for madry."""
    loss: AscentName | None = None
    """What the steps ascend: the divergence from the clean predictions, or the cross-entropy of the labels. null: the
    method's own, kl for trades and cross_entropy for madry."""
    reset_epochs: int = Field(10, ge=1)
    """Carried perturbations are drawn anew, uniformly in the ball, every so many epochs."""
    follow: bool = True
    """Whether carried perturbations move along with the crop and flip of their image."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the attack's steps. bfloat16 is faster on some hardware (`nas bench`) and slightly weaker;
    the loss and all scoring stay in float32."""

    def filled(self, start: StartName, loss: AscentName) -> InnerAttack:
        """These settings, with a method's own `start` and `loss` where none is set."""
        return self.model_copy(update={"start": self.chosen_start or start, "loss": self.loss or loss})

    @property
    def chosen_start(self) -> StartName | None:
        """What is set, or carried where few steps are; None: left to the method."""
        return self.start or ("carried" if self.steps < 3 else None)

    def length(self, epsilon: float) -> float:
        """Length of a step in a ball of radius `epsilon`."""
        return epsilon / min(self.steps, 4) if self.step_size is None else self.step_size

    @property
    def dtype(self) -> torch.dtype:
        """`precision` as torch names it."""
        import torch

        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


class Jacobian(Settings):
    """Penalty λ · R on how much the outputs change with the inputs (Hoffman 2019), on the clean images of each batch.

    Its gradient goes through the network twice: on digits, a step without attack takes five times as long, one of
    TRADES with one attack step 2.8 times (docs/quantized.md).
    """

    weight: float = Field(0.0, ge=0, le=1000)
    """Weight λ (Hoffman 2019: 0.01, of outputs); 0: none. A supernet has none."""
    projections: int = Field(1, ge=1, le=1000)
    """Random directions n that R is estimated with in every step, each at the full price; one is unbiased."""
    of: Literal["outputs", "blocks"] = "outputs"
    """outputs: R = ½ · mean ‖J‖_F², J the Jacobian of an image's logits by its pixels. blocks: of every block by what
    it is given, ½ · mean Σ ‖J_b‖_F² / (outputs of b), after the per-layer term of Ayaz 2023
    (nas/networks/jacobian.py)."""


class OnManifoldTraining(Settings):
    """Adversarial images on the manifold of the run, found by gradient steps of their codes (Stutz 2019)."""

    weight: float = Field(0.0, ge=0, le=1)
    """Share of their cross-entropy in the loss; the method's own has the rest. 0.5 with natural: half clean, half
    on-manifold (Stutz 2019); 0.5 with madry: dual manifold training (Lin 2020); 0: none. A supernet has none."""
    epsilon: float = Field(0.3, gt=0, le=32)
    """Largest change of a coordinate of a code, in standard deviations of the training images' codes."""
    steps: int = Field(5, ge=1, le=1000)
    """Gradient steps, from a uniform start."""
    step_size: float | None = Field(None, gt=0)
    """Length of a step; epsilon / min(steps, 4) when left out."""

    @property
    def attack(self) -> InnerAttack:
        """As an inner maximisation."""
        return InnerAttack(steps=self.steps, step_size=self.step_size, start="uniform", loss="cross_entropy")


class Training(Settings):
    """Adversarial training from scratch with SGD."""

    method: str = "trades"
    """trades (Zhang 2019), madry (PGD adversarial training, Madry 2018), natural (cross-entropy), or a plugin's own."""
    beta: float = Field(6.0, ge=0, le=100)
    """Weight of the robust term of TRADES, and of what a teacher says of adversarial images; otherwise ignored."""
    consistency: float = Field(0.0, ge=0, le=1000)
    """Weight λ of the mean squared difference of clean and adversarial logits in the loss of trades and madry.
    A supernet has none."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each label that is spread evenly over all classes, in the cross-entropy of the loss.
    A supernet spreads none."""
    attack: InnerAttack = InnerAttack()
    """Inner maximisation."""
    alarm: bool = True
    """With fewer than 10 attack steps, compare the attack with PGD-10 on held-out images after every epoch; where it is
    overfitted, undo the epoch and double the steps (nas/training/alarm.py)."""
    epochs: int = Field(10, ge=1, le=100_000)
    """Passes over the training images."""
    natural_until: float = Field(0.0, ge=0, lt=1)
    """Share of the epochs, rounded to whole ones, that are trained by the cross-entropy of clean images alone, before
    the method's own loss. Where `start` of a `quantize` treatment is at most this, robustness is trained after
    quantizing. A supernet has none."""
    batch_size: int = Field(128, ge=2, le=65_536)
    """Images per step. What is left of an epoch behind its whole batches is a step of its own where it is at least half
    a batch, and else left out of this epoch; of fewer images than a batch, all are one step."""
    learning_rate: float = Field(0.1, gt=0, le=100)
    """Peak learning rate of SGD."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum of SGD (0: none)."""
    weight_decay: float = Field(5e-4, ge=0, le=1)
    """L2 penalty on convolution and linear weights; biases and batch-norm have none."""
    lipschitz_penalty: float = Field(0.0, ge=0, le=100)
    """Weight λ of ln L in the loss, L the product of layer norms that certifies the Lipschitz constant
    (nas/networks/norms.py); 0: none. Needs a network whose layers are known."""
    jacobian: Jacobian = Jacobian()
    """Jacobian regularisation, for every method."""
    on_manifold: OnManifoldTraining = OnManifoldTraining()
    """Training on adversarial images of the `manifold`, beside every method."""
    schedule: Schedule = "cosine"
    """Course of the learning rate over the whole training."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Linear rise from 0 before the schedule's own course."""
    ema_decay: float = Field(0.995, ge=0, lt=1)
    """Decay of the averaged weights that are scored, min(decay, (1 + t) / (10 + t)); 0: no averaging."""
    augmentation: Augmentation = Augmentation()
    """Random crop and flip."""
    batch_norm_images: int = Field(1024, ge=0)
    """Clean training images that batch-norm statistics are re-estimated on before scoring; 0: keep the
    running averages of training."""

    track_every_epoch: bool = False
    """Score the network on the validation images after every epoch, for `nas study curves`."""
    cuda_graphs: bool = True
    """On a GPU, record the training step once and replay it; changes no result. No effect on a CPU."""

    @property
    def natural_epochs(self) -> int:
        """Epochs before the method's own loss begins."""
        return round(self.natural_until * self.epochs)

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value not in METHODS:
            raise ValueError(f"unknown training method {value!r} (allowed: {', '.join(METHODS)})")
        return value

    @model_validator(mode="after")
    def _warmup_ends(self) -> Training:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} must be less than epochs {self.epochs}")
        return self


LATER = {
    "natural_until",
    "consistency",
    "label_smoothing",
    "alarm",
    "jacobian",
    "on_manifold",
    "augmentation.time_shift",
    "attack.start",
    "attack.loss",
    "attack.reset_epochs",
    "attack.follow",
}
"""Fields that older versions lack; a field that is added here may never change its default."""


def naming_facts(training: Training) -> dict[str, Any]:
    """Settings that name a training, JSON-ready: the trainings of older versions keep their names.

    So a field that older versions lack is left out while it has its default. A start that is left open is named where
    few steps make it a carried one, which older versions did not know.
    """
    facts, defaults = training.model_dump(mode="json"), type(training)().model_dump(mode="json")
    facts["attack"]["start"] = training.attack.chosen_start
    for field in LATER:
        *path, name = field.split(".")
        own, default = (reduce(lambda part, key: part[key], path, dumped) for dumped in (facts, defaults))
        if own[name] == default[name]:
            del own[name]
    return facts
