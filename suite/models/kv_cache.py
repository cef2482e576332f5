"""A causal language model of Hugging Face that goes on where it stopped, by its key-value cache."""

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
class Continuation:
    """The network behind two questions: what comes after this text, and what after one token more.

    The memory that is handed out is never written to again, so that many branches may go on from
    one. Log-probabilities are in nats, in float32 or the network's own type if that is finer.

    Args:
        net: a model of transformers, in eval mode.
        vocabulary: how many tokens there are, where the network's scores are padded to more.

    Raises:
        BadModel: where the network takes no key-value cache, or gives none back.
    """

    net: nn.Module
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        if memory_name(self.net) is None:
            raise BadModel(_refusal(self.net, "takes none"))

    @property
    def positions(self) -> int:
        """The most tokens that the network can be asked about."""
        found = getattr(getattr(self.net, "config", None), "max_position_embeddings", None)
        return sys.maxsize if found is None else int(found)

    def open(self, ids: Tensor) -> tuple[Logits, Any]:
        """What comes after these tokens, shape (t,): log-probabilities (1, V), and the memory.

        Raises:
            BadSetting: where there are no tokens, or more than the network has positions.
        """
        says, memory = self._ask(ids[None], None, 1)
        return says[:, 0], memory

    def step(self, memory: Any, rows: Labels, ids: Labels) -> tuple[Logits, Any]:
        """What comes next, (b, V), where these rows of the memory go on by one token each.

        A row may be named any number of times, and those that are not are let go.

        Raises:
            BadSetting: where the memory is as long as the network has positions.
        """
        chosen = copy(memory)
        chosen.layers = [copy(layer) for layer in memory.layers]
        chosen.reorder_cache(rows)  # by index, into new tensors: branches share none
        says, grown = self._ask(ids[:, None], chosen, 1)
        return says[:, 0], grown

    def read(self, ids: Tensor, last: int) -> Tensor:
        """What comes after each of the last tokens of whole texts: (b, t) -> (b, last, V)."""
        return self._ask(ids, None, last, cached=False)[0]

    @torch.inference_mode()
    def _ask(
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
        name = memory_name(self.net) or ""
        out = self.net(
            input_ids=ids.to(device), use_cache=cached, logits_to_keep=last, **{name: memory}
        )
        grown = getattr(out, name, None) if cached else None
        if cached:
            _expect_cache(self.net, grown)
        # Some models keep all, whatever is asked.
        scores: Tensor = out.logits[:, -last:, : self.vocabulary]
        fine = torch.promote_types(scores.dtype, torch.float32)
        return scores.to(fine).log_softmax(-1), grown


def memory_name(net: nn.Module) -> str | None:
    """What the network calls its key-value cache; None where it takes none.

    Transformers renamed it from ``past_key_values`` in 5.24.
    """
    known = signature(net.forward).parameters.keys()
    names = ("cache", "past_key_values")
    return next((name for name in names if name in known and "use_cache" in known), None)


def _expect_cache(net: nn.Module, memory: object) -> None:
    from transformers import DynamicCache

    if not isinstance(memory, DynamicCache):
        raise BadModel(_refusal(net, f"gives back {type(memory).__name__}"))


def _refusal(net: nn.Module, what: str) -> str:
    return (
        f"a model must go on from a key-value cache, and {type(net).__name__} {what}; use a causal "
        "language model of transformers with a DynamicCache, such as GPT2LMHeadModel"
    )
