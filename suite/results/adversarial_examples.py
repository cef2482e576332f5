"""For each example the one input that broke it, coded small, so that the worst case replays."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.io import inflate
from robustbench_kd.core.tensor_types import Ids, Images, Mask
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.quantization import decode

CODE_TYPES = {"linf": np.int8, "l2": np.int16}


@dataclass(frozen=True)
class AdversarialExamples:
    """The first successful input against each example that is not robust.

    Attributes:
        ids: of all test examples.
        broken_by: int8, for each of them the place in the panel of the attack that broke it; -1
            where it is robust, or was answered wrongly without an attack.
        codes: of the broken examples, in order: ``[broken, *shape]``, int8 or int16.
    """

    ids: Ids
    broken_by: Tensor
    codes: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """What is stored, under the names of the first release; the codes are deflated."""
        deflated = zlib.compress(self.codes.contiguous().numpy().tobytes(), 9)
        return {
            "ids": self.ids,
            "broke": self.broken_by,
            "codes": torch.frombuffer(bytearray(deflated), dtype=torch.uint8),
        }

    def inputs(self, clean: Examples, budget: Budget) -> Images:
        """The clean inputs, with the broken ones replaced by what broke them."""
        replayed = clean.inputs.clone()
        broken = self.broken_by >= 0
        replayed[broken] = decode(self.codes, clean.inputs[broken], budget)
        return replayed


def first_adversarial_examples(
    ids: Ids, correct: Sequence[Mask], codes: Sequence[Tensor]
) -> AdversarialExamples:
    """For each example the first attack of the panel that broke it, and its codes.

    Args:
        correct: by attack, whether the model still answers each example correctly. The first of the
            panel is ``clean``: what is wrong without an attack needs no code.
        codes: by attack, of all examples.
    """
    broken_by = torch.full((len(ids),), -1, dtype=torch.int8)
    chosen = torch.zeros_like(codes[-1])
    for place in range(1, len(correct)):
        newly_broken = correct[0] & (broken_by < 0) & ~correct[place]
        broken_by[newly_broken] = place
        chosen[newly_broken] = codes[place][newly_broken]
    return AdversarialExamples(ids, broken_by, chosen[broken_by >= 0])


def parse(
    stored: Mapping[str, Tensor], clean: Examples, budget: Budget, where: str
) -> AdversarialExamples:
    """The adversarial examples in the tensors of a file.

    Args:
        clean: the test examples that they were made from.
        where: names the file in errors.

    Raises:
        BadRecord: where a tensor is missing, of another size, or does not inflate, or where it is
            about other examples.
    """
    try:
        ids, broken_by = stored["ids"], stored["broke"]
        shape = (int((broken_by >= 0).sum()), *clean.inputs.shape[1:])
        size = math.prod(shape) * np.dtype(CODE_TYPES[budget.kind]).itemsize
        inflated = inflate(stored["codes"].numpy().tobytes(), size)
        flat = torch.from_numpy(np.frombuffer(inflated, CODE_TYPES[budget.kind]).copy())
        codes = flat.view(shape)
    except (KeyError, TypeError, ValueError, RuntimeError) as why:
        raise BadRecord(f"the evidence {where} is damaged: {why}") from why
    if not torch.equal(ids, clean.ids):
        raise BadRecord(f"the evidence {where} is about other examples than its record")
    return AdversarialExamples(ids, broken_by, codes)
