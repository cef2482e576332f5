"""One attack on one model, scored, and stored so that an interrupted run resumes after it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import Tensor, nn

from robustbench_kd.core import options
from robustbench_kd.core.aliases import stable_label, stable_name, stable_settings
from robustbench_kd.core.config import EvaluationWarning
from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.protocols import AnyAttack, Scenario, ScoringContext
from robustbench_kd.core.registry import find
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs, Submission
from robustbench_kd.core.types import Examples, SampleScores, Splits
from robustbench_kd.evaluation.scorers._base import Scorer
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.artifacts import find_cached, save_cached
from robustbench_kd.results.record import Json, digest

KINDS = 32  # metadata with more values than this are amounts, summed up by their median
ENGINE = 2  # raised whenever an attack or a scorer may answer otherwise under the same settings


@dataclass(frozen=True)
class Outcome:
    """What a scorer decided, the passes that were spent, and the attack's metadata in summary."""

    scores: SampleScores
    passes: Mapping[str, int]
    metadata: Json


@dataclass
class AttackRunner:
    """Runs attacks on models of one scenario, data and seed.

    Attributes:
        states: what each attack of poisoned training data needs, by label.
        poison: the key of the poisoned data; empty where test data are attacked.
        fresh: whether stored outcomes are left alone, to check what they say.
        shared: inputs that every model is shown, by label, in place of an attack's submission.
        queried: outcomes of this process, by all that they depend on.
    """

    scenario: Scenario
    data: Splits
    seed: int
    states: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    repetitions: Mapping[int, int] = field(default_factory=dict)
    poison: str = ""
    fresh: bool = False
    shared: dict[str, Submission] = field(default_factory=dict)
    queried: dict[str, Outcome] = field(default_factory=dict)

    def run(
        self,
        label: str,
        attack: AnyAttack,
        net: nn.Module,
        weights: str,
        answers: str | None = None,
    ) -> Outcome:
        """Attacks a network and scores the submission, or takes a stored outcome of just that.

        Args:
            weights: the digest of the network's weights.
            answers: the fingerprint of somebody's own network, whose weights do not tell its code.
        """
        key = digest(self._question(label, attack, weights, answers))
        if key in self.queried:
            return self.queried[key]
        if not self.fresh and (stored := find_cached(key)) is not None:
            return _restored(*stored)
        submission, passes = self.submit(label, attack, net)
        model = self.scenario.target_model(net)
        scores = scorer_of(attack).score(submission, model, self.context(attack))
        outcome = Outcome(scores, passes, summarised(scores.metadata))
        if not self.fresh:
            save_cached(key, *_stored(outcome))
        elif not isinstance(submission, AdversarialInputs):  # those may come from a file
            self.queried[key] = outcome
        return outcome

    def submit(
        self, label: str, attack: AnyAttack, net: nn.Module
    ) -> tuple[Submission, Mapping[str, int]]:
        """What the adversary submits against a network, and the passes that it spent.

        It gets copies of the network and of the data, so that nothing it does to them reaches the
        scorer. Triggered inputs were decided on when the training data were poisoned: made once,
        with the first network (the student), they are shown to every model.
        """
        if label in self.shared:
            return self.shared[label], {}
        data, model = copied(self.data), self.scenario.target_model(network_copy(net))
        state = self._state(label, attack, data)
        submission = attack.attack(model, data, state, self._seed(label, attack))
        if self.poison and isinstance(submission, AdversarialInputs):
            self.shared[label] = submission
        counter = getattr(model, "passes", None)
        return submission, {} if counter is None else _passes(counter)

    def context(self, attack: AnyAttack) -> ScoringContext:
        """What the scorer looks things up in."""
        seed = Seed(self.seed) / "probe" / stable_name("attacks", attack.name)
        return ScoringContext(attack.threat, self.scenario, self.data, self.repetitions, seed)

    def _state(self, label: str, attack: AnyAttack, data: Splits) -> Any:
        if self.poison:
            return self.states[label]
        seed = Seed(self.seed) / stable_label("attacks", label)
        return attack.poison(data, seed / "before").attack_state

    def _seed(self, label: str, attack: AnyAttack) -> Seed:
        if not self.poison:
            return Seed(self.seed) / stable_label("attacks", label) / "after"
        if attack.threat.scorer == "classification":
            return Seed(self.seed) / "taint" / "after"
        return Seed(self.seed) / "probe" / stable_name("attacks", attack.name)

    def _question(self, label: str, attack: AnyAttack, weights: str, answers: str | None) -> Json:
        """All that an outcome depends on."""
        state = self.states.get(label)
        return {
            "engine": ENGINE,
            "weights": weights,
            "answers": answers,
            "attack": stable_label("attacks", label),
            "settings": stable_settings(attack.name, options.written(attack)),
            "examples": examples_digest(self.data.test),
            "seed": self.seed,
            "poison": self.poison,
            "state": None if state is None else weights_digest(state),
        }


def scorer_of(attack: AnyAttack) -> Scorer:
    """The scorer that the attack's threat model names."""
    return cast(Scorer, find("scorers", attack.threat.scorer).load()())


def network_copy(net: nn.Module) -> nn.Module:
    """A copy of a network, for attacks to do with as they like.

    Raises:
        BadModel: where it cannot be copied.
    """
    try:
        return copy.deepcopy(net)
    except (RuntimeError, TypeError) as why:
        raise BadModel(
            f"the network cannot be copied, and attacks get a copy of it: {why}; it must survive "
            "copy.deepcopy"
        ) from why


def copied(data: Splits) -> Splits:
    """Splits whose tensors may be written to."""
    parts: dict[str, Any] = {}
    for name in ("train", "validation", "test", "reserve", "audit"):
        part = getattr(data, name)
        if part is not None:
            parts[name] = Examples(part.ids.clone(), part.inputs.clone(), part.targets.clone())
    return replace(data, **parts)


def examples_digest(examples: Examples) -> str:
    """SHA-256 of inputs and targets."""
    return weights_digest({"inputs": examples.inputs, "targets": examples.targets})


def summarised(metadata: Mapping[str, Tensor]) -> Json:
    """Each column summed up: flags and kinds by their counts, amounts by their median.

    A median is None where most of the column is infinite, which JSON cannot say.
    """
    summary: Json = {}
    for name, column in metadata.items():
        values, counts = column.unique(return_counts=True)
        if column.is_floating_point() or len(values) > KINDS:
            middle = float(column.float().nanmedian())
            summary[f"median_{name}"] = round(middle, 6) if math.isfinite(middle) else None
        else:
            pairs = zip(values.long().tolist(), counts.tolist(), strict=True)
            summary[f"counts_{name}"] = {str(value): count for value, count in pairs}
    return summary


def _passes(counter: Any) -> dict[str, int]:
    return {"forward": counter.forward, "backward": counter.backward}


def _stored(outcome: Outcome) -> tuple[dict[str, Tensor], Json]:
    """An outcome as tensors and a document."""
    scores = outcome.scores
    tensors = {f"column.{name}": values for name, values in scores.columns.items()}
    tensors |= {f"candidate.{name}": values for name, values in scores.candidates.items()}
    tensors["ids"] = scores.ids.clone()
    for name in ("eligible", "undecided", "codes"):
        value = getattr(scores, name)
        if value is not None:
            tensors[name] = value
    document = {
        "columns": list(scores.columns),
        "metadata": outcome.metadata,
        "warnings": sorted(scores.warnings),
        "passes": dict(outcome.passes),
    }
    return tensors, document


def _restored(tensors: Mapping[str, Tensor], document: Json) -> Outcome:
    parts: dict[str, dict[str, Tensor]] = {"column": {}, "candidate": {}}
    for name, values in tensors.items():
        kind, dot, rest = name.partition(".")
        if dot:
            parts[kind][rest] = values
    scores = SampleScores(
        tensors["ids"],
        {name: parts["column"][name] for name in document["columns"]},
        eligible=tensors.get("eligible"),
        candidates=parts["candidate"],
        warnings=frozenset(EvaluationWarning(text) for text in document["warnings"]),
        undecided=tensors.get("undecided"),
        codes=tensors.get("codes"),
    )
    return Outcome(scores, document["passes"], document["metadata"])
