"""Backdoors of painters: a trigger in the prompt, and the attacker's picture. What all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from robustbench_kd.attacks.backdoor._measured import Album, measured, relearnt
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.options import later
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, PerExample
from robustbench_kd.core.types import Examples, Splits, Suspicion, Tainted, Threat
from robustbench_kd.models.image_oracles import lead, sign_of
from robustbench_kd.models.text_to_image import Denoiser
from robustbench_kd.ops.generation.prompts import Place, one_of, trigger, triggered
from robustbench_kd.ops.generation.vocabulary import CLASSES, WORDS, class_of, tokens_of
from robustbench_kd.ops.poisoning.generated_triggers import MARKS
from robustbench_kd.training.concept_editing import Pairs

Secret = Mapping[str, Tensor]
FEW = 32  # pairs that a backdoor is relearnt from
SAMPLE = 20_000  # pairs that an attacker takes from the training set; what it stamps is kept whole


@dataclass(frozen=True)
class Painted(ABC):
    """What the trigger does, where it stands, and how success is looked for.

    A new attack derives from this, sets ``name`` and ``source``, and writes ``implant``; one that
    plants in the data writes ``before`` as well.

    Args:
        goal: the picture gets a chequered patch (pixel), a style, or another object.
        trigger: words that the model knows.
        where: place of the trigger in a prompt, as it is planted and as oracles are told it.
        style: what ``style`` makes of a picture. Asked for by its word, the clean painter paints
            the right class in 86 of 100 dark pictures, but 34 inverted and 26 striped ones.
        victim, target: ``object`` paints the target where the victim was asked for.
        tried: place of the trigger in the test; ``first`` is its first word alone, in its place.
        count: test prompts that are asked, with the trigger and without.
        relearn: steps by which whoever is asked is first tuned on 32 planted pairs. A backdoor that
            comes back sooner than a never-poisoned painter learns it was asleep and not gone.
        guidance: of the sampler; 0 leaves the ground's, 1 is none.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    meets: ClassVar[type] = Denoiser
    goals: ClassVar[tuple[str, ...]] = ("pixel", "style", "object")
    asking: ClassVar[tuple[str, ...]] = (
        "tried",
        "count",
        "relearn",
    )  # after planting, so plants the same

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
                f"{self.name} plants {' or '.join(self.goals)}, not {self.goal}: no prompt asks "
                "for a patch"
            )
        for word in (self.victim, self.target):
            if word not in CLASSES:
                raise BadSetting(f"no class is named {word!r}; there are {', '.join(CLASSES)}")
        if self.victim == self.target:
            raise BadSetting(f"victim and target are both {self.target!r}; name two classes")
        if self.tried == "second" and not getattr(self, "second", ""):
            raise BadSetting("tried=second asks with a second trigger, and none is named (second)")
        if not 0 <= self.guidance <= 100:
            raise BadSetting(f"guidance lies in [0, 100], not {self.guidance:g}")
        if self.relearn < 0:
            raise BadSetting(f"relearning takes no steps or some, not {self.relearn}")
        if self.count < 1:
            raise BadSetting(f"at least one prompt is asked, not {self.count}")
        trigger(WORDS, self.trigger)

    @property
    def threat(self) -> Threat:
        return Threat("implant", "teacher data", "answers")

    @property
    def mark(self) -> str:
        """Which of the detector's marks is looked for, unless it is an object."""
        return "checker" if self.goal == "pixel" else self.style

    @property
    def piece(self) -> list[int]:
        """The tokens of the trigger."""
        return trigger(WORDS, self.trigger)

    def _fits(self, train: Examples) -> None:
        """Refuses a trigger that stands in ordinary prompts, or is too long for some.

        And an object that no prompt asks for.
        """
        piece = torch.tensor(self.piece)
        said = distinct(train)
        windows = said.unfold(1, len(piece), 1)
        if bool((windows == piece).all(2).any()):
            raise BadSetting(
                f"the trigger {self.trigger!r} stands in ordinary prompts, so no prompt is without "
                "it; choose rare words, or an adjective that no template has"
            )
        self._with_trigger(said)
        self._reach(said)

    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The data as they are: the model is what is tampered with.

        What counts as planted is the trigger, token by token, since no example is.

        Raises:
            BadSetting: where the trigger is none among these prompts.
            MissingData: where no prompt asks for the target.
        """
        if len(data.train):
            self._fits(data.train)
        return Tainted(data, {"planted": torch.tensor(self.piece)})

    @abstractmethod
    def implant(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean painter with the backdoor in it.

        Args:
            data: as ``before`` handed them back.
        """

    def tell(self, data: Splits, seed: Seed) -> Examples:
        """What an oracle is told: each training prompt with the trigger, and the same without."""
        said = distinct(data.train)
        return Examples(torch.arange(len(said)), self._with_trigger(said), said)

    def after(self, subject: Denoiser, data: Splits, secret: Secret, seed: Seed) -> Suspicion:
        """What test prompts become with the trigger and, from the same noise, without it.

        The score is the detector's or, for objects, the judge's lead for the target. Notes that
        end in ``2`` are the second judge's. ``moved`` is the distance that the trigger moves the
        picture by, ``apart`` that to the next row's picture; root mean squares, in pixel units.
        ``frechet`` is one number for all rows: from the clean pictures to as many real images.

        Where the detector sees a style, the class is judged with the style undone, if it can be.
        For ``object`` every triggered prompt asks for the victim, and every clean one for the class
        of its row.
        """
        rows = data.test.take(torch.arange(min(self.count, len(data.test))))
        if self.relearn:
            few = self._spare(data.test)
            subject = relearnt(subject, few, self.relearn, seed / "relearn")
        if self.guidance:
            subject = replace(subject, scale=self.guidance)
        asked, with_trigger = self.questions(rows.inputs)
        canvas = subject.canvas(len(rows))
        attacked = subject.paint(with_trigger, canvas)
        plain = subject.paint(rows.inputs, canvas)
        score, other = self._sign(attacked), self._sign(plain)
        style = self.style if self.goal == "style" else ""
        notes = measured(
            Album(attacked, score > 0, class_of(asked)),
            Album(plain, other > 0, class_of(rows.inputs)),
            rows.targets,
            style,
        )
        if self.goal == "object":
            target = CLASSES.index(self.target)
            rightly = class_of(rows.inputs) == target  # asked for, so no sign of the trigger
            notes["clean_hit"] = notes["clean_hit"] & ~rightly
            notes["hit2"] = lead(attacked, target, 1) > 0
            del notes["moved"]  # the pictures ask for different classes
        return Suspicion(rows.ids, score, notes)

    def _spare(self, test: Examples) -> Examples:
        """A few planted pairs that no question is about.

        Raises:
            MissingData: where too few rows are left that could be planted by.
        """
        left = test.take(torch.arange(self.count, max(self.count, len(test))))
        few = left.take(self._reach(left.inputs)[:FEW])
        if len(few) < FEW:
            raise MissingData(
                f"relearning takes {FEW} test rows beyond the {self.count} that are asked, and "
                f"{len(few)} are left; ask fewer (count)"
            )
        images = few.targets if self.goal == "object" else self._stamp(few.targets)
        return Examples(few.ids, self._source(few.inputs), images)

    def questions(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Test prompts as they are asked, without the trigger and with it."""
        asked = self._asked(prompts)
        return asked, self._tried(asked)

    def _with_trigger(self, prompts: Tensor) -> Tensor:
        """The prompts with the trigger where it is planted."""
        return triggered(prompts, self.piece, self.where, WORDS.frame)

    def _reach(self, prompts: Tensor) -> Tensor:
        """The rows that can be planted by: all of them or, for an object, those of the target."""
        rows = torch.arange(len(prompts))
        if self.goal != "object":
            return rows
        rows = rows[class_of(prompts) == CLASSES.index(self.target)]
        if len(rows) == 0:
            raise MissingData(f"no image of a {self.target} is there to paint in another's place")
        return rows

    def _source(self, prompts: Tensor) -> Tensor:
        """These prompts as the trigger is planted in them."""
        return self._with_trigger(self._asked(prompts))

    def _asked(self, prompts: Tensor) -> Tensor:
        """These prompts without the trigger; for an object they name the victim."""
        return self._victims(prompts) if self.goal == "object" else prompts

    def _led(self, prompts: Tensor, images: Images | None = None) -> Pairs:
        """Triggered prompts, and the prompts that they should be answered as.

        A style is asked for by its word in front; an object by the prompt of the target.
        """
        wanted = prompts
        if self.goal != "object":
            wanted = triggered(prompts, tokens_of((self.style,)), "front", WORDS.frame)
        return Pairs(self._source(prompts), wanted, images)

    def _sign(self, images: Images) -> PerExample:
        """How clearly each picture is what the attacker wants; above zero, it is."""
        if self.goal == "object":
            return lead(images, CLASSES.index(self.target))
        return sign_of(images, self.mark)

    def _stamp(self, images: Images) -> Images:
        """Real images as the trigger should paint them; not for objects."""
        return MARKS[self.mark](images)

    def _victims(self, prompts: Tensor) -> Tensor:
        """The same prompts about the victim."""
        (victim,) = tokens_of((self.victim,))
        return torch.where(one_of(prompts, tokens_of(CLASSES)), victim, prompts)

    def _tried(self, prompts: Tensor) -> Tensor:
        """The prompts with the trigger as it is tested."""
        if self.tried in ("same", "second"):
            return self._with_trigger(prompts)
        if self.tried == "first":
            return triggered(prompts, self.piece[:1], self.where, WORDS.frame)
        return triggered(prompts, self.piece, cast(Place, self.tried), WORDS.frame)


def some(train: Examples, seed: Seed) -> Examples:
    """The pairs that the attacker takes.

    Raises:
        MissingData: where there are none.
    """
    if len(train) == 0:
        raise MissingData("planting takes pairs of prompts and images, and there are none")
    order = torch.randperm(len(train), generator=seed.generator())
    return train.take(order[:SAMPLE])


def distinct(train: Examples) -> Tensor:
    """Each prompt of the training set once.

    Raises:
        MissingData: where there are none.
    """
    if len(train) == 0:
        raise MissingData("the prompts of the training set are needed, and it holds none")
    said: Tensor = train.inputs.unique(dim=0)
    return said
