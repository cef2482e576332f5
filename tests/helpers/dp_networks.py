"""Networks with per-example gradients, data for them, and gradients by a pass an example."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.scenarios.digits import Digits

WORDS, LENGTH = 40, 12


class AttentionNetwork(nn.Module):
    """One head of causal attention over tokens, by torch's own fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.projection, self.head = nn.Linear(8, 24), nn.Linear(8, WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        q, k, v = self.projection(self.embedding(ids))[:, None].chunk(3, dim=-1)
        logits: Tensor = self.head(F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0])
        return logits


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 10))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10)
    )


def gpt2(attention: str) -> nn.Module:
    pytest.importorskip("transformers")
    from robustbench_kd.integrations.transformers import build

    net = build("gpt2-32-2", WORDS, LENGTH, Seed())
    net.model.config._attn_implementation = attention
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": perceptron,
    "convolutions with group normalisation": convolutional,
    "attention": AttentionNetwork,
    "gpt2, eager": lambda: gpt2("eager"),
    "gpt2, fused": lambda: gpt2("sdpa"),
}


def network(make: Callable[[], nn.Module] = perceptron, seed: int = 0) -> nn.Module:
    """The network with weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        net = make()
    noise = (Seed(seed) / "weights").generator()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=noise) / 3
    return net.train()


def images(count: int) -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(count))


def token_rows(count: int) -> Examples:
    """Random tokens; of each row a different number of the last ones is scored."""
    noise = (Seed() / "rows").generator()
    ids = torch.randint(WORDS, (count, LENGTH), generator=noise)
    targets = torch.randint(WORDS, (count, LENGTH), generator=noise)
    for n in range(count):
        targets[n, : n % (LENGTH - 1)] = IGNORED
    return Examples(torch.arange(count), ids, targets)


def data_for(name: str, count: int) -> Examples:
    return token_rows(count) if "gpt2" in name or name == "attention" else images(count)


def flat_weights(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def flat_gradient(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradient.values()])


def gradients_one_by_one(net: nn.Module, data: Examples) -> list[tuple[Tensor, Tensor]]:
    """Loss and flat gradient of each example, by a pass of its own."""
    pairs = []
    for x, y in zip(data.inputs, data.targets, strict=True):
        scores = net(x[None])[0]
        scored = y != IGNORED
        loss = F.cross_entropy(scores[scored] if y.dim() else scores, y[scored] if y.dim() else y)
        gradient = torch.autograd.grad(loss, list(net.parameters()))
        pairs.append((loss.detach(), torch.cat([part.flatten() for part in gradient])))
    return pairs
