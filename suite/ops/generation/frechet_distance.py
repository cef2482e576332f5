"""The Frechet distance of two sets of images, in the features of a classifier of this project.

It is not FID, whose features are those of Inception-v3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.tensor_types import Scalar


def frechet_distance(a: Tensor, b: Tensor) -> Scalar:
    """The squared Frechet distance of two normal distributions fitted to rows of features.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Dowson & Landau 1982). Estimates from few rows are
    biased upwards, by about as much for all sets of a size: compare sets of one size only.

    Raises:
        BadSetting: where a set has fewer than two rows, or the features differ in number.
    """
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise BadSetting(
            f"a Frechet distance needs two rows or more of the same features on either side, not "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = a.double(), b.double()
    mean_term = (a.mean(0) - b.mean(0)).square().sum()
    c, d = torch.atleast_2d(a.T.cov()), torch.atleast_2d(b.T.cov())
    root = _square_root(c)
    cross_term = torch.linalg.eigvalsh(root @ d @ root).clamp_min(0).sqrt().sum()
    distance: Scalar = (mean_term + c.trace() + d.trace() - 2 * cross_term).clamp_min(0)
    return distance


def _square_root(c: Tensor) -> Tensor:
    """The symmetric square root of a covariance; negative eigenvalues, from rounding, are zero."""
    values, vectors = torch.linalg.eigh(c)
    root: Tensor = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    return root
