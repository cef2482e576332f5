"""Concept editing of text-to-image models: by training, and in closed form."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.text_to_image import as_text_to_image, trainable_copy
from robustbench_kd.ops.generation.attention_alignment import match_tokens
from robustbench_kd.ops.generation.model_editing import edit_linear_map
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_loss import balance_factors, loss_terms, weighted_sum
from robustbench_kd.training.edit_pairs import EditPairs
from robustbench_kd.training.trainer import TrainStep, fit


def edit_concepts(
    net: nn.Module,
    pairs: EditPairs,
    preserved: EditPairs | None,
    config: EditConfig,
    seed: Seed,
    progress: Progress | None = None,
    teacher: nn.Module | None = None,
) -> nn.Module:
    """A copy of the model that answers source prompts as the frozen original answers the targets.

    Args:
        preserved: pairs whose source prompts are to be answered as before.
        teacher: whose outputs are the targets, and are preserved, in place of the original's.

    Raises:
        BadModel: where the network is no text-to-image network, or has no cross-attention.
        BadSetting: where a term has a weight and lacks the prompts it is computed from.
    """
    student = trainable_copy(net)
    if config.part == "readers":
        student.requires_grad_(False)
        for projections in as_text_to_image(student).cross_attention_projections:
            for layer in projections:
                layer.requires_grad_(True)
    frozen = copy.deepcopy(net if teacher is None else teacher).eval().requires_grad_(False)
    terms = loss_terms(frozen, pairs, preserved, config)
    with torch.no_grad():
        factors = balance_factors(terms(student, config.batch, seed / "balance"))
    schedule = config.schedule()
    # The loop counts steps by examples; what a step trains on is drawn by the loss itself.
    rows = torch.arange(-(-config.steps // schedule.epochs) * config.batch)

    def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        number = int(torch.randint(2**62, (1,), generator=step.noise))
        return weighted_sum(terms(student, len(batch), Seed(number)), config, factors)

    return fit(student, Examples(rows, rows, rows), objective, schedule, seed, progress)


def edit_closed_form(
    net: nn.Module, pairs: EditPairs, preserved: Tensor, ridge: float = 1.0, stay: float = 1.0
) -> nn.Module:
    """A copy whose cross-attention reads source prompts as the targets, without training.

    Keys and values are replaced by the least-squares solution of ``ops.generation.model_editing``.

    Args:
        preserved: [n, t] prompts that are to be read as before.
        ridge: weight of the distance to the present weights.
        stay: weight of a preserved token against an edited one.

    Raises:
        BadModel: where the network is no text-to-image network, or has no cross-attention.
        BadSetting: where the pairs have no target prompts.
    """
    if pairs.target is None:
        raise BadSetting(
            "a closed-form edit maps prompts to prompts, and these pairs have no targets"
        )
    student = copy.deepcopy(net).eval()
    model = as_text_to_image(student)
    with torch.no_grad():
        keys, goals = model.encode(pairs.source), model.encode(pairs.target)
        index = match_tokens(pairs.source, pairs.target, model.tokenizer.special_tokens)
        goals = goals.gather(1, index[:, :, None].expand_as(goals)).flatten(0, 1)
        fixed_keys = stay**0.5 * model.encode(preserved).flatten(0, 1)
        for projections in model.cross_attention_projections:
            for layer in projections:
                values = goals @ layer.weight.T
                weight = edit_linear_map(
                    layer.weight, keys.flatten(0, 1), values, fixed_keys, ridge
                )
                layer.weight.copy_(weight)
    return student
