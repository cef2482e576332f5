"""Causal language models of Hugging Face's transformers: GPT-2 by size, and any model by path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.seed import Seed


def _library() -> Any:
    try:
        transformers: Any = import_module("transformers")
    except ImportError as why:
        raise MissingData(
            "language models need transformers: pip install 'robustbench-kd[language]'"
        ) from why
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


class LanguageNet(nn.Module):
    """A causal language model as a plain module: token ids [b, t] -> logits [b, t, v].

    Dropout is off, so that training depends on nothing but its seed. Tied weights occur once in the
    state: safetensors holds no two names for one tensor.
    """

    def __init__(self, model: Any, vocabulary: int) -> None:
        super().__init__()
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        self.model = model
        self.vocabulary = vocabulary
        self.tied = _tied_weights(model)

    @property
    def context(self) -> int:
        """The longest input it takes, in tokens."""
        return int(self.model.config.max_position_embeddings)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of every next token; those that only pad the vocabulary are cut off."""
        # Opacus's and vmap's per-example gradients need positions of the batch's own size.
        positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        logits = self.model(input_ids=ids, position_ids=positions, use_cache=False).logits
        return logits[..., : self.vocabulary]  # type: ignore[no-any-return]

    def state_dict(self, *args: Any, **named: Any) -> Any:
        """The weights, each once."""
        state = super().state_dict(*args, **named)
        for name in self.tied:
            state.pop(f"model.{name}", None)
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads weights as ``state_dict`` returns them."""
        state = dict(state_dict)
        for name, first in self.tied.items():
            if f"model.{first}" in state:
                state.setdefault(f"model.{name}", state[f"model.{first}"])
        return super().load_state_dict(state, strict, assign)


def _tied_weights(model: nn.Module) -> dict[str, str]:
    """The second and further names of tensors, with the first name of each."""
    first: dict[int, str] = {}
    tied = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) in first:
            tied[name] = first[id(value)]
        first.setdefault(id(value), name)
    return tied


def build(name: str, vocabulary: int, context: int, seed: Seed) -> LanguageNet:
    """A fresh GPT-2 by name: ``gpt2-96-3`` is 96 wide and 3 deep, with a head for each 32.

    Raises:
        BadSetting: for any other name.
    """
    match = re.fullmatch(r"gpt2-(\d+)-(\d+)", name)
    if not match or int(match[1]) % 32:
        raise BadSetting(
            f"no language model named {name!r}; write gpt2-96-3, where 32 divides the width"
        )
    library = _library()
    width, depth = int(match[1]), int(match[2])
    config = library.GPT2Config(
        vocab_size=vocabulary,
        n_positions=context,
        n_embd=width,
        n_layer=depth,
        n_head=width // 32,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed.number())
        return LanguageNet(library.GPT2LMHeadModel(config), vocabulary)


def from_pretrained(path: str, vocabulary: int) -> LanguageNet:
    """The causal model in this folder, or of this name on the hub; no pickle is ever opened.

    Raises:
        BadModel: where there is none, it is no causal model, or its vocabulary is too small.
    """
    library = _library()
    try:
        model = library.AutoModelForCausalLM.from_pretrained(
            path, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as why:
        raise BadModel(
            f"no causal language model can be loaded from {path}: {_one_line(why)}"
        ) from why
    size = int(model.config.vocab_size)
    if size < vocabulary:
        raise BadModel(
            f"the model in {path} has {size} tokens, and its tokenizer makes {vocabulary}"
        )
    return LanguageNet(model, vocabulary)


def _one_line(why: Exception) -> str:
    return " ".join(str(why).split())[:200]


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of transformers: text to ids, and ids to the text of each."""

    inner: Any

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.inner)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token with its id."""
        return dict(self.inner.get_vocab())

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        ids: list[int] = self.inner.encode(text, add_special_tokens=False)
        return ids

    def detokenize(self, ids: Iterable[int]) -> list[str]:
        """The text of each token by itself."""
        return [self.inner.decode([int(i)]) for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of all of them."""
        text: str = self.inner.decode([int(i) for i in ids])
        return text


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in this ``.json`` file or folder, or of this name on the hub.

    Raises:
        BadModel: where there is none.
    """
    library = _library()
    try:
        if str(path).endswith(".json"):
            return Tokenizer(library.PreTrainedTokenizerFast(tokenizer_file=str(path)))
        return Tokenizer(library.AutoTokenizer.from_pretrained(str(path)))
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as why:
        raise BadModel(f"no tokenizer can be loaded from {path}: {_one_line(why)}") from why


def train_tokenizer(texts: Iterable[str], size: int) -> str:
    """A byte-level BPE of so many tokens that keeps every digit single, as JSON."""
    _library()
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, pre_tokenizers, trainers

    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(alphabet), show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return str(bpe.to_str(pretty=False))
