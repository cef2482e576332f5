"""Closed-form edits of a linear map, against a solver of least squares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.generation.model_editing import edit_linear_map


def test_the_closed_form_solves_its_least_squares() -> None:
    noise = Seed().generator()

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=noise, dtype=torch.float64)

    w, k, v, kept = random(3, 4), random(5, 4), random(5, 3), random(6, 4)
    # The same problem as rows: [K; kept; sqrt(ridge) I] W'^T = [V; kept W^T; sqrt(ridge) W^T]
    left = torch.cat([k, kept, 0.7**0.5 * torch.eye(4, dtype=torch.float64)])
    right = torch.cat([v, kept @ w.T, 0.7**0.5 * w.T])
    solution = torch.linalg.lstsq(left, right).solution.T
    torch.testing.assert_close(edit_linear_map(w, k, v, kept, 0.7), solution)
    torch.testing.assert_close(edit_linear_map(w, k, k @ w.T, kept), w)
    with pytest.raises(BadSetting, match="ridge above 0"):
        edit_linear_map(w, k, v, kept, 0.0)
