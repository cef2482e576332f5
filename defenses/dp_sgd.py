"""DP-SGD: training on labels alone, by gradients that are clipped by example and noised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe, check_range
from robustbench_kd.ops.privacy.dp_sgd import (
    check_per_example_gradients,
    private_gradient,
    surrogate_loss,
)
from robustbench_kd.training.trainer import Objective, TrainStep


@dataclass(frozen=True)
class DPSGD(Recipe):
    """Differentially private training without a teacher, of image classifiers or language models.

    Its epsilon is nominal. The accountant takes every batch for a Poisson sample, which each
    example enters independently with probability batch / count. Here an epoch is shuffled and cut
    into batches of one size, as for every other defense, and that may spend more (Chua et al. 2024,
    How private are DP-SGD implementations). Clipping and noise, which bound the influence of an
    example on a step, are the algorithm's own. The optimiser sees only the noised gradient and the
    weights.

    An example is a row: a secret that occurs in c rows is protected as c examples, so c times less.

    Args:
        noise: the standard deviation of the noise in the sum of gradients, in clips (sigma).
        clip: the largest norm of an example's gradient, in l2 over all parameters (C).
        chunk: examples whose gradients are in memory at once; a matter of memory and speed.
    """

    name: ClassVar[str] = "dp-sgd"
    source: ClassVar[str] = (
        "Abadi et al. 2016, Deep learning with differential privacy, algorithm 1"
    )
    modalities: ClassVar[tuple[str, ...]] = ("images", "text")
    formula: ClassVar[str] = (
        "step along (1 / L) (sum_i g_i / max(1, |g_i| / C) + N(0, sigma^2 C^2)), "
        "g_i the gradient of CE(y_i, S(x_i)), L the size of a batch"
    )

    noise: float = 0.7
    clip: float = 1.0
    chunk: int = 16

    def __post_init__(self) -> None:
        check_range("noise", self.noise, 0, 1000)
        check_range("clip", self.clip, 1e-6, 1e9)
        check_range("chunk", self.chunk, 1, 4096)

    def loss(self, context: TrainingContext) -> Objective:
        check_per_example_gradients(context.student)
        lot = min(context.schedule.batch, len(context.data))

        def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            gradient, losses = private_gradient(
                net,
                batch.inputs,
                batch.targets,
                step.noise,
                clip=self.clip,
                noise=self.noise,
                lot=lot,
                chunk=self.chunk,
            )
            # The value is reported as progress only and is not private; the gradient is.
            return surrogate_loss(net, gradient, losses.mean())

        return objective

    def nominal_epsilon(self, schedule: Schedule, count: int, delta: float = 1e-5) -> float:
        """The privacy budget that a schedule spends on ``count`` examples, for Poisson samples.

        Raises:
            BrokenPlugin: where the accountant's library is not installed.
        """
        from robustbench_kd.integrations.opacus import epsilon  # slow to import, rarely needed

        batch = min(schedule.batch, count)
        return epsilon(self.noise, batch, count, schedule.epochs * -(-count // batch), delta)
