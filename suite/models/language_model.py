"""Causal language models as an adversary sees them: continuations and token probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSubmission
from robustbench_kd.core.protocols import LanguageModel, Tokens
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import PerExample
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.models.classifier import PassCounter
from robustbench_kd.models.generation import generate
from robustbench_kd.models.kv_cache import KVCacheModel
from robustbench_kd.ops.privacy.beam_search import beam_search
from robustbench_kd.ops.privacy.candidate_rank import Rank, rank
from robustbench_kd.ops.privacy.trie import Trie

CHUNK = 64
# What a rank may cost: a small space is searched whole, in a large one the search gives up early.
# By then 4,000 nodes were likelier than the secret, and a rank so large is sampled accurately.
EXHAUSTIVE, NODES, SAMPLES = 70_000, 4_000, 2_000


@dataclass(frozen=True)
class CausalLanguageModel(LanguageModel):
    """A causal language model as a target model.

    Attributes:
        spaces: for each kind of secret, all candidates.
        detokenize: turns tokens to text.
        length: tokens of an answer.
    """

    net: nn.Module
    spaces: tuple[Trie, ...]
    detokenize: Callable[[Tensor], list[str]]
    length: int = 16
    passes: PassCounter = field(default_factory=PassCounter, compare=False)

    def spoken(self, examples: Examples) -> list[bytes]:
        """The text of each row."""
        return ["".join(self.detokenize(row)).encode() for row in examples.inputs]

    def answer(self, inputs: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Continuations [b, length]: greedy, or sampled where ``noise`` is given.

        Prompts [b, t] end before the first -100 of their row. Where the context is full, -100
        follows in the answers.
        """
        answers = torch.full((len(inputs), self.length), IGNORED)
        lengths = (inputs != IGNORED).sum(1)
        for size in lengths.unique().tolist():
            rows = (lengths == size).nonzero().flatten()
            # The last generated token need not be read again.
            count = min(self.length, getattr(self.net, "context", size + self.length) - size + 1)
            for part in rows.split(CHUNK):
                self.passes.forward += len(part) * count
                answers[part, :count] = generate(self.net, inputs[part, :size], count, noise)
        return answers

    def example_losses(self, examples: Examples) -> PerExample:
        """Minus the log-probability of all scored tokens of a row, in nats."""
        tokens = self.tokens(examples)
        return -(tokens.logp * tokens.asked).sum(1)

    def tokens(self, examples: Examples) -> Tokens:
        """The log-probabilities of every single token.

        Raises:
            BadModel: where a score is not finite.
        """
        parts = []
        for part in torch.arange(len(examples)).split(CHUNK):
            self.passes.forward += len(part)
            with torch.inference_mode():
                log_p = F.log_softmax(self.net(examples.inputs[part]).float(), -1)
                scored = examples.targets[part] != IGNORED
                targets = examples.targets[part].clamp_min(0)
                target_log_p = log_p.gather(2, targets[..., None]).squeeze(2)
                p = log_p.exp()
                mean = (p * log_p).sum(2)
                variance = (p * log_p.square()).sum(2) - mean.square()
                deviation = variance.clamp_min(0).sqrt()
            parts.append((target_log_p.clone(), mean.clone(), deviation.clone(), scored))
        tokens = Tokens(*(torch.cat([part[k] for part in parts]) for k in range(4)))
        if not bool(torch.isfinite(tokens.logp[tokens.asked]).all()):
            raise BadModel("the language model returns NaN or infinite scores")
        return tokens

    def beams(self, examples: Examples, width: int) -> list[int]:
        """The place of the secret among the likeliest continuations, from 1; 0 where it is none."""
        model = self._incremental()
        places = []
        for n in range(len(examples)):
            prefix, secret = _split_secret(examples, n)
            likeliest = beam_search(model, prefix, len(secret), width).tolist()
            tokens = secret.tolist()
            places.append(likeliest.index(tokens) + 1 if tokens in likeliest else 0)
        return places

    def ranks(self, examples: Examples, seed: Seed) -> list[Rank]:
        """The rank of each row's secret among all candidates; 1 is best.

        Raises:
            BadSubmission: where a row's secret is no candidate of any kind.
        """
        model = self._incremental()
        ranks = []
        for n in range(len(examples)):
            prefix, secret = _split_secret(examples, n)
            space = next((s for s in self.spaces if tuple(secret.tolist()) in s), None)
            if space is None:
                raise BadSubmission("a row asks for a secret that is no candidate of any kind")
            size = len(space) * space.depth
            ranks.append(
                rank(
                    model,
                    prefix,
                    secret,
                    space,
                    nodes=size if size <= EXHAUSTIVE else NODES,
                    samples=SAMPLES,
                    seed=seed / int(examples.ids[n]),
                )
            )
        return ranks

    def _incremental(self) -> KVCacheModel:
        model = getattr(self.net, "model", self.net)
        return KVCacheModel(model, getattr(self.net, "vocabulary", None))


def _split_secret(examples: Examples, n: int) -> tuple[Tensor, Tensor]:
    """The tokens of a row before its scored ones, and the scored ones."""
    places = (examples.targets[n] != IGNORED).nonzero().flatten()
    return examples.inputs[n, : int(places[0]) + 1], examples.targets[n][places]
