"""Membership inference: which half of the audited examples was in the training data?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.attacks._poison import POISON_IDS
from robustbench_kd.core.config import Capability, ThreatModel
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import LanguageModel, TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import MembershipScores
from robustbench_kd.core.tensor_types import PerExample
from robustbench_kd.core.types import Examples, PoisonedData, Splits
from robustbench_kd.ops.privacy import membership_scores


@dataclass(frozen=True)
class MembershipInference:
    """Inserts a random half of the audit set once: membership is known, and both halves are alike.

    ``score`` is the mean log-likelihood of a sample; the other scores, all of them higher for
    members, are zlib, Min-K% and Min-K%++ for text and, with shadow models, the difference to their
    mean (``reference``), offline LiRA and offline RMIA.

    Args:
        shadows: undistilled students of other seeds that never saw the audit set.
        k: percent of the tokens that Min-K% takes.
    """

    name: ClassVar[str] = "membership-inference"
    source: ClassVar[str] = (
        "Yeom et al. 2018; Carlini et al. 2021 and 2022 (LiRA); Shi et al. 2024 and Zhang et al. "
        "2025 (Min-K%); Zarifzadeh et al. 2024 (RMIA)"
    )
    requires: ClassVar[type] = TargetModel

    shadows: int = 4
    k: int = 20
    capability: Capability = "shared_train_data"

    def __post_init__(self) -> None:
        if self.shadows == 1 or self.shadows < 0 or not 0 < self.k <= 100:
            raise BadSetting(
                f"{self.name} needs no shadow models or at least two, and a k in percent, not "
                f"shadows={self.shadows},k={self.k}"
            )

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("privacy", self.capability, "score_based")

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[Mapping[str, Tensor]]:
        """The training set with half of the audit set in it."""
        pool = _pool(data)
        order = torch.randperm(len(pool), generator=(seed / "half").generator())
        member = torch.zeros(len(pool), dtype=torch.int64)
        member[order[: len(pool) // 2]] = 1
        members = pool.take(member.bool())
        train = data.insert(data.train, members, (seed / "weave").generator())
        return PoisonedData(
            replace(data, train=train), {"ids": pool.ids, "dose": member, POISON_IDS: members.ids}
        )

    def query_shadow_models(
        self, shadows: Sequence[TargetModel], data: Splits, state: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """The state with the scores of models that never saw the audit set, a row each."""
        rows = _pool(data).named(state["ids"])
        out = torch.stack([_mean_log_likelihood(shadow, rows) for shadow in shadows])
        return {**state, "out": out}

    def attack(
        self, model: TargetModel, data: Splits, state: Mapping[str, Tensor], seed: Seed
    ) -> MembershipScores:
        """A score for each audited example, by every method."""
        rows = _pool(data).named(state["ids"])
        score = _mean_log_likelihood(model, rows)
        scores = {"score": score}
        if isinstance(model, LanguageModel):
            tokens = model.tokens(rows)
            scored = tokens.asked
            scores["zlib"] = membership_scores.zlib_score(tokens.logp, scored, model.spoken(rows))
            scores["min_k"] = membership_scores.min_k(tokens.logp, scored, self.k)
            scores["min_k_plus_plus"] = membership_scores.min_k_plus_plus(
                tokens.logp, tokens.mean, tokens.deviation, scored, self.k
            )
        if "out" in state:
            out = state["out"]
            scores["reference"] = score - out.mean(0)
            scores["lira"] = membership_scores.offline_lira(score, out)
            # Under one threshold, the share that RMIA counts is a step function of this ratio.
            scores["rmia"] = membership_scores.offline_rmia(score, out, score, out)
        return MembershipScores(rows.ids, scores)


def _pool(data: Splits) -> Examples:
    """The audit set, or every other validation example."""
    if data.audit is not None:
        return data.audit
    rest = data.validation.take(torch.arange(1, len(data.validation), 2))
    if len(rest) < 4:
        raise MissingData(
            "membership audits validation examples, which come with the whole data set; name the "
            "folder by --data"
        )
    return rest


def _mean_log_likelihood(model: TargetModel, rows: Examples) -> PerExample:
    """The mean log-likelihood of each row's targets, in nats a target."""
    count = torch.ones(len(rows)) if rows.targets.dim() == 1 else (rows.targets >= 0).sum(1)
    return -model.example_losses(rows) / count
