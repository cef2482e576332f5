"""Language models as target models, and networks of transformers behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from safetensors.torch import load, save
from small_text import small_text

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED
from robustbench_kd.integrations.transformers import build
from robustbench_kd.scenarios.private_text import PrivateText


@pytest.fixture
def scenario(tmp_path: Path) -> PrivateText:
    return small_text(tmp_path)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_weights_are_restored_from_disk_as_they_were(kind: str, tmp_path: Path) -> None:
    scenario = small_text(tmp_path, kind=kind)
    net, other = scenario.student("plain", Seed()), scenario.student("plain", Seed())
    for weight in other.parameters():
        weight.data.zero_()
    other.load_state_dict(load(save(net.state_dict())))
    ids = torch.arange(20)[None]
    assert torch.equal(net(ids), other(ids))
    assert net(ids).shape[2] == scenario.tokenizer.size


def test_the_loss_of_a_row_is_minus_the_log_probability_of_its_scored_tokens(
    scenario: PrivateText,
) -> None:
    test = scenario.splits(Seed(), whole=True).test.take(torch.arange(2))
    net = scenario.student("plain", Seed())
    log_p = net(test.inputs).log_softmax(2).detach()
    total = [
        -sum(float(log_p[n, t, test.targets[n, t]]) for t in range(test.inputs.shape[1]))
        for n in range(2)
    ]
    losses = scenario.target_model(net).example_losses(test)
    assert losses.tolist() == pytest.approx(total, rel=1e-5)


def test_greedy_answers_are_the_likeliest_tokens_with_and_without_a_cache(
    scenario: PrivateText,
) -> None:
    net = scenario.student("plain", Seed())
    prompts = scenario.splits(Seed(), whole=True).test.inputs[:3].clone()
    prompts[:, 10:] = IGNORED
    prompts[1, 5:] = IGNORED
    answers = scenario.target_model(net).answer(prompts)
    for row, answer in zip(prompts, answers, strict=True):
        ids = row[row != IGNORED]
        for token in answer.tolist():
            logits = net(ids[None])[0, -1].detach()
            # Likeliest up to rounding: with a cache other kernels run than without.
            assert float(logits.max() - logits[token]) < 1e-4
            ids = torch.cat([ids, ids.new_tensor([token])])


def test_a_name_that_is_no_language_model_is_refused() -> None:
    with pytest.raises(BadSetting, match="no language model named 'gpt2-90-2'"):
        build("gpt2-90-2", 100, 64, Seed())
