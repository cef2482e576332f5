"""The shapes of this project as names, so that a signature says what it takes.

With jaxtyping installed (the ``test`` extra) the names carry dimensions and the tests check them on
every call; without it they are plain tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    from torch import Tensor

    Images: TypeAlias = Tensor
    Labels: TypeAlias = Tensor
    Logits: TypeAlias = Tensor
    PerExample: TypeAlias = Tensor
    Mask: TypeAlias = Tensor
    Ids: TypeAlias = Tensor
    Scalar: TypeAlias = Tensor
else:
    from torch import Tensor

    try:
        from jaxtyping import Bool, Float, Int64, Shaped
    except ImportError:
        Images = Labels = Logits = PerExample = Mask = Ids = Scalar = Tensor
    else:
        Images = Float[Tensor, "b c h w"]  # in [0, 1]
        Labels = Int64[Tensor, "b"]  # class indices
        Logits = Float[Tensor, "b k"]  # one score a class
        PerExample = Shaped[Tensor, "b"]  # one number an example
        Mask = Bool[Tensor, "b"]
        Ids = Int64[Tensor, "b"]  # unique over all splits of a scenario
        Scalar = Float[Tensor, ""]

__all__ = ["Ids", "Images", "Labels", "Logits", "Mask", "PerExample", "Scalar"]
