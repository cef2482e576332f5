"""The Frechet distance of normal distributions whose moments are known."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.generation.frechet_distance import frechet_distance


def test_the_frechet_distance_of_normal_distributions_is_the_closed_form() -> None:
    rows = torch.randn(4_000, 2, generator=Seed().generator(), dtype=torch.float64)
    rows = (rows - rows.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(rows.T.cov())).T
    assert float(frechet_distance(rows, rows)) == pytest.approx(0, abs=1e-9)
    moved = rows + torch.tensor([3.0, 4.0])
    assert float(frechet_distance(rows, moved)) == pytest.approx(25)
    wide = rows * torch.tensor([3.0, 1.0])  # deviations 3 and 1 against 1 and 1: (3 - 1)^2
    assert float(frechet_distance(rows, wide)) == pytest.approx(4)
    with pytest.raises(BadSetting, match="two rows or more"):
        frechet_distance(rows[:1], rows)
