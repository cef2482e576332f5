"""Membership inference: which half of the audited examples was in the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Door
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Speaker, Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import PerExample
from robustbench_kd.core.types import Examples, Splits, Suspicion, Tainted, Threat
from robustbench_kd.ops.privacy import membership_scores


@dataclass(frozen=True)
class Membership:
    """Plants a random half of the audit once: membership is known, and both halves are alike.

    The score is the mean log-probability of what is asked; notes are the other scores, all of them
    higher for members: of text, zlib, Min-K% and Min-K%++; with shadows, the reference, offline
    LiRA and offline RMIA.

    Args:
        shadows: students without a teacher, of other seeds, that never saw the audit.
        k: percent of the tokens that Min-K% takes.
    """

    name: ClassVar[str] = "membership"
    source: ClassVar[str] = (
        "Yeom et al. 2018; Carlini et al. 2021 and 2022 (LiRA); Shi et al. 2024 and Zhang et al. "
        "2025 (Min-K%); Zarifzadeh et al. 2024 (RMIA)"
    )
    meets: ClassVar[type] = Subject

    shadows: int = 4
    k: int = 20
    door: Door = "shared data"

    def __post_init__(self) -> None:
        if self.shadows == 1 or self.shadows < 0 or not 0 < self.k <= 100:
            raise BadSetting(
                "membership needs no shadows or at least two, and a k in percent, not "
                f"shadows={self.shadows},k={self.k}"
            )

    @property
    def threat(self) -> Threat:
        return Threat("expose", self.door, "scores")

    def before(self, data: Splits, seed: Seed) -> Tainted[Mapping[str, Tensor]]:
        """The training set with half of the audit in it."""
        pool = _pool(data)
        order = torch.randperm(len(pool), generator=(seed / "half").generator())
        member = torch.zeros(len(pool), dtype=torch.int64)
        member[order[: len(pool) // 2]] = 1
        joined = pool.take(member.bool())
        train = data.weave(data.train, joined, (seed / "weave").generator())
        return Tainted(
            replace(data, train=train), {"ids": pool.ids, "dose": member, "planted": joined.ids}
        )

    def rehearse(
        self, shadows: Sequence[Subject], data: Splits, secret: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """What networks say that never saw the audit: a row of scores each."""
        rows = _pool(data).named(secret["ids"])
        return {**secret, "out": torch.stack([_mean(shadow, rows) for shadow in shadows])}

    def after(
        self, subject: Subject, data: Splits, secret: Mapping[str, Tensor], seed: Seed
    ) -> Suspicion:
        """A score for each audited example, by every method."""
        rows = _pool(data).named(secret["ids"])
        score = _mean(subject, rows)
        notes: dict[str, Tensor] = {}
        if isinstance(subject, Speaker):
            said = subject.tokens(rows)
            asked = said.asked
            notes["zlib"] = membership_scores.compressed(said.logp, asked, subject.spoken(rows))
            notes["min_k"] = membership_scores.min_k(said.logp, asked, self.k)
            notes["min_k_plus_plus"] = membership_scores.min_k_plus_plus(
                said.logp, said.mean, said.deviation, asked, self.k
            )
        if "out" in secret:
            out = secret["out"]
            notes["reference"] = score - out.mean(0)
            notes["lira"] = membership_scores.offline_lira(score, out)
            # One threshold at a time, the share that RMIA counts is a step function of this ratio.
            notes["rmia"] = membership_scores.offline_rmia(score, out, score, out)
        return Suspicion(rows.ids, score, notes)


def _pool(data: Splits) -> Examples:
    """The audit, or every other validation example."""
    if data.audit is not None:
        return data.audit
    held = data.validation.take(torch.arange(1, len(data.validation), 2))
    if len(held) < 4:
        raise MissingData(
            "membership audits validation examples, which come with the whole data set; name the "
            "folder by --data"
        )
    return held


def _mean(subject: Subject, rows: Examples) -> PerExample:
    """The mean log-probability of what is asked of each row, in nats."""
    count = torch.ones(len(rows)) if rows.targets.dim() == 1 else (rows.targets >= 0).sum(1)
    return -subject.surprise(rows) / count
