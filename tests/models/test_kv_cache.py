"""A language model with a key-value cache: what it returns, what it shares, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from random_language_models import PREFIX, model, network
from torch import nn

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.models.kv_cache import KVCacheModel


def test_more_tokens_than_positions_are_refused() -> None:
    with pytest.raises(BadSetting, match="cannot go on from 33 tokens; ask it about 1 to 32"):
        model().open(torch.full((33,), 10))
    _, memory = model().open(torch.full((32,), 10))
    with pytest.raises(BadSetting, match="cannot go on from 33"):
        model().step(memory, torch.tensor([0]), torch.tensor([1]))


def test_a_model_without_a_cache_is_refused() -> None:
    with pytest.raises(BadModel, match="Linear takes none; use a causal language model"):
        KVCacheModel(nn.Linear(2, 2))

    class Forgetful(nn.Module):
        """Takes a cache, and returns none."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, past_key_values: object, use_cache: bool, **arguments: Any) -> Any:
            return self.inner(use_cache=False, **arguments)

    forgetful = KVCacheModel(Forgetful().eval())
    with pytest.raises(BadModel, match="Forgetful gives back NoneType"):
        forgetful.open(PREFIX)
    assert forgetful.read(PREFIX[None], 1).shape == (1, 1, 16)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(BadModel, match="is in training mode"):
        KVCacheModel(network().train()).open(PREFIX)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_branches_share_no_memory_with_each_other_or_with_their_root(kind: str) -> None:
    lm = model(kind)
    at_root, root = lm.open(PREFIX)
    copies = [(layer.keys.clone(), layer.values.clone()) for layer in root.layers]
    at_left, left = lm.step(root, torch.tensor([0, 0]), torch.tensor([5, 6]))
    at_right, right = lm.step(root, torch.tensor([0]), torch.tensor([7]))
    below_left, _ = lm.step(left, torch.tensor([1, 0, 1]), torch.tensor([1, 2, 3]))
    below_right, _ = lm.step(right, torch.tensor([0]), torch.tensor([4]))
    for layer, (keys, values) in zip(root.layers, copies, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)
    paths = {(): at_root[0], (5,): at_left[0], (6,): at_left[1], (7,): at_right[0]}
    paths |= {(6, 1): below_left[0], (5, 2): below_left[1], (6, 3): below_left[2]}
    paths |= {(7, 4): below_right[0]}
    for path, log_p in paths.items():
        text = torch.cat([PREFIX, torch.tensor(path, dtype=torch.int64)])
        torch.testing.assert_close(log_p, lm.open(text)[0][0], atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_log_probabilities_are_those_of_the_vocabulary_in_float32_or_better(
    dtype: torch.dtype, expected: torch.dtype
) -> None:
    log_p, _ = KVCacheModel(network(dtype=dtype), vocabulary=12).open(PREFIX[2:3])
    assert (log_p.shape, log_p.dtype) == ((1, 12), expected)
    assert float(log_p.exp().sum()) == pytest.approx(1)


@pytest.mark.slow
def test_the_models_and_ranks_import_without_transformers() -> None:
    code = (
        "import sys, robustbench_kd.models.kv_cache, robustbench_kd.ops.privacy.candidate_rank\n"
        "print('transformers' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert process.stdout.strip() == "False"
