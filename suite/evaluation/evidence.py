"""The stored inputs that prove a record."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from robustbench_kd.core.submissions import AdversarialInputs, Submission
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.attack_runner import AttackRunner, Outcome
from robustbench_kd.evaluation.plan import Attacks, EvalPlan
from robustbench_kd.results.adversarial_examples import first_adversarial_examples
from robustbench_kd.results.artifacts import dump
from robustbench_kd.results.record import Json


def evidence_of(
    plan: EvalPlan,
    attacks: Attacks,
    outcomes: Mapping[str, Mapping[str, Outcome]],
    test: Examples,
    runner: AttackRunner,
) -> tuple[bytes, Json]:
    """The file of stored inputs, and how a record describes it.

    Of attacks on test data the first input that broke each image; of triggered images all of them.
    Where answers and scores are the evidence, none: they are made anew to verify a record.
    """
    if not plan.classifies:
        return b"", {}
    if not plan.board.poisons:
        scores = [outcomes[label]["student"].scores for label in attacks]
        correct = [part.columns["correct"].bool() for part in scores]
        codes = [torch.zeros(0) if part.codes is None else part.codes for part in scores]
        examples = first_adversarial_examples(test.ids, correct, codes)
        raw = dump(examples.tensors(), {"what": "evidence"})
        return raw, {**_digests(raw), "rows": int((examples.broken_by >= 0).sum())}
    (label,) = attacks
    student = outcomes[label]["student"].scores
    submission = runner.shared[label]
    targets = targets_of(submission)
    wanted = Examples(submission.ids, targets, targets).named(test.ids)
    raw = dump(
        {
            "codes": _deflated(student.codes),
            "wanted": wanted.targets.contiguous(),
            "ids": test.ids,
        },
        {"what": "exhibit", "taint": runner.poison},
    )
    return raw, _digests(raw)


def targets_of(submission: Submission) -> Tensor:
    """The answers that the adversary wants, one a sample; -1 where any wrong one will do."""
    targets = submission.targets if isinstance(submission, AdversarialInputs) else None
    return torch.full_like(submission.ids, -1) if targets is None else targets


def _digests(raw: bytes) -> Json:
    return {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}


def _deflated(codes: Tensor | None) -> Tensor:
    raw = b"" if codes is None else zlib.compress(codes.contiguous().numpy().tobytes(), 9)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)
