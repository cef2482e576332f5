"""For each example the one input that broke it, coded small, so that the worst case replays."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.tensor_types import Ids, Images, Mask
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.quantization import decode

TYPES = {"linf": np.int8, "l2": np.int16}


@dataclass(frozen=True)
class Proof:
    """``broke`` holds, by example, the place in the panel of the attack that broke it, or -1."""

    ids: Ids
    broke: Tensor
    codes: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """What is stored: codes deflated, everything else as it is."""
        raw = zlib.compress(self.codes.contiguous().numpy().tobytes(), 9)
        return {
            "ids": self.ids,
            "broke": self.broke,
            "codes": torch.frombuffer(bytearray(raw), dtype=torch.uint8),
        }

    def inputs(self, clean: Examples, budget: Budget) -> Images:
        """The clean inputs, with the broken ones replaced by what broke them."""
        replayed = clean.inputs.clone()
        rows = self.broke >= 0
        replayed[rows] = decode(self.codes, clean.inputs[rows], budget)
        return replayed


def prove(ids: Ids, right: Sequence[Mask], codes: Sequence[Tensor]) -> Proof:
    """The first attack of the panel that broke each example, and its codes.

    The first of the panel is the control: what it gets wrong needs no code.
    """
    broke = torch.full((len(ids),), -1, dtype=torch.int8)
    chosen = torch.zeros_like(codes[-1])
    for place in range(1, len(right)):
        fresh = right[0] & (broke < 0) & ~right[place]
        broke[fresh] = place
        chosen[fresh] = codes[place][fresh]
    return Proof(ids, broke, chosen[broke >= 0])


def restore(stored: dict[str, Tensor], clean: Examples, budget: Budget, where: str) -> Proof:
    """The proof as it was.

    Raises:
        BadRecord: where a tensor is missing, of another size, or does not inflate.
    """
    try:
        ids, broke = stored["ids"], stored["broke"]
        raw = zlib.decompress(stored["codes"].numpy().tobytes())
        rows = int((broke >= 0).sum())
        flat = np.frombuffer(raw, TYPES[budget.kind]).copy()
        codes = torch.from_numpy(flat).view(rows, *clean.inputs.shape[1:])
    except (KeyError, ValueError, RuntimeError, zlib.error) as why:
        raise BadRecord(f"the evidence {where} is damaged: {why}") from why
    if not torch.equal(ids, clean.ids):
        raise BadRecord(f"the evidence {where} is about other examples than its record")
    return Proof(ids, broke, codes)
