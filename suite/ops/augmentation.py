"""Random shifts of images, the augmentation of training."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from robustbench_kd.core.tensor_types import Images


def random_shift(x: Images, reach: int, noise: torch.Generator) -> Images:
    """Each image shifted by a draw from -reach..reach pixels along both axes, padded with black."""
    if reach == 0:
        return x
    count, _, height, width = x.shape
    down, right = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=noise).to(x.device)
    rows = (down + torch.arange(height, device=x.device))[:, :, None]
    columns = (right + torch.arange(width, device=x.device))[:, None, :]
    images = torch.arange(count, device=x.device)[:, None, None]
    padded = F.pad(x, (reach, reach, reach, reach))
    return padded.movedim(1, -1)[images, rows, columns].movedim(-1, 1).contiguous()
