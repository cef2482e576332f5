"""Image classifiers as an adversary sees them: they answer queries, and every pass is counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import Images, Labels, Logits, PerExample
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.losses import cross_entropy


@dataclass
class PassCounter:
    """Sample passes spent: one image through the network once is one."""

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True)
class Classifier:
    """An image classifier as a target model, in eval mode and frozen.

    Made by ``classifier``, which freezes the network.
    """

    net: nn.Module
    classes: int
    passes: PassCounter = field(default_factory=PassCounter, compare=False)

    def logits(self, inputs: Images) -> Logits:
        """Scores by class, differentiable in the inputs.

        Raises:
            BadModel: where the network returns another shape.
        """
        self.passes.forward += len(inputs)
        scores: Logits = self.net(inputs)
        if scores.shape != (len(inputs), self.classes):
            raise BadModel(
                f"the network answers {len(inputs)} images with a tensor of shape "
                f"{tuple(scores.shape)}; a classifier here returns ({len(inputs)}, {self.classes})"
            )
        if scores.requires_grad:
            scores.register_hook(self._count_backward)
        return scores

    def answer(self, inputs: Images) -> Labels:
        """The predicted classes.

        Raises:
            BadModel: where a score is not finite: no prediction can rest on it.
        """
        with torch.inference_mode():
            scores = self.logits(inputs)
        if not bool(torch.isfinite(scores).all()):
            raise BadModel("the network returns NaN or infinite scores for images in [0, 1]")
        return scores.argmax(1).clone()

    def example_losses(self, examples: Examples) -> PerExample:
        """The cross-entropy of each target, in nats."""
        with torch.inference_mode():
            return cross_entropy(self.logits(examples.inputs), examples.targets).clone()

    def _count_backward(self, gradient: Tensor) -> None:
        self.passes.backward += len(gradient)


def classifier(net: nn.Module, classes: int) -> Classifier:
    """The network, put in eval mode and frozen, as a target model."""
    net.eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return Classifier(net, classes)
