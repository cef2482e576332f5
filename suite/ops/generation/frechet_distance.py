"""How far two sets of pictures lie apart, in the features of a judge of this project.

Never to be called FID, whose features are those of Inception-v3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.tensor_types import Scalar


def frechet(one: Tensor, other: Tensor) -> Scalar:
    """The squared Frechet distance of two normal distributions fitted to rows of features.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Dowson & Landau 1982). Estimates from few rows lie
    too high, by about as much for all sets of a size: compare sets of one size only.

    Raises:
        BadSetting: where a set has fewer than two rows, or the features differ in number.
    """
    if min(len(one), len(other)) < 2 or one.shape[1] != other.shape[1]:
        raise BadSetting(
            f"a Frechet distance needs two rows or more of the same features on either side, not "
            f"{tuple(one.shape)} and {tuple(other.shape)}"
        )
    a, b = one.double(), other.double()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    c, d = torch.atleast_2d(a.T.cov()), torch.atleast_2d(b.T.cov())
    root = _root(c)
    mixed = torch.linalg.eigvalsh(root @ d @ root).clamp_min(0).sqrt().sum()
    distance: Scalar = (apart + c.trace() + d.trace() - 2 * mixed).clamp_min(0)
    return distance


def _root(c: Tensor) -> Tensor:
    """The symmetric root of a covariance; what rounding made negative counts as zero."""
    values, vectors = torch.linalg.eigh(c)
    root: Tensor = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    return root
