"""A language model going on: the likeliest token each time, or one that is drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustbench_kd.models.kv_cache import memory_name


def generate(
    net: nn.Module, ids: Tensor, count: int, noise: torch.Generator | None = None
) -> Tensor:
    """So many further tokens [b, count] after prompts [b, t] of one length.

    Args:
        net: token ids -> logits; one that has a ``model`` with a key-value cache is asked for one
            token at a time, any other for the whole each time.
        noise: draws each token from the model's own distribution; without, the likeliest is taken.
    """
    said: list[Tensor] = []
    cache: Any = None
    with torch.inference_mode():
        fresh = ids
        for _ in range(count):
            scores, cache = _ask(net, ids, fresh, cache)
            if noise is None:
                new = scores.argmax(1)
            else:
                new = torch.multinomial(scores.softmax(1), 1, generator=noise).squeeze(1)
            said.append(new)
            fresh = new[:, None]
            ids = torch.cat([ids, fresh], 1)
    return torch.stack(said, 1).clone()


def _ask(net: nn.Module, ids: Tensor, fresh: Tensor, cache: Any) -> tuple[Tensor, Any]:
    """Scores of the next token, and the memory of all so far."""
    model = getattr(net, "model", None)
    name = None if model is None else memory_name(model)
    if model is None or name is None or not getattr(model.config, "use_cache", False):
        return net(ids)[:, -1], None
    start = ids.shape[1] - fresh.shape[1]
    places = torch.arange(start, ids.shape[1], device=ids.device).expand(fresh.shape)
    said = model(input_ids=fresh, position_ids=places, use_cache=True, **{name: cache})
    return said.logits[:, -1, : net.vocabulary], getattr(said, name)
