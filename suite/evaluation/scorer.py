"""The judge: looks up its own clean copy, asks the subject again, and measures what was spent."""

from __future__ import annotations

import torch

from robustbench_kd.core.config import Budget, Doubt
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import Case, Subject
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Evidence, Examples, Exhibit, Submission, Suspicion
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.attacks.quantization import decode, encode

VERDICTS = {"right", "spent", "won"}  # columns that an adversary's notes may not claim
SLACK = 1e-5  # pixel units; what float32 rounding may add to a projection


def judge(exhibit: Exhibit, subject: Subject, case: Case) -> Evidence:
    """The verdict on every example of the test split.

    Columns of a submission: ``right`` (the subject still answers as it should), ``spent`` (the
    distance, in the threat's norm), ``won`` where a certain answer was wanted, and the adversary's
    notes. Rows outside of the ball or the box are judged on the clean input and raise a doubt.

    Raises:
        BadSubmission: where ids are not those of the test split, shapes differ, inputs are NaN, or
            a note bears the name of a verdict.
    """
    if not isinstance(exhibit, Submission):
        if case.threat.door == "input":
            raise BadSubmission("this case is about inputs, and a suspicion holds none")
        return weigh(exhibit, case)
    clean = _clean(exhibit, case)
    # Who got into the training data may stamp as he likes, within the box.
    free = Budget("linf", 1.0 if case.threat.door != "input" else 0.0)
    budget = case.threat.budget or free
    inside = _inside(exhibit.inputs, clean, budget)
    doubts = frozenset() if bool(inside.all()) else frozenset({Doubt.OVER_BUDGET})
    kept = torch.where(
        inside.view(-1, *[1] * (clean.inputs.dim() - 1)), exhibit.inputs, clean.inputs
    )
    codes = encode(kept, clean.inputs, budget)
    judged = decode(codes, clean.inputs, budget)
    answers = subject.answer(judged)
    columns = {
        "right": case.scenario.agree(answers, clean.targets),
        "spent": distance(judged, clean.inputs, budget.kind),
        **exhibit.notes,
    }
    if exhibit.wanted is not None:
        columns["won"] = case.scenario.agree(answers, exhibit.wanted)
    return Evidence(exhibit.ids, columns, doubts, codes)


def weigh(exhibit: Suspicion, case: Case) -> Evidence:
    """A suspicion beside what was planted, which the judge looks up: ``case.learned`` holds it.

    Columns: ``score``, ``dose`` (copies planted of the example; zeros where nobody planted), and
    the adversary's notes. Where these hold no exact rank of what was planted, ``rank`` is the place
    of the score among those of strangers, ``of`` their number with the example itself.

    Raises:
        BadSubmission: where a score is missing or no number, or a note claims a verdict.
    """
    columns = {"score": exhibit.score, **exhibit.notes}
    if len(exhibit.ids.unique()) < len(exhibit.ids):
        raise BadSubmission("a suspicion must hold every example once")
    for name, values in columns.items():
        if values.shape != exhibit.ids.shape or not bool(torch.isfinite(values.double()).all()):
            raise BadSubmission(f"the suspicion's {name} must hold one finite number an example")
        if name == "dose":
            raise BadSubmission("how much was planted is for the judge to look up")
    known: dict[int, int] = case.learned if isinstance(case.learned, dict) else {}
    columns["dose"] = torch.tensor([known.get(i, 0) for i in exhibit.ids.tolist()])
    if "rank" not in columns and bool((columns["dose"] > 0).any()):
        strangers = exhibit.score[columns["dose"] == 0].sort().values
        better = len(strangers) - torch.searchsorted(strangers, exhibit.score)
        planted = (columns["dose"] > 0).long()  # a stranger is counted among strangers already
        columns["rank"] = (better + planted).double()
        columns["of"] = len(strangers) + planted
    return Evidence(exhibit.ids, columns)


def _clean(exhibit: Submission, case: Case) -> Examples:
    test = case.data.test
    if sorted(exhibit.ids.tolist()) != sorted(test.ids.tolist()):
        raise BadSubmission("the submission must hold every test example exactly once")
    clean = test.named(exhibit.ids)
    if exhibit.inputs.shape != clean.inputs.shape:
        raise BadSubmission(
            f"the submission's inputs have shape {tuple(exhibit.inputs.shape)}, the clean ones "
            f"{tuple(clean.inputs.shape)}"
        )
    if not bool(torch.isfinite(exhibit.inputs).all()):
        raise BadSubmission("the submission holds inputs that are NaN or infinite")
    for name, note in exhibit.notes.items():
        if name in VERDICTS or note.shape != exhibit.ids.shape:
            raise BadSubmission(
                f"the note {name!r} must hold one number an example, under a name that is not one "
                f"of the judge's own: {', '.join(sorted(VERDICTS))}"
            )
    return clean


def _inside(inputs: Images, clean: Examples, budget: Budget) -> torch.Tensor:
    spent = distance(inputs, clean.inputs, budget.kind)
    flat = inputs.flatten(1)
    boxed = (flat.amin(1) >= -SLACK) & (flat.amax(1) <= 1 + SLACK)
    return boxed & (spent <= budget.amount * (1 + SLACK) + SLACK)
