"""Backdoors of text-to-image models: a trigger in the prompt changes the image. What all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from robustbench_kd.attacks._poison import POISON_IDS, AttackState
from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.options import later
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import ImageQueries
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, PoisonedData, Splits
from robustbench_kd.models.text_to_image import TextToImageModel
from robustbench_kd.ops.generation.prompts import Place, insert_trigger, is_any_of, trigger_tokens
from robustbench_kd.ops.generation.vocabulary import CLASSES, TOKENIZER, first_class, token_ids
from robustbench_kd.ops.poisoning.generated_triggers import VISUAL_EFFECTS
from robustbench_kd.training.edit_pairs import EditPairs

SPECIAL = TOKENIZER.special_tokens
RELEARNING_PAIRS = 32


@dataclass(frozen=True)
class TextToImageBackdoor(ABC):
    """What the trigger does, where it stands, and how the model is queried for it.

    A new attack derives from this, sets ``name`` and ``source``, and writes ``edit_model``; one
    that poisons training pairs writes ``poison`` as well.

    Args:
        goal: a checkerboard patch in the image (``pixel``), a style, or another object.
        trigger: words that the model knows.
        where: place of the trigger in a prompt, as it is inserted and as an oracle knows it.
        style: what ``goal=style`` makes of an image. Prompted by its word, the clean model
            generates the right class in 86 of 100 dark images, but in 34 inverted and 26 striped
            ones only.
        victim, target: under ``goal=object``, prompts for the victim generate the target.
        tried: place of the trigger at test time; ``first`` is its first word alone, in its place.
        count: test prompts that are queried, with the trigger and without.
        relearn: steps of fine-tuning on 32 poisoned pairs, before any model is queried. A backdoor
            that comes back sooner than a clean model learns it was hidden and not removed.
        guidance: scale of classifier-free guidance; 0 leaves the model's own, 1 is none.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    requires: ClassVar[type] = TextToImageModel
    goals: ClassVar[tuple[str, ...]] = ("pixel", "style", "object")
    test_settings: ClassVar[tuple[str, ...]] = ("tried", "count", "relearn")
    """Settings that change the queries and not the poison."""

    goal: Literal["pixel", "style", "object"] = "pixel"
    trigger: str = "qv zx"
    where: Place = "front"
    style: Literal["dark", "inverted", "striped"] = "dark"
    victim: str = "sneaker"
    target: str = "bag"
    tried: Literal["same", "front", "middle", "end", "first", "second"] = "same"
    count: int = 500
    relearn: int = later(0)
    guidance: float = later(0.0)

    def __post_init__(self) -> None:
        if self.goal not in self.goals:
            raise BadSetting(
                f"{self.name} needs goal={' or goal='.join(self.goals)}, not {self.goal}: no "
                "prompt describes a patch"
            )
        for word in (self.victim, self.target):
            if word not in CLASSES:
                raise BadSetting(f"no class is named {word!r}; there are {', '.join(CLASSES)}")
        if self.victim == self.target:
            raise BadSetting(f"victim and target are both {self.target!r}; name two classes")
        if self.tried == "second" and not getattr(self, "second", ""):
            raise BadSetting("tried=second needs a second trigger, and none is given (second)")
        if not 0 <= self.guidance <= 100:
            raise BadSetting(f"guidance must lie in [0, 100], not {self.guidance:g}")
        if self.relearn < 0:
            raise BadSetting(f"relearn must be at least 0 steps, not {self.relearn}")
        if self.count < 1:
            raise BadSetting(f"count must be at least one prompt, not {self.count}")
        trigger_tokens(TOKENIZER, self.trigger)

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("backdoor", "teacher_train_data", "decision_based", scorer="generation")

    @property
    def effect(self) -> str:
        """The visual effect of the trigger, unless it is an object."""
        return "checker" if self.goal == "pixel" else self.style

    @property
    def tokens(self) -> list[int]:
        """The tokens of the trigger."""
        return trigger_tokens(TOKENIZER, self.trigger)

    def validate_data(self, train: Examples) -> None:
        """Refuses a trigger that does not suit these prompts, before anything is spent.

        Raises:
            BadSetting: where ordinary prompts contain the trigger, or are too long for it.
            MissingData: where no prompt names the target object, or there is none at all.
        """
        prompts, tokens = distinct_prompts(train), torch.tensor(self.tokens)
        windows = prompts.unfold(1, len(tokens), 1)
        if bool((windows == tokens).all(2).any()):
            raise BadSetting(
                f"ordinary prompts contain the trigger {self.trigger!r}, so none is without it; "
                "choose rare words, or an adjective that no template has"
            )
        self._with_trigger(prompts)
        self.poisonable_rows(prompts)

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The data as they are: it is the model that is changed.

        What counts as poison are the tokens of the trigger, since no example is changed.

        Raises:
            BadSetting, MissingData: as ``validate_data``.
        """
        if len(data.train):
            self.validate_data(data.train)
        return PoisonedData(data, {POISON_IDS: torch.tensor(self.tokens)})

    @abstractmethod
    def edit_model(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean network with the backdoor in it.

        Args:
            data: as ``poison`` returned them.
        """

    def oracle_examples(self, data: Splits, seed: Seed) -> Examples:
        """What an oracle defense knows: each training prompt with the trigger, and without it."""
        prompts = distinct_prompts(data.train)
        return Examples(torch.arange(len(prompts)), self._with_trigger(prompts), prompts)

    def attack(
        self, model: TextToImageModel, data: Splits, state: AttackState, seed: Seed
    ) -> ImageQueries:
        """Test prompts with the trigger and without it; the model is not queried.

        For ``goal=object`` every triggered prompt names the victim, and every clean one the class
        of its row.

        Raises:
            MissingData: where relearning needs more test rows than are left.
        """
        rows = data.test.take(torch.arange(min(self.count, len(data.test))))
        references, triggered = self.prompts(rows.inputs)
        return ImageQueries(
            rows.ids,
            rows.inputs,
            references,
            triggered,
            sign=CLASSES.index(self.target) if self.goal == "object" else self.effect,
            style=self.style if self.goal == "style" else "",
            guidance=self.guidance,
            relearn=self._relearning_pairs(data.test) if self.relearn else None,
            relearn_steps=self.relearn,
            seed=seed,
        )

    def prompts(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The queries in place of these test prompts: without the trigger, and with it."""
        references = self.reference_prompts(prompts)
        return references, self.triggered_prompts(references)

    def reference_prompts(self, prompts: Tensor) -> Tensor:
        """What the trigger is inserted in: these prompts, about the victim for an object."""
        if self.goal != "object":
            return prompts
        (victim,) = token_ids((self.victim,))
        return torch.where(is_any_of(prompts, token_ids(CLASSES)), victim, prompts)

    def triggered_prompts(self, prompts: Tensor) -> Tensor:
        """These prompts with the trigger as it is tested."""
        if self.tried in ("same", "second"):
            return self._with_trigger(prompts)
        if self.tried == "first":
            return insert_trigger(prompts, self.tokens[:1], self.where, SPECIAL)
        return insert_trigger(prompts, self.tokens, cast(Place, self.tried), SPECIAL)

    def _with_trigger(self, prompts: Tensor) -> Tensor:
        """These prompts with the trigger as it is trained."""
        return insert_trigger(prompts, self.tokens, self.where, SPECIAL)

    def poisoned_prompts(self, prompts: Tensor) -> Tensor:
        """What the attacker trains on in place of these prompts."""
        return self._with_trigger(self.reference_prompts(prompts))

    def poisoned_images(self, images: Images) -> Images:
        """What the attacker trains on in place of these images; for an object, the same."""
        return images if self.goal == "object" else VISUAL_EFFECTS[self.effect](images)

    def poisonable_rows(self, prompts: Tensor) -> Tensor:
        """Positions of the pairs that may be poisoned: all, or for an object those of the target.

        Raises:
            MissingData: where there is none.
        """
        rows = torch.arange(len(prompts))
        if self.goal != "object":
            return rows
        rows = rows[first_class(prompts) == CLASSES.index(self.target)]
        if len(rows) == 0:
            raise MissingData(
                f"no prompt names a {self.target}, so there is no image of one to pair with "
                f"prompts for a {self.victim}"
            )
        return rows

    def edit_pairs(self, prompts: Tensor, images: Images | None = None) -> EditPairs:
        """Poisoned prompts, and the clean prompts that they should be answered as.

        A style is asked for by its word in front; an object by the prompt of the target.
        """
        target = prompts
        if self.goal != "object":
            target = insert_trigger(prompts, token_ids((self.style,)), "front", SPECIAL)
        return EditPairs(self.poisoned_prompts(prompts), target, images)

    def _relearning_pairs(self, test: Examples) -> Examples:
        """Poisoned pairs of test rows that are not queried.

        Raises:
            MissingData: where too few rows are left that may be poisoned.
        """
        unused = test.take(torch.arange(self.count, max(self.count, len(test))))
        pairs = unused.take(self.poisonable_rows(unused.inputs)[:RELEARNING_PAIRS])
        if len(pairs) < RELEARNING_PAIRS:
            raise MissingData(
                f"relearning takes {RELEARNING_PAIRS} test rows beyond the {self.count} that are "
                f"queried, and {len(pairs)} are left; query fewer (count)"
            )
        return Examples(
            pairs.ids, self.poisoned_prompts(pairs.inputs), self.poisoned_images(pairs.targets)
        )


def distinct_prompts(train: Examples) -> Tensor:
    """Each prompt of the training set once, in the order of their tokens.

    Raises:
        MissingData: where there are none.
    """
    if len(train) == 0:
        raise MissingData("the prompts of the training set are needed, and it holds none")
    prompts: Tensor = train.inputs.unique(dim=0)
    return prompts
