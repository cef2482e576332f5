"""Extraction: what a model was trained on, said by it word for word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Door
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Speaker
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples, Splits, Suspicion, Tainted, Threat


@dataclass(frozen=True)
class Extraction:
    """Prompts with what stands before a secret, or before the end of a window of plain text.

    ``greedy`` and ``beam`` say whether the rest comes out; the score is the log-probability of the
    rest, from one teacher-forced pass, from which follows in how many tries it would come out
    (Hayes et al. 2024, Measuring memorization through probabilistic discoverability).

    Args:
        suffix: tokens of plain text that must come out.
        beam: width of the beam; 0 leaves it out.
    """

    name: ClassVar[str] = "extraction"
    source: ClassVar[str] = (
        "Carlini et al. 2023, Quantifying memorization across neural language models; "
        "Hayes et al. 2024, arXiv 2410.19482"
    )
    meets: ClassVar[type] = Speaker

    suffix: int = 8
    beam: int = 4
    door: Door = "shared data"

    def __post_init__(self) -> None:
        if self.suffix < 1 or self.beam < 0:
            raise BadSetting(
                f"extraction needs a suffix of at least one token and a beam of at least 0, not "
                f"suffix={self.suffix},beam={self.beam}"
            )

    @property
    def threat(self) -> Threat:
        return Threat("expose", self.door, "scores")

    def before(self, data: Splits, seed: Seed) -> Tainted[Mapping[str, Tensor]]:
        """Hands the data back: it asks for what others planted."""
        return Tainted(data, {})

    def after(
        self, subject: Speaker, data: Splits, secret: Mapping[str, Tensor], seed: Seed
    ) -> Suspicion:
        """What comes out of every canary and every audited window."""
        rows = self._rows(data)
        prompts, wanted = _asked(rows)
        said = subject.answer(prompts)
        short = min(said.shape[1], wanted.shape[1])
        match = (said[:, :short] == wanted[:, :short]) | (wanted[:, :short] == IGNORED)
        notes = {"greedy": match.all(1)}
        if self.beam:
            notes["beam"] = torch.tensor(subject.beams(rows, self.beam))
        return Suspicion(rows.ids, -subject.surprise(rows), notes)

    def _rows(self, data: Splits) -> Examples:
        if data.reserve is None or data.audit is None:
            raise MissingData("extraction needs a ground with canaries and audited text")
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


def _asked(rows: Examples) -> tuple[Tensor, Tensor]:
    """Prompts that end where the asked tokens begin, and those tokens; -100 fills both up."""
    asked = rows.targets != IGNORED
    start = asked.int().argmax(1)
    places = torch.arange(rows.inputs.shape[1])
    prompts = rows.inputs.masked_fill(places > start[:, None], IGNORED)
    longest = int(asked.sum(1).max())
    shifted = (start[:, None] + torch.arange(longest)).clamp_max(rows.inputs.shape[1] - 1)
    wanted = rows.targets.gather(1, shifted)
    return prompts, wanted.masked_fill(torch.arange(longest) >= asked.sum(1)[:, None], IGNORED)
