"""Generation by a language model: greedy, or sampled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustbench_kd.models.kv_cache import cache_argument


def generate(
    net: nn.Module, ids: Tensor, count: int, noise: torch.Generator | None = None
) -> Tensor:
    """The next ``count`` tokens [b, count] after prompts [b, t] of one length.

    Args:
        net: token ids -> logits. One that has a ``model`` with a key-value cache reads one token at
            a time, any other the whole text each time.
        noise: samples each token from the model's own distribution; without, the likeliest is
            taken.
    """
    generated: list[Tensor] = []
    cache: Any = None
    with torch.inference_mode():
        unread = ids
        for _ in range(count):
            scores, cache = _next_token_scores(net, ids, unread, cache)
            if noise is None:
                token = scores.argmax(1)
            else:
                token = torch.multinomial(scores.softmax(1), 1, generator=noise).squeeze(1)
            generated.append(token)
            unread = token[:, None]
            ids = torch.cat([ids, unread], 1)
    return torch.stack(generated, 1).clone()


def _next_token_scores(
    net: nn.Module, ids: Tensor, unread: Tensor, cache: Any
) -> tuple[Tensor, Any]:
    """Scores of the next token, and the cache of all tokens so far."""
    model = getattr(net, "model", None)
    argument = None if model is None else cache_argument(model)
    if model is None or argument is None or not getattr(model.config, "use_cache", False):
        return net(ids)[:, -1], None
    start = ids.shape[1] - unread.shape[1]
    positions = torch.arange(start, ids.shape[1], device=ids.device).expand(unread.shape)
    output = model(input_ids=unread, position_ids=positions, use_cache=True, **{argument: cache})
    return output.logits[:, -1, : net.vocabulary], getattr(output, argument)
