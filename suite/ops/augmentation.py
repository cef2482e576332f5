"""Images moved by a few pixels each, as training augments them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from robustbench_kd.core.tensor_types import Images


def shifted(x: Images, most: int, noise: torch.Generator) -> Images:
    """Each image moved by a draw from -most..most pixels along both axes; black moves in."""
    if most == 0:
        return x
    count, _, high, wide = x.shape
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1), generator=noise).to(x.device)
    rows = (down + torch.arange(high, device=x.device))[:, :, None]
    columns = (right + torch.arange(wide, device=x.device))[:, None, :]
    which = torch.arange(count, device=x.device)[:, None, None]
    padded = F.pad(x, (most, most, most, most))
    return padded.movedim(1, -1)[which, rows, columns].movedim(-1, 1).contiguous()
