"""A tiny text, tokenizers of its own, and language models on disk, for tests of the text ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "one",
    "had",
    "not",
    "but",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
]


def corpus(count: int = 500) -> str:
    """Paragraphs of drawn words, the same on every machine."""
    noise = torch.Generator().manual_seed(11)
    lines = []
    for _ in range(count):
        size = int(torch.randint(18, 30, (1,), generator=noise))
        drawn = torch.randint(len(WORDS), (size,), generator=noise).tolist()
        lines.append(" ".join(WORDS[i] for i in drawn).capitalize() + ".")
    return "\n\n".join(lines)


def tokenizer(kind: str) -> Any:
    """A byte-level BPE: ``single`` keeps digits apart, ``merging`` joins frequent pairs of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, level]) if kind == "single" else level
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    numbers = " ".join(f"{n:04d}" for n in range(0, 10_000, 7))
    made.train_from_iterator([corpus(), numbers], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made)


def checkpoint(
    folder: Path, kind: str = "gpt2", digits: str = "single", positions: int = 64
) -> str:
    """A tiny randomly initialised causal model and its tokenizer, as ``save_pretrained`` writes."""
    import transformers

    spoken = tokenizer(digits)
    torch.manual_seed(5)
    if kind == "gpt2":
        config: Any = transformers.GPT2Config(
            vocab_size=len(spoken),
            n_positions=positions,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
        model: Any = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.GPTNeoXConfig(
            vocab_size=len(spoken) + 8,  # padded, as real ones are
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=positions,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = transformers.GPTNeoXForCausalLM(config)
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    spoken.save_pretrained(folder)
    return str(folder)
