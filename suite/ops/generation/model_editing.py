"""Editing a linear map without training: the least-squares solution that model editors share."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting


def edit_linear_map(
    weight: Tensor, keys: Tensor, values: Tensor, preserved: Tensor, ridge: float = 1.0
) -> Tensor:
    """The map that returns ``values`` for ``keys`` and changes little else.

    It minimises sum |W' k - v|^2 over the pairs, plus sum |W' k - W k|^2 over what is preserved,
    plus ridge |W' - W|^2 (Orgad et al. 2023, TIME, eq. 5; Gandikota et al. 2024, UCE, eq. 7).

    Args:
        weight: W, of shape (out, in).
        keys: inputs whose outputs change, (n, in).
        values: their new outputs, (n, out).
        preserved: inputs whose outputs should stay, (m, in).

    Raises:
        BadSetting: where ``ridge`` is not above zero: too few keys would leave W' undetermined.
    """
    if not ridge > 0:
        raise BadSetting(f"a closed-form edit needs a ridge above 0, not {ridge:g}")
    w, k, v, p = (part.double() for part in (weight, keys, values, preserved))
    square = ridge * torch.eye(w.shape[1], dtype=w.dtype, device=w.device) + k.T @ k + p.T @ p
    change = (v - k @ w.T).T @ k  # W' = W + sum (v - W k) k^T (square)^-1
    update: Tensor = torch.linalg.solve(square, change.T).T
    return (w + update).to(weight)
