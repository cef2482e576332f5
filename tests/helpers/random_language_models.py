"""Causal language models with random weights, and spaces of secrets to rank."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.models.kv_cache import KVCacheModel
from robustbench_kd.ops.privacy.trie import Trie

DIGITS = range(10)
FOUR, SIX = Trie.product([DIGITS] * 4), Trie.product([DIGITS] * 6)
PREFIX = torch.tensor([11, 12, 10, 13])
WORDS = Trie.of([(3,), (1, 2), (1, 4, 4), (1, 4, 5), (0, 0, 0, 0, 6), (2, 7), (5, 1, 2)])


def network(
    kind: str = "gpt2",
    *,
    width: int = 32,
    layers: int = 1,
    heads: int = 1,
    vocabulary: int = 16,
    deviation: float = 0.6,
    seed: object = 0,
    dtype: torch.dtype = torch.float64,
) -> Any:
    """A causal model of 32 positions with weights of a deviation that makes its guesses peaked.

    In float64, so that rounding decides no comparison.
    """
    transformers = pytest.importorskip("transformers")
    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 32,
        "bos_token_id": None,
        "eos_token_id": None,
        "tie_word_embeddings": False,
    }
    if kind == "gpt2":
        net = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    else:
        config = transformers.GPTNeoXConfig(intermediate_size=2 * width, **shape)
        net = transformers.GPTNeoXForCausalLM(config)
    noise = (Seed() / "network" / kind / seed).generator()
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=noise) * deviation)
    return net.eval().to(dtype)


@cache
def model(kind: str = "gpt2", seed: object = 0) -> KVCacheModel:
    return KVCacheModel(network(kind, seed=seed))


def larger_network(kind: str = "gpt2") -> Any:
    """Two layers of 64 channels, 1,024 tokens, in float32."""
    return network(
        kind,
        width=64,
        layers=2,
        heads=2,
        vocabulary=1024,
        deviation=0.15,
        dtype=torch.float32,
    )


class CountingModel:
    """Forwards every call, and counts the rows queried, in all and at most at a time."""

    def __init__(self, inner: KVCacheModel) -> None:
        self.inner, self.rows, self.largest = inner, 0, 0
        self.positions = inner.positions

    def open(self, ids: Tensor) -> tuple[Tensor, Any]:
        self.rows += 1
        return self.inner.open(ids)

    def step(self, memory: Any, rows: Tensor, ids: Tensor) -> tuple[Tensor, Any]:
        self.rows += len(rows)
        self.largest = max(self.largest, len(rows))
        return self.inner.step(memory, rows, ids)
