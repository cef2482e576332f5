"""Edits of a linear map without training: the least-squares solution that model editors share."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting


def edited(
    weight: Tensor, keys: Tensor, values: Tensor, kept: Tensor, ridge: float = 1.0
) -> Tensor:
    """The map that says ``values`` of ``keys``, and otherwise what it said before.

    It minimises sum |W' k - v|^2 over the pairs, plus sum |W' k - W k|^2 over what is kept, plus
    ridge |W' - W|^2 (Orgad et al. 2023, TIME, eq. 5; Gandikota et al. 2024, UCE, eq. 7).

    Args:
        weight: W, of shape (out, in).
        keys: inputs to answer otherwise, (n, in).
        values: what to answer, (n, out).
        kept: inputs whose answers should stay, (m, in).

    Raises:
        BadSetting: where ``ridge`` is not above zero: too few keys would leave W' undecided.
    """
    if not ridge > 0:
        raise BadSetting(f"a closed-form edit needs a ridge above 0, not {ridge:g}")
    w, k, v, stay = (part.double() for part in (weight, keys, values, kept))
    square = ridge * torch.eye(w.shape[1], dtype=w.dtype, device=w.device) + k.T @ k + stay.T @ stay
    change = (v - k @ w.T).T @ k  # W' = W + sum (v - W k) k^T (square)^-1
    solved: Tensor = torch.linalg.solve(square, change.T).T
    return (w + solved).to(weight)
