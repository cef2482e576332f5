"""ProARD: RSLAD's loss on subnets that are sampled from a supernet."""

from __future__ import annotations

from dataclasses import replace

import torch
from reference_losses import (
    noise,
    toy,
)
from torch import Tensor, nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.proard import ProARD
from robustbench_kd.defenses.rslad import RSLAD
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.trainer import TrainStep


def supernet_context() -> TrainingContext:
    """A context whose student is a supernet, and whose teacher another one's largest subnet."""
    given = toy()
    nets = [Digits().student("elastic-8-16", Seed() / n).double() for n in ("student", "teacher")]
    supernet, second = nets
    assert isinstance(second, ElasticResNet)
    own = second.subnet(second.space.largest).double().eval().requires_grad_(False)
    x = torch.rand(4, 1, 8, 8, generator=noise()).double()
    data = Examples(torch.arange(4), x, torch.arange(4))
    return replace(given, data=data, student=supernet, teachers={"own": own, "robust": own})


def test_proard_trains_the_subnet_that_it_samples_by_the_loss_of_rslad() -> None:
    ours, our_slope = supernet_loss(ProARD(share=0.7), supernet_context())
    given, drawn = supernet_context(), noise()
    assert isinstance(given.student, ElasticResNet)
    given.student.active = given.student.space.sample(drawn)
    expected = RSLAD(share=0.7).loss(given)(given.student, given.data, TrainStep(drawn, 0.5))
    torch.testing.assert_close(ours, expected.detach())
    torch.testing.assert_close(our_slope, supernet_slope(expected, given.student))


def test_both_terms_of_proard_train_the_supernet() -> None:
    moved_only = supernet_loss(ProARD(share=1.0), supernet_context())[1]
    plain_only = supernet_loss(ProARD(share=0.0), supernet_context())[1]
    assert float(moved_only.norm()) > 1e-3
    assert float(plain_only.norm()) > 1e-3
    assert float((moved_only - plain_only).norm()) > 1e-2 * float(moved_only.norm())


def supernet_loss(defense: ProARD, context: TrainingContext) -> tuple[Tensor, Tensor]:
    loss = defense.loss(context)(context.student, context.data, TrainStep(noise(), 0.5))
    return loss.detach(), supernet_slope(loss, context.student)


def supernet_slope(loss: Tensor, net: nn.Module) -> Tensor:
    """As ``slope``, with zeros for the weights that the sampled subnet leaves out."""
    weights = list(net.parameters())
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(w).flatten() if g is None else g.flatten()
            for g, w in zip(gradients, weights, strict=True)
        ]
    )
