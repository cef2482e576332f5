"""Classification: is a submitted input answered correctly, or as the adversary wants?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget, EvaluationWarning
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext, TargetModel, WhiteBoxModel
from robustbench_kd.core.submissions import AdversarialInputs, Submission
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.core.types import Examples, SampleScores
from robustbench_kd.evaluation.scorers._base import ColumnSpec, Scorer
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.attacks.quantization import decode, encode

SLACK = 1e-5  # pixel units; what float32 rounding may add to a projection
CLOSE = 1e-3  # two best scores this close may fall either way on another machine
BATCH = 500


@dataclass(frozen=True)
class Classification(Scorer):
    """Looks up its own clean copy of every input, measures the distance, and asks the model.

    Inputs are scored as they are stored: coded in steps of the budget. Rows outside of the budget
    or the box [0, 1] are scored on the clean input and raise a warning. Columns are in the order of
    the test set, whatever the order of the submission.

    Columns under attacks on test data: ``correct``. Under attacks on training data, for the inputs
    that the adversary wants answered wrongly (``eligible``): ``attack_success`` (answered as it
    wants, or wrongly where it names no answer) and ``recovered`` (answered correctly all the same).
    """

    name: ClassVar[str] = "classification"
    accepts: ClassVar[tuple[type, ...]] = (AdversarialInputs,)
    columns: ClassVar[tuple[ColumnSpec, ...]] = (
        ColumnSpec("correct", "bit"),
        ColumnSpec("attack_success", "bit"),
        ColumnSpec("recovered", "bit"),
    )

    def score(
        self, submission: Submission, model: TargetModel, context: ScoringContext
    ) -> SampleScores:
        self.expect_accepted(submission)
        assert isinstance(submission, AdversarialInputs)  # for the type checker; refused above
        clean = context.data.test
        submission = _in_order(submission, clean)
        trained = context.threat.capability != "test_data"
        # Whoever poisons training data may place any trigger within the box.
        budget = context.threat.budget or Budget("linf", 1.0 if trained else 0.0)
        inside = _inside(submission.inputs, clean, budget)
        warnings = frozenset() if bool(inside.all()) else frozenset({EvaluationWarning.OVER_BUDGET})
        rows = inside.view(-1, *[1] * (clean.inputs.dim() - 1))
        codes = encode(torch.where(rows, submission.inputs, clean.inputs), clean.inputs, budget)
        inputs = decode(codes, clean.inputs, budget)
        answers, undecided = _answers(model, inputs)
        correct = context.scenario.agree(answers, clean.targets)
        success = _success(submission, answers, correct, context)
        metadata: dict[str, Tensor] = dict(submission.metadata)
        if not trained:
            metadata["distance"] = distance(inputs, clean.inputs, budget.kind)
            if submission.targets is not None:
                metadata["attack_success"] = success
            columns = {"correct": correct}
            eligible = None
        else:
            eligible = _eligible(submission, clean)
            columns = {"attack_success": success[eligible], "recovered": correct[eligible]}
            undecided = undecided[eligible]
        return SampleScores(
            submission.ids,
            columns,
            eligible=eligible,
            metadata=metadata,
            warnings=warnings,
            undecided=undecided,
            codes=codes,
        )


def _answers(model: TargetModel, inputs: Images) -> tuple[Tensor, Mask]:
    """Answers, and which of them another machine may give otherwise."""
    if not isinstance(model, WhiteBoxModel):
        return model.answer(inputs), torch.zeros(len(inputs), dtype=torch.bool)
    answers = model.answer(inputs)
    with torch.inference_mode():
        best = torch.cat([model.logits(part).topk(2, 1).values for part in inputs.split(BATCH)])
    return answers, ((best[:, 0] - best[:, 1]) < CLOSE).clone()


def _success(
    submission: AdversarialInputs, answers: Tensor, correct: Mask, context: ScoringContext
) -> Mask:
    if submission.targets is None:
        return ~correct
    # Where a target is negative, any wrong answer is a success.
    matches = context.scenario.agree(answers, submission.targets)
    return torch.where(submission.targets < 0, ~correct, matches)


def _eligible(submission: AdversarialInputs, clean: Examples) -> Mask:
    """The inputs that the adversary wants answered wrongly: all, where any wrong answer will do."""
    if submission.targets is None:
        return torch.ones(len(clean), dtype=torch.bool)
    return submission.targets != clean.targets


def _in_order(submission: AdversarialInputs, clean: Examples) -> AdversarialInputs:
    """The submission in the order of the test set.

    Raises:
        BadSubmission: where it is not about the test set, or holds what is no image of its shape.
    """
    ids, inputs = submission.ids, submission.inputs
    if sorted(ids.tolist()) != sorted(clean.ids.tolist()):
        raise BadSubmission("the submission must hold every test example exactly once")
    if inputs.shape != clean.inputs.shape:
        raise BadSubmission(
            f"the submission's inputs have shape {tuple(inputs.shape)}, the clean ones "
            f"{tuple(clean.inputs.shape)}"
        )
    if not bool(torch.isfinite(inputs).all()):
        raise BadSubmission("the submission holds inputs that are NaN or infinite")
    if submission.targets is not None and submission.targets.shape != ids.shape:
        raise BadSubmission("the submission's targets must hold one answer a sample")
    places = {number: place for place, number in enumerate(ids.tolist())}
    order = torch.tensor([places[number] for number in clean.ids.tolist()], dtype=torch.int64)
    return AdversarialInputs(
        clean.ids,
        inputs[order],
        None if submission.targets is None else submission.targets[order],
        {name: values[order] for name, values in submission.metadata.items()},
    )


def _inside(inputs: Images, clean: Examples, budget: Budget) -> Mask:
    moved = distance(inputs, clean.inputs, budget.kind)
    flat = inputs.flatten(1)
    boxed = (flat.amin(1) >= -SLACK) & (flat.amax(1) <= 1 + SLACK)
    inside: Mask = boxed & (moved <= budget.amount * (1 + SLACK) + SLACK)
    return inside
