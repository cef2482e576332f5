"""Extraction: training data that a model reproduces verbatim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Capability, ThreatModel
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import LanguageModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import TextQueries
from robustbench_kd.core.types import IGNORED, Examples, PoisonedData, Splits


@dataclass(frozen=True)
class Extraction:
    """Prompts with the text before a secret, or before the end of a window of plain text.

    The scorer asks for the greedy continuation and a beam search; its score is the log-likelihood
    of the true continuation, from which follows after how many samples it would be produced (Hayes
    et al. 2024, Measuring memorization through probabilistic discoverability).

    Args:
        suffix: tokens of plain text that must be reproduced.
        beam: width of the beam; 0 leaves it out.
    """

    name: ClassVar[str] = "extraction"
    source: ClassVar[str] = (
        "Carlini et al. 2023, Quantifying memorization across neural language models; "
        "Hayes et al. 2024, arXiv 2410.19482"
    )
    requires: ClassVar[type] = LanguageModel

    suffix: int = 8
    beam: int = 4
    capability: Capability = "shared_train_data"

    def __post_init__(self) -> None:
        if self.suffix < 1 or self.beam < 0:
            raise BadSetting(
                f"extraction needs a suffix of at least one token and a beam of at least 0, not "
                f"suffix={self.suffix},beam={self.beam}"
            )

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("privacy", self.capability, "score_based", scorer="generation")

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[Mapping[str, Tensor]]:
        """The data as they are: it extracts what other attacks inserted."""
        return PoisonedData(data, {})

    def attack(
        self, model: LanguageModel, data: Splits, state: Mapping[str, Tensor], seed: Seed
    ) -> TextQueries:
        """A prompt for every canary and every audited window, and how each should go on."""
        rows = self._rows(data)
        prompts, targets = _prompts_and_targets(rows)
        return TextQueries(
            rows.ids, prompts, targets, match="prefix", likelihood=rows, beam=self.beam, seed=seed
        )

    def _rows(self, data: Splits) -> Examples:
        if data.reserve is None or data.audit is None:
            raise MissingData("extraction needs a scenario with canaries and audited text")
        audit = data.audit
        if audit.inputs.shape[1] <= self.suffix:
            raise BadSetting(
                f"a suffix of {self.suffix} tokens leaves no prompt in windows of "
                f"{audit.inputs.shape[1]}"
            )
        ends = audit.targets.clone()
        ends[:, : -self.suffix] = IGNORED
        return Examples(
            torch.cat([data.reserve.ids, audit.ids]),
            torch.cat([data.reserve.inputs, audit.inputs]),
            torch.cat([data.reserve.targets, ends]),
        )


def _prompts_and_targets(rows: Examples) -> tuple[Tensor, Tensor]:
    """Prompts that end where the scored tokens begin, and those tokens; -100 fills both up."""
    scored = rows.targets != IGNORED
    start = scored.int().argmax(1)
    positions = torch.arange(rows.inputs.shape[1])
    prompts = rows.inputs.masked_fill(positions > start[:, None], IGNORED)
    longest = int(scored.sum(1).max())
    shifted = (start[:, None] + torch.arange(longest)).clamp_max(rows.inputs.shape[1] - 1)
    targets = rows.targets.gather(1, shifted)
    return prompts, targets.masked_fill(torch.arange(longest) >= scored.sum(1)[:, None], IGNORED)
