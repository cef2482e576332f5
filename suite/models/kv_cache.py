"""A causal language model of Hugging Face that resumes after any token, by its key-value cache."""

from __future__ import annotations

import sys
from copy import copy
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.tensor_types import Labels, Logits


@dataclass(frozen=True)
class KVCacheModel:
    """The network as an ``IncrementalModel``: the token after a text, or after one token more.

    The memory that is returned is never written to again, so that many branches may resume from the
    same one. Log-probabilities are in nats, in float32 or the network's own type if that is finer.

    Args:
        net: a model of transformers, in eval mode.
        vocabulary: the number of tokens, where the network's scores are padded to more.

    Raises:
        BadModel: where the network takes no key-value cache, or returns none.
    """

    net: nn.Module
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        if cache_argument(self.net) is None:
            raise BadModel(_refusal(self.net, "takes none"))

    @property
    def positions(self) -> int:
        """The most tokens that the network reads."""
        positions = getattr(getattr(self.net, "config", None), "max_position_embeddings", None)
        return sys.maxsize if positions is None else int(positions)

    def open(self, ids: Tensor) -> tuple[Logits, Any]:
        """Log-probabilities (1, V) of the token after these, shape (t,), and the memory.

        Raises:
            BadSetting: where there are no tokens, or more than the network has positions.
        """
        log_p, memory = self._query(ids[None], None, 1)
        return log_p[:, 0], memory

    def step(self, memory: Any, rows: Labels, ids: Labels) -> tuple[Logits, Any]:
        """Log-probabilities (b, V), after these rows of the memory are extended by one token each.

        A row may be named any number of times, and those that are not are dropped.

        Raises:
            BadSetting: where the memory is as long as the network has positions.
        """
        selected = copy(memory)
        selected.layers = [copy(layer) for layer in memory.layers]
        selected.reorder_cache(rows)  # by index, into new tensors: branches share none
        log_p, extended = self._query(ids[:, None], selected, 1)
        return log_p[:, 0], extended

    def read(self, ids: Tensor, last: int) -> Tensor:
        """Log-probabilities after each of the last tokens of texts: (b, t) -> (b, last, V)."""
        return self._query(ids, None, last, cached=False)[0]

    @torch.inference_mode()
    def _query(
        self, ids: Tensor, memory: Any, last: int, *, cached: bool = True
    ) -> tuple[Tensor, Any]:
        length = ids.shape[1] + (0 if memory is None else memory.get_seq_length())
        if not ids.shape[1] or length > self.positions:
            raise BadSetting(
                f"{type(self.net).__name__} cannot go on from {length} tokens; ask it about 1 to "
                f"{self.positions}"
            )
        if self.net.training:
            raise BadModel(
                f"{type(self.net).__name__} is in training mode, where answers are random; call "
                "eval() on it first"
            )
        device = next(self.net.parameters()).device
        argument = cache_argument(self.net) or ""
        output = self.net(
            input_ids=ids.to(device), use_cache=cached, logits_to_keep=last, **{argument: memory}
        )
        extended = getattr(output, argument, None) if cached else None
        if cached:
            _expect_cache(self.net, extended)
        # Some models return the scores of all tokens, whatever is requested.
        scores: Tensor = output.logits[:, -last:, : self.vocabulary]
        dtype = torch.promote_types(scores.dtype, torch.float32)
        return scores.to(dtype).log_softmax(-1), extended


def cache_argument(net: nn.Module) -> str | None:
    """The name of the network's argument for a key-value cache; None where it takes none.

    Transformers renamed it from ``past_key_values`` in 5.24.
    """
    arguments = signature(net.forward).parameters.keys()
    names = ("cache", "past_key_values")
    return next((name for name in names if name in arguments and "use_cache" in arguments), None)


def _expect_cache(net: nn.Module, memory: object) -> None:
    from transformers import DynamicCache

    if not isinstance(memory, DynamicCache):
        raise BadModel(_refusal(net, f"gives back {type(memory).__name__}"))


def _refusal(net: nn.Module, what: str) -> str:
    return (
        f"a model must go on from a key-value cache, and {type(net).__name__} {what}; use a causal "
        "language model of transformers with a DynamicCache, such as GPT2LMHeadModel"
    )
