"""A language model as an adversary sees it: it goes on, and it is surprised token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSubmission
from robustbench_kd.core.protocols import Speaker, Tokens
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import PerExample
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.models.classifier import Passes
from robustbench_kd.models.generation import generate
from robustbench_kd.models.kv_cache import Continuation
from robustbench_kd.ops.privacy.beam_search import beam
from robustbench_kd.ops.privacy.candidate_rank import Rank, rank
from robustbench_kd.ops.privacy.trie import Trie

CHUNK = 64
# What a rank may cost: a small space is walked whole, in a large one the search gives up early.
# By then 4,000 nodes were likelier than the secret, and a rank so large is sampled well.
WALKED, NODES, SAMPLES = 70_000, 4_000, 2_000


@dataclass(frozen=True)
class LanguageModel(Speaker):
    """A causal language model behind its questions.

    ``spaces`` hold, for each kind of secret, all that could stand in its place; ``pieces`` turns
    tokens to text.
    """

    net: nn.Module
    spaces: tuple[Trie, ...]
    pieces: Callable[[Tensor], list[str]]
    length: int = 16
    passes: Passes = field(default_factory=Passes, compare=False)

    def spoken(self, examples: Examples) -> list[bytes]:
        """The text of each row."""
        return ["".join(self.pieces(row)).encode() for row in examples.inputs]

    def answer(self, inputs: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """How it goes on, greedily, or drawn from its probabilities by ``noise``.

        Prompts [b, t] end before the first -100 of their row. Where the context is full, -100
        follows in the answers [b, length].
        """
        said = torch.full((len(inputs), self.length), IGNORED)
        lengths = (inputs != IGNORED).sum(1)
        for size in lengths.unique().tolist():
            rows = (lengths == size).nonzero().flatten()
            # The last token that is said need not be read again.
            count = min(self.length, getattr(self.net, "context", size + self.length) - size + 1)
            for part in rows.split(CHUNK):
                self.passes.forward += len(part) * count
                said[part, :count] = generate(self.net, inputs[part, :size], count, noise)
        return said

    def surprise(self, examples: Examples) -> PerExample:
        """Minus the log-probability of all that is asked of a row, in nats."""
        said = self.tokens(examples)
        return -(said.logp * said.asked).sum(1)

    def tokens(self, examples: Examples) -> Tokens:
        """What it says of every single token.

        Raises:
            BadModel: where a score is not a number.
        """
        parts = []
        for part in torch.arange(len(examples)).split(CHUNK):
            self.passes.forward += len(part)
            with torch.inference_mode():
                scores = F.log_softmax(self.net(examples.inputs[part]).float(), -1)
                asked = examples.targets[part] != IGNORED
                wanted = examples.targets[part].clamp_min(0)
                logp = scores.gather(2, wanted[..., None]).squeeze(2)
                p = scores.exp()
                mean = (p * scores).sum(2)
                spread = ((p * scores.square()).sum(2) - mean.square()).clamp_min(0).sqrt()
            parts.append((logp.clone(), mean.clone(), spread.clone(), asked))
        whole = Tokens(*(torch.cat([part[k] for part in parts]) for k in range(4)))
        if not bool(torch.isfinite(whole.logp[whole.asked]).all()):
            raise BadModel("the language model returns NaN or infinite scores")
        return whole

    def beams(self, examples: Examples, width: int) -> list[int]:
        """Which of its likeliest continuations the secret is, from 1; 0 where it is none."""
        model = self._continuation()
        found = []
        for n in range(len(examples)):
            prefix, secret = _cut(examples, n)
            likely = beam(model, prefix, len(secret), width).tolist()
            found.append(likely.index(secret.tolist()) + 1 if secret.tolist() in likely else 0)
        return found

    def _continuation(self) -> Continuation:
        model = getattr(self.net, "model", self.net)
        return Continuation(model, getattr(self.net, "vocabulary", None))

    def ranks(self, examples: Examples, seed: Seed) -> list[Rank]:
        """Where the secret of each row stands among all that could stand in its place; 1 is best.

        Raises:
            BadSubmission: where a row's secret is no candidate of any kind.
        """
        model = self._continuation()
        found = []
        for n in range(len(examples)):
            prefix, secret = _cut(examples, n)
            space = next((s for s in self.spaces if tuple(secret.tolist()) in s), None)
            if space is None:
                raise BadSubmission("a row asks for a secret that is no candidate of any kind")
            most = len(space) * space.depth
            found.append(
                rank(
                    model,
                    prefix,
                    secret,
                    space,
                    nodes=most if most <= WALKED else NODES,
                    samples=SAMPLES,
                    seed=seed / int(examples.ids[n]),
                )
            )
        return found


def _cut(examples: Examples, n: int) -> tuple[Tensor, Tensor]:
    """What stands before the asked tokens of a row, and those tokens."""
    places = (examples.targets[n] != IGNORED).nonzero().flatten()
    return examples.inputs[n, : int(places[0]) + 1], examples.targets[n][places]
