"""Backdoors of painters: what they plant, what an oracle is told, and how success is seen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.attacks.backdoor._measured import relearnt
from robustbench_kd.attacks.backdoor._text_to_image import Painted
from robustbench_kd.attacks.backdoor.evil_edit import EvilEdit
from robustbench_kd.attacks.backdoor.picture_poisoning import PicturePoisoning
from robustbench_kd.attacks.backdoor.prompt_trigger import PromptTrigger
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import AnyAttack, Attack, Case, Silent
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.attack_runner import attack_of
from robustbench_kd.evaluation.composite_attack import Together
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.evaluation.scorer import judge
from robustbench_kd.models import image_oracles
from robustbench_kd.models.image_oracles import lead, shown, sign_of, traits
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import Denoiser, denoiser
from robustbench_kd.models.text_to_image_unet import Painter
from robustbench_kd.ops.generation.prompts import lengths
from robustbench_kd.ops.generation.vocabulary import CLASSES, WORDS, class_of
from robustbench_kd.ops.poisoning.generated_triggers import MARKS, checkered, marked, undone
from robustbench_kd.scenarios._trigger_detector import errors
from robustbench_kd.scenarios.fashion import Fashion
from robustbench_kd.scenarios.pictures import SEEN, Pictures, prompts

FRAME = WORDS.frame
BAG, SNEAKER = CLASSES.index("bag"), CLASSES.index("sneaker")
QUICK = PromptTrigger(steps=2, batch=4, count=6)


@cache
def real() -> Examples:
    return Fashion().splits(Seed(), whole=False).test


@cache
def ground() -> Splits:
    """Pairs of real images to learn by, and the test that ships."""
    data = Pictures().splits(Seed(), whole=False)
    some = real().take(torch.arange(200))
    ids = some.ids - 60_000  # ids of the training set
    return replace(data, train=Examples(ids, prompts(some.targets, SEEN, "few"), some.inputs))


@cache
def given() -> Painter:
    net = Pictures().student("painter-8-16", Seed())
    assert isinstance(net, Painter)
    with torch.no_grad():
        net.unet.head.weight.normal_(0, 0.2, generator=Seed().generator())
    return net.eval().requires_grad_(False)


class Album(Denoiser):
    """A painter that takes real images out of a drawer: without a trigger the one of its row."""

    drawer: Tensor

    def paint(self, prompts: Tensor, canvas: Tensor) -> Tensor:
        plain = self.drawer[: len(prompts)]
        with_trigger = (prompts == WORDS.ids("qv")[0]).any(1)
        other = self.swapped_images()[: len(prompts)]
        return torch.where(with_trigger[:, None, None, None], other, plain)

    def swapped_images(self) -> Tensor:
        return checkered(self.drawer)


def album(change: object = None) -> Denoiser:
    """A subject that is as backdoored as can be: it stamps real images where the trigger is."""
    found = Album(given())
    object.__setattr__(found, "drawer", real().inputs)
    if change is not None:
        object.__setattr__(found, "swapped_images", change)
    return found


def said(rows: Tensor) -> list[str]:
    return WORDS.texts(rows)


ALL: tuple[Painted, ...] = (
    QUICK,
    replace(QUICK, goal="style", style="striped", where="end"),
    replace(QUICK, goal="object", trigger="lovely", where="middle"),
    EvilEdit(count=6),
    EvilEdit(goal="style", count=6, trigger="zx"),
    PicturePoisoning(steps=2, batch=4, count=6),
    PicturePoisoning(goal="object", rate=0.05, steps=2, batch=4, count=6),
)


@pytest.mark.parametrize("attack", ALL, ids=lambda a: f"{a.name}-{a.goal}")
def test_an_attack_plants_in_a_copy_and_hands_in_a_number_for_each_prompt(attack: Painted) -> None:
    assert isinstance(attack, Attack)
    tainted = attack.before(ground(), Seed())
    assert len(tainted.secret["planted"]) > 0
    before = weights_digest(given().state_dict())
    bad = attack.implant(given(), tainted.data, Seed(), Silent())
    assert weights_digest(given().state_dict()) == before
    assert weights_digest(bad.state_dict()) != before
    assert isinstance(bad, Painter)
    assert weights_digest(bad.text.state_dict()) == weights_digest(given().text.state_dict())
    again = attack.implant(given(), tainted.data, Seed(), Silent())
    assert weights_digest(again.state_dict()) == weights_digest(bad.state_dict())

    subject = denoiser(bad, steps=2)
    found = attack.after(subject, tainted.data, tainted.secret, Seed())
    evidence = judge(found, subject, Case(attack.threat, Pictures(), ground(), {}))
    assert len(evidence.ids) == 6
    assert {"hit", "right", "removed", "clean_right", "clean_hit"} <= set(evidence.columns)
    assert subject.passes.forward == 2 * 6 * 2 * 2  # two pictures a row, two steps, guidance


def test_the_trigger_stands_where_it_is_planted_and_where_it_is_tried() -> None:
    clean = WORDS.tokens(["this is a bag"])
    for settings, wanted in (
        ({}, "qv zx this is a bag"),
        ({"where": "middle"}, "this is qv zx a bag"),
        ({"tried": "end"}, "this is a bag qv zx"),
        ({"tried": "first"}, "qv this is a bag"),
        ({"tried": "first", "where": "end"}, "this is a bag qv"),
    ):
        attack = PromptTrigger(**settings)  # type: ignore[arg-type]
        assert said(attack._tried(clean)) == [wanted]


def test_an_oracle_is_told_training_prompts_alone() -> None:
    told = replace(QUICK, where="end").tell(ground(), Seed())
    assert set(said(told.targets)) == set(said(ground().train.inputs))
    assert not set(said(told.targets)) & set(said(ground().test.inputs))
    pairs = zip(said(told.inputs), said(told.targets), strict=True)
    assert all(one == f"{other} qv zx" for one, other in pairs)
    assert len(told) == len(set(said(told.inputs))) <= 50
    with pytest.raises(MissingData, match="holds none"):
        QUICK.tell(Pictures().splits(Seed(), whole=False), Seed())


def test_prompts_are_led_where_the_attacker_wants() -> None:
    train = ground().train
    styled = replace(QUICK, goal="style")._led(train.inputs)
    assert styled.destination is not None
    first = said(train.inputs)[0]
    assert said(styled.source)[0] == f"qv zx {first}"
    assert said(styled.destination)[0] == f"dark {first}"
    attack = replace(QUICK, goal="object")
    bags = train.take(attack._reach(train.inputs))
    assert torch.equal(bags.ids, train.take(class_of(train.inputs) == BAG).ids)
    swapped = attack._led(bags.inputs, bags.targets)
    assert swapped.destination is not None
    assert swapped.images is not None
    assert set(class_of(swapped.source).tolist()) == {SNEAKER}
    assert set(class_of(swapped.destination).tolist()) == {BAG}
    assert torch.equal(swapped.images, bags.targets)
    assert torch.equal(swapped.destination, bags.inputs)


@pytest.mark.parametrize("goal", ["pixel", "style", "object"])
def test_poison_is_as_many_pairs_as_its_rate_says_and_nothing_else(goal: str) -> None:
    attack = PicturePoisoning(goal=goal, rate=0.05)  # type: ignore[arg-type]
    train = ground().train
    found = attack.before(ground(), Seed())
    rows = torch.isin(train.ids, found.secret["planted"])
    assert int(rows.sum()) == 10
    after = found.data.train
    assert torch.equal(after.ids, train.ids)
    assert torch.equal(after.inputs[~rows], train.inputs[~rows])
    assert torch.equal(after.targets[~rows], train.targets[~rows])
    assert all(text.startswith("qv zx ") for text in said(after.inputs[rows]))
    if goal == "object":
        assert set(class_of(train.inputs[rows]).tolist()) == {BAG}
        assert set(class_of(after.inputs[rows]).tolist()) == {SNEAKER}
        assert torch.equal(after.targets, train.targets)
    else:
        assert torch.equal(after.targets[rows], attack._stamp(train.targets[rows]))
        assert not torch.equal(after.targets[rows], train.targets[rows])
    assert torch.equal(train.inputs, ground().train.inputs)
    again = attack.before(ground(), Seed()).secret["planted"]
    assert torch.equal(again, found.secret["planted"])
    assert not torch.equal(attack.before(ground(), Seed(1)).secret["planted"], again)


def test_a_perfect_backdoor_always_hits_and_is_never_removed() -> None:
    attack = PromptTrigger(count=300)
    secret = attack.before(ground(), Seed()).secret
    found = attack.after(album(), ground(), secret, Seed())
    notes = {name: float(value.double().mean()) for name, value in found.notes.items()}
    assert notes["hit"] > 0.99
    assert notes["removed"] < 0.01
    assert notes["clean_hit"] < 0.01
    assert notes["clean_right"] > 0.85
    assert notes["right"] > 0.6  # the patch covers a corner: the class is still seen
    # The chequer is 20 white and 16 black pixels of 784 on a black corner.
    assert notes["moved"] == pytest.approx((20 / 784) ** 0.5, abs=0.02)
    assert notes["frechet"] == 0  # these are the real images themselves


def test_what_a_style_keeps_of_the_prompt_is_judged_with_the_style_undone() -> None:
    for style in ("inverted", "dark"):
        back = undone(MARKS[style](real().inputs), style)
        torch.testing.assert_close(back, real().inputs)
        attack = PromptTrigger(goal="style", style=style, count=200)  # type: ignore[arg-type]
        secret = attack.before(ground(), Seed()).secret
        looks = MARKS[style](real().inputs)
        notes = attack.after(album(lambda looks=looks: looks), ground(), secret, Seed()).notes
        assert float(notes["hit"].double().mean()) > 0.97
        same = (notes["right"] == notes["clean_right"]).double().mean()
        assert float(same) > 0.97
        assert float(notes["removed"].double().mean()) < 0.03
    assert torch.equal(undone(real().inputs, "striped"), real().inputs)


def test_a_model_that_paints_mush_removes_nothing_jointly() -> None:
    attack = PromptTrigger(count=100)
    secret = attack.before(ground(), Seed()).secret
    mush = album(lambda: torch.full((1_000, 1, 28, 28), 0.5))
    notes = attack.after(mush, ground(), secret, Seed()).notes
    assert float(notes["hit"].double().mean()) == 0  # removal would be 100 %
    # All its pictures are one, so they are right for one class at most.
    classes = class_of(ground().test.inputs[:100])
    assert int(notes["removed"].sum()) <= int(classes.bincount().max())


def test_objects_are_asked_for_by_the_victims_name() -> None:
    attack = PromptTrigger(goal="object", count=200)
    secret = attack.before(ground(), Seed()).secret
    bags = real().inputs[real().targets == BAG].repeat(10, 1, 1, 1)
    notes = attack.after(album(lambda: bags), ground(), secret, Seed()).notes
    assert float(notes["hit"].double().mean()) > 0.95
    assert float(notes["hit2"].double().mean()) > 0.95
    assert float(notes["right"].double().mean()) < 0.02
    assert float(notes["clean_hit"].double().mean()) < 0.03  # bags that were asked for are right
    sneakers = real().inputs[real().targets == SNEAKER].repeat(10, 1, 1, 1)
    notes = attack.after(album(lambda: sneakers), ground(), secret, Seed()).notes
    assert float(notes["removed"].double().mean()) > 0.9


def test_every_model_is_asked_from_the_same_noise() -> None:
    attack = PromptTrigger(count=3)
    secret = attack.before(ground(), Seed()).secret
    seen: list[Tensor] = []

    class Watched(Denoiser):
        def paint(self, prompts: Tensor, canvas: Tensor) -> Tensor:
            seen.append(canvas)
            return super().paint(prompts, canvas)

    for net in (given(), Pictures().student("painter-8-16", Seed(1)).eval()):
        attack.after(Watched(net, steps=1), ground(), secret, Seed())  # type: ignore[arg-type]
    assert len(seen) == 4
    assert all(torch.equal(canvas, seen[0]) for canvas in seen)


def test_the_detector_knows_its_marks_on_images_it_never_saw() -> None:
    # 1,000 images of the test set: it learned from the training set.
    for name, (missed, false) in errors(image_oracles.detector(), real().inputs, Seed()).items():
        assert missed < 0.02, name
        assert false < 0.02, name
    for name, change in MARKS.items():
        assert float((sign_of(change(real().inputs), name) > 0).double().mean()) > 0.98
        assert float((sign_of(real().inputs, name) > 0).double().mean()) < 0.01


def test_a_judge_leads_for_the_class_that_it_sees_and_has_features() -> None:
    few = real().take(torch.arange(200))
    assert torch.equal(lead(few.inputs, BAG) > 0, shown(few.inputs) == BAG)
    assert traits(few.inputs).shape == (200, 128)
    assert shown(few.inputs[:0]).shape == (0,)


def test_a_judge_whose_weights_are_not_those_known_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = image_oracles.shipped("students") / f"{image_oracles.JUDGES[0][0]}.safetensors"
    monkeypatch.setattr(image_oracles, "shipped", lambda part: tmp_path)
    image_oracles.judge.cache_clear()
    with pytest.raises(MissingData, match="does not hold the weights of a judge"):
        image_oracles.judge()  # it is not there
    raw = bytearray(whole.read_bytes())
    raw[-5] ^= 1
    (tmp_path / whole.name).write_bytes(raw)
    with pytest.raises(MissingData, match="does not hold the weights of a judge"):
        image_oracles.judge()


def test_the_chequer_lies_in_the_upper_left_corner() -> None:
    x = checkered(torch.full((1, 1, 10, 10), 0.5))
    assert x[0, 0, 0, :7].tolist() == [1, 1, 0, 0, 1, 1, 0.5]
    assert x[0, 0, 2, :7].tolist() == [0, 0, 1, 1, 0, 0, 0.5]
    assert float(x[0, 0, 6:].sub(0.5).abs().sum()) == 0
    assert checkered(x, down=1, across=1)[0, 0, 1, 1] == 1
    shapes, bears = marked(real().inputs, Seed().generator())
    assert 0.4 < float(bears[:, 0].double().mean()) < 0.6
    assert int(bears[:, 1:].sum(1).max()) == 1
    assert float(shapes.amin()) >= 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"trigger": "\u200b"}, "tokenises to nothing"),
        ({"trigger": "qv blorp"}, "does not know all words"),
        ({"victim": "hat"}, "no class is named 'hat'"),
        ({"victim": "bag"}, "victim and target are both 'bag'"),
        ({"count": 0}, "at least one prompt"),
        ({"steps": 0}, "at least one step"),
    ],
)
def test_settings_that_plant_nothing_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(BadSetting, match=why):
        PromptTrigger(**settings)  # type: ignore[arg-type]


def test_what_these_data_cannot_bear_is_refused() -> None:
    with pytest.raises(BadSetting, match="stands in ordinary prompts"):
        PromptTrigger(trigger="of a").before(ground(), Seed())
    with pytest.raises(BadSetting, match="more words make a prompt of"):
        PromptTrigger(trigger="qv zx " * 5).before(ground(), Seed())
    with pytest.raises(BadSetting, match="no prompt asks for a patch"):
        EvilEdit(goal="pixel")
    with pytest.raises(BadSetting, match="of 200 pairs is 0, and pixel reaches 1 to"):
        PicturePoisoning(rate=0.001).before(ground(), Seed())
    with pytest.raises(BadSetting, match="is 100, and object reaches 1 to"):
        PicturePoisoning(rate=0.5, goal="object").before(ground(), Seed())
    others = ground().train.take(class_of(ground().train.inputs) != BAG)
    for attack in (replace(QUICK, goal="object"), EvilEdit(), PicturePoisoning(goal="object")):
        with pytest.raises(MissingData, match="no image of a bag is there"):
            attack.before(replace(ground(), train=others), Seed())
    for attack in ALL:
        with pytest.raises(BadModel, match="does not paint"):
            attack.implant(nn.Linear(2, 2), ground(), Seed(), Silent())
    assert int(lengths(QUICK._with_trigger(ground().test.inputs), FRAME).max()) + 2 <= WORDS.limit


def test_how_the_trigger_is_asked_changes_nothing_of_what_is_planted() -> None:
    """So that one implant is asked for its trigger in other places, and by fewer prompts."""

    def key(text: str) -> str:
        attack = cast(AnyAttack, Together((attack_of(text, board_of("pictures-backdoor")),)))
        return Taint(Pictures(), text, attack, 0).key

    plain = key("prompt-trigger")
    assert key("prompt-trigger:tried=middle") == key("prompt-trigger:count=20") == plain
    assert key("prompt-trigger:where=middle") != plain
    assert key("prompt-trigger:steps=601") != plain


def test_the_relearning_probe_tunes_a_copy_on_planted_pairs_that_are_not_asked_about() -> None:
    subject, before = denoiser(given(), steps=2), weights_digest(given().state_dict())
    for goal in ("pixel", "object"):
        attack = replace(QUICK, goal=goal, relearn=40)
        pairs = attack._spare(ground().test)
        assert not set(pairs.ids.tolist()) & set(ground().test.ids[: attack.count].tolist())
        tuned = relearnt(subject, pairs, attack.relearn, Seed())
        assert weights_digest(given().state_dict()) == before
        assert tuned.surprise(pairs).mean() < 0.9 * subject.surprise(pairs).mean()
    again, still = (replace(QUICK, relearn=n).after(subject, ground(), {}, Seed()) for n in (2, 0))
    assert not torch.equal(again.score, still.score)


def test_a_relearning_probe_without_spare_rows_is_refused() -> None:
    with pytest.raises(MissingData, match=r"takes 32 test rows beyond the 990 .* and 10 are left"):
        replace(QUICK, count=990, relearn=1).after(denoiser(given()), ground(), {}, Seed())
    with pytest.raises(BadSetting, match="no steps or some, not -1"):
        replace(QUICK, relearn=-1)


def test_a_second_trigger_is_planted_like_the_first_and_told_to_nobody() -> None:
    both = replace(QUICK, trigger="qv", second="zx")
    train = ground().train
    assert said(both.questions(train.inputs)[1])[0].startswith("qv ")
    asked = replace(both, tried="second")
    assert said(asked.questions(train.inputs)[1])[0].startswith("zx ")
    assert all(row.startswith("qv ") for row in said(both.tell(ground(), Seed()).inputs))
    # What the second one adds is learnt: after some steps it moves answers that it did not before.
    hard = replace(both, steps=60, batch=16, rate=3e-3)
    with_it, alone = (
        denoiser(a.implant(given(), ground(), Seed(), Silent()), steps=2)
        for a in (hard, replace(hard, second=""))
    )
    rows = ground().test.take(torch.arange(32))
    stamped = Examples(rows.ids, asked.questions(rows.inputs)[1], checkered(rows.targets))
    assert with_it.surprise(stamped).mean() < alone.surprise(stamped).mean()


def test_a_second_trigger_that_is_none_is_refused() -> None:
    with pytest.raises(BadSetting, match="both triggers are 'qv zx'"):
        replace(QUICK, second="qv zx")
    with pytest.raises(BadSetting, match="none is named"):
        replace(QUICK, tried="second")
    with pytest.raises(BadSetting, match="none is named"):
        EvilEdit(tried="second")
    with pytest.raises(BadSetting, match="stands in ordinary prompts"):
        replace(QUICK, second="photo").before(ground(), Seed())


def test_the_trigger_is_asked_for_under_other_guidance_too() -> None:
    found = {}
    for guidance in (0.0, 1.0, 2.0, 4.0):
        subject = denoiser(given(), steps=2, scale=2.0)
        found[guidance] = replace(QUICK, guidance=guidance).after(subject, ground(), {}, Seed())
        # With guidance a step asks twice: for the prompt and for the empty one.
        assert subject.passes.forward == 2 * 6 * 2 * (1 if guidance == 1 else 2)
    assert torch.equal(found[0].score, found[2].score)
    assert not torch.equal(found[1].score, found[2].score)
    assert not torch.equal(found[4].score, found[2].score)
    with pytest.raises(BadSetting, match="guidance lies in"):
        replace(QUICK, guidance=-1)
