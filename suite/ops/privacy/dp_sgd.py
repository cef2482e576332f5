"""The gradient of DP-SGD: per-example gradients, clipped, summed and noised."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import PerExample, Scalar
from robustbench_kd.core.types import IGNORED

Gradients = dict[str, Tensor]


def check_per_example_gradients(net: nn.Module) -> None:
    """Refuses a network in which an example has no gradient of its own.

    Batch normalisation mixes the examples of a batch, so clipping one of them bounds nothing.
    Dropout draws from the global generator.

    Raises:
        BadModel: naming the layer and what to use instead.
    """
    for name, layer in net.named_modules():
        if isinstance(layer, _BatchNorm) or getattr(layer, "running_mean", None) is not None:
            raise BadModel(
                f"the layer {name!r} normalises over the batch, so that no example has a gradient "
                "of its own to clip; private training needs group or layer normalisation, or none"
            )
        if isinstance(layer, _DropoutNd) and layer.p > 0:
            raise BadModel(
                f"the layer {name!r} drops out at random, which no seed of ours decides; private "
                "training needs a network whose dropout is 0"
            )


def per_example_gradients(
    net: nn.Module, inputs: Tensor, targets: Tensor
) -> tuple[Gradients, PerExample]:
    """By parameter the gradient of each example's loss, stacked in front; and the losses, in nats.

    A target is a class, or a token a position; then the loss of an example is the mean over the
    positions that are scored (none: zero). Frozen parameters have no gradient.
    """
    weights = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}

    def loss(weights: Gradients, x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(net, weights, (x[None],)).flatten(0, -2)
        total = F.cross_entropy(logits, y.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / (y != IGNORED).sum().clamp_min(1)

    # The fused attention kernels have no batching rule for gradients, and fall back to a loop.
    with sdpa_kernel(SDPBackend.MATH):
        gradients, losses = vmap(grad_and_value(loss), in_dims=(None, 0, 0))(
            weights, inputs, targets
        )
    return gradients, losses


def gradient_norms(gradients: Gradients) -> PerExample:
    """The l2 norm of each example's gradient, over all parameters at once."""
    by_parameter = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients.values()])
    norms: PerExample = by_parameter.norm(dim=0)
    return norms


def clipped_sum(gradients: Gradients, clip: float) -> Gradients:
    """The sum of the gradients, each scaled down to the norm ``clip`` where it is longer."""
    scales = 1 / (gradient_norms(gradients) / clip).clamp_min(1)
    return {name: torch.tensordot(scales, g, dims=1) for name, g in gradients.items()}


def private_gradient(
    net: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    clip: float,
    noise: float,
    lot: int,
    chunk: int,
) -> tuple[Gradients, PerExample]:
    """The noised mean of clipped gradients (Abadi et al. 2016, algorithm 1), and the losses.

    (1 / lot) (sum_i g_i / max(1, |g_i| / clip) + N(0, (noise clip)^2)). A batch that is smaller
    than ``lot`` weighs less; it does not get more noise.

    Args:
        clip: the largest norm of an example's gradient, in l2 over all parameters.
        noise: the standard deviation in each coordinate of the sum, as a multiple of ``clip``.
        chunk: the number of per-example gradients in memory at once.
    """
    total: Gradients = {}
    losses: list[Tensor] = []
    for x, y in zip(inputs.split(chunk), targets.split(chunk), strict=True):
        gradients, chunk_losses = per_example_gradients(net, x, y)
        part = clipped_sum(gradients, clip)
        total = {name: total[name] + g if total else g for name, g in part.items()}
        losses.append(chunk_losses)
    noised = {
        name: (g + noise * clip * torch.randn(g.shape, generator=generator).to(g)) / lot
        for name, g in total.items()
    }
    return noised, torch.cat(losses)


def surrogate_loss(net: nn.Module, gradient: Gradients, value: Scalar) -> Scalar:
    """A scalar of this value, whose gradient at the network's parameters is exactly this one.

    The gradient of sum_p <p, g_p> at p is g_p. So a training loop that only knows losses and their
    backward pass can step along a gradient that is not the gradient of any loss.
    """
    weights = dict(net.named_parameters())
    inner = torch.stack([(weights[name] * g.detach()).sum() for name, g in gradient.items()]).sum()
    return inner - inner.detach() + value.detach()
