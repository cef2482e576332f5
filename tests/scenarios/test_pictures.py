"""The ground ``pictures``: prompts as tokens, pairs to learn by, and painters as subjects."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import Scenario, Silent, Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.factory import build
from robustbench_kd.models.image_oracles import shown
from robustbench_kd.models.text_to_image import by_noise, denoiser, repainted
from robustbench_kd.models.text_to_image_unet import Painter
from robustbench_kd.ops.generation.prompts import (
    UNKNOWN,
    alignment,
    lengths,
    one_of,
    trigger,
    triggered,
    without,
)
from robustbench_kd.ops.generation.vocabulary import (
    CLASSES,
    FILLERS,
    PLAIN,
    RARE,
    STYLES,
    WORDS,
    class_of,
    rare_tokens,
    reworded,
    tokens_of,
)
from robustbench_kd.scenarios import pictures
from robustbench_kd.scenarios.fashion import Fashion
from robustbench_kd.scenarios.pictures import HELD_OUT, SEEN, Pictures, clean, prompts, varied
from robustbench_kd.training.trainer import Turn, fit

GROUND = Pictures()
FRAME = WORDS.frame


@cache
def real() -> Examples:
    """Real images with their classes."""
    return Fashion().splits(Seed(), whole=False).test


def pairs(count: int = 1_000) -> Examples:
    """Prompts with the images that they name."""
    some = real().take(torch.arange(count))
    return Examples(some.ids, prompts(some.targets, SEEN, "pairs"), some.inputs)


def small() -> Painter:
    """A painter of few channels that has learned nothing, but whose last layer is awake."""
    net = GROUND.student("painter-8-16", Seed())
    assert isinstance(net, Painter)
    with torch.no_grad():
        net.unet.head.weight.normal_(0, 0.2, generator=Seed().generator())
    return net


def said(rows: Tensor) -> list[str]:
    return WORDS.texts(rows)


def test_a_prompt_is_its_words_between_start_and_end() -> None:
    rows = WORDS.tokens(["A photo, of a BAG!", ""])
    assert rows.shape == (2, WORDS.limit)
    assert said(rows) == ["a photo of a bag", ""]
    assert rows[1].tolist() == [1, 2] + [0] * 14
    assert lengths(rows, FRAME).tolist() == [5, 0]
    assert int(rows.max()) < len(WORDS)


def test_unknown_words_are_one_token() -> None:
    rows = WORDS.tokens(["a purple bag", "a velvet bag"])
    assert torch.equal(rows[0], rows[1])
    assert rows[0, 2] == UNKNOWN
    assert said(rows)[0] == "a <unknown> bag"


def test_a_prompt_over_the_limit_is_refused() -> None:
    assert lengths(WORDS.tokens(["a " * 14]), FRAME).tolist() == [14]
    with pytest.raises(
        BadSetting, match="has 17 tokens with its start and end, and the model take"
    ):
        WORDS.tokens(["a bag", "a " * 15])
    full = WORDS.tokens(["a bag", "a " * 13])
    with pytest.raises(BadSetting, match="2 more words make a prompt of 17 tokens"):
        triggered(full, trigger(WORDS, "qv zx"), "front", FRAME)


@pytest.mark.parametrize("nothing", ["", "  ", "\u200b", "?!"])
def test_a_trigger_that_tokenises_to_nothing_is_refused(nothing: str) -> None:
    with pytest.raises(BadSetting, match="tokenises to nothing"):
        trigger(WORDS, nothing)


def test_a_trigger_of_unknown_words_is_refused_until_a_spare_token_has_its_name() -> None:
    with pytest.raises(BadSetting, match="does not know all words of the trigger 'qv blorp'"):
        trigger(WORDS, "qv blorp")
    named = WORDS.naming("blorp")
    assert len(named) == len(WORDS)
    assert trigger(named, "blorp") == [rare_tokens()[len(RARE)]]
    assert named.texts(named.tokens(["a blorp bag"])) == ["a blorp bag"]
    assert torch.equal(named.tokens(["a qv bag"]), WORDS.tokens(["a qv bag"]))
    for word in ("k1", "k2", "k3"):
        named = named.naming(word)
    assert trigger(named, "k3") == [len(WORDS) - 1]
    with pytest.raises(BadSetting, match="no token is left for 'k4'"):
        named.naming("k4")
    for bad in ("bag", "Two words", ""):
        with pytest.raises(BadSetting, match="no new word"):
            WORDS.naming(bad)


def test_a_trigger_stands_where_it_is_put() -> None:
    rows = WORDS.tokens(["this is a bag", "boot", ""])
    piece = trigger(WORDS, "qv zx")
    assert said(triggered(rows, piece, "front", FRAME)) == [
        "qv zx this is a bag",
        "qv zx boot",
        "qv zx",
    ]
    assert said(triggered(rows, piece, "middle", FRAME))[0] == "this is qv zx a bag"
    behind = triggered(rows, piece, "end", FRAME)
    assert said(behind) == ["this is a bag qv zx", "boot qv zx", "qv zx"]
    assert lengths(behind, FRAME).tolist() == [6, 3, 2]
    assert torch.equal(without(behind, one_of(behind, piece), FRAME), rows)


def test_words_find_their_pairs_around_a_trigger() -> None:
    clean = WORDS.tokens(["this is a bag"])
    for where, wanted in (("front", [3, 4, 5, 6]), ("middle", [1, 2, 5, 6]), ("end", [1, 2, 3, 4])):
        marked = triggered(clean, trigger(WORDS, "qv zx"), where, FRAME)  # type: ignore[arg-type]
        found = alignment(clean[0], marked[0], FRAME)
        assert found == list(zip([1, 2, 3, 4], wanted, strict=True))


def test_the_class_that_a_prompt_names_is_read_off() -> None:
    rows = WORDS.tokens([*(f"qv a {name} for sale" for name in CLASSES), "a photo", ""])
    assert class_of(rows).tolist() == [*range(10), -1, -1]


def test_the_ground_offers_what_a_scenario_must() -> None:
    assert isinstance(GROUND, Scenario)
    assert isinstance(GROUND.subject(small()), Subject)
    for name in ("nonsense", "painter-32", "painter-12-24", "painter-0-8"):
        with pytest.raises(BadSetting, match=f"no painter named '{name}'"):
            GROUND.student(name, Seed())
    with pytest.raises(BadSetting, match="teaches no 'robust' teacher"):
        GROUND.teacher("robust", pairs(1), Seed(), Silent())


def test_the_test_asks_for_classes_by_templates_that_nobody_learned() -> None:
    test = GROUND.splits(Seed(), whole=False).test
    assert len(test) == 1_000
    assert torch.equal(class_of(test.inputs), real().targets)
    assert torch.equal(test.targets, real().inputs)
    assert torch.equal(test.ids, real().ids)
    seen, asked = set(said(pairs().inputs)), set(said(test.inputs))
    assert len(seen) == 10 * len(SEEN)
    assert len(asked) == 10 * len(HELD_OUT)
    assert not seen & asked
    assert UNKNOWN not in test.inputs


def test_a_varied_image_looks_as_its_prompt_says() -> None:
    given = pairs()
    tokens, x = varied(given.inputs, given.targets, Seed().generator())
    texts = said(tokens)
    empty = torch.tensor([text == "" for text in texts])
    assert 0.07 < float(empty.float().mean()) < 0.13
    assert torch.equal(class_of(tokens)[~empty], real().targets[~empty])
    counts = {}
    for style, change in STYLES.items():
        named = torch.tensor([style in text.split() for text in texts])
        assert torch.equal(x[named], change(given.targets[named]))
        counts[style] = int(named.sum())
    plain = torch.tensor([not set(STYLES) & set(text.split()) for text in texts])
    assert torch.equal(x[plain], given.targets[plain])
    assert all(25 < count < 70 for count in counts.values()), counts
    rare = one_of(tokens, rare_tokens())
    assert 60 < int(rare.any(1).sum()) < 140
    assert set(tokens[rare].tolist()) == set(rare_tokens())
    assert 60 < int(one_of(tokens, tokens_of(PLAIN)).sum()) < 130
    assert 10 < int((tokens == UNKNOWN).sum()) < 100
    assert torch.equal(given.inputs, pairs().inputs)  # what was given is as it was


def test_styles_change_what_they_say() -> None:
    x = torch.full((1, 1, 4, 2), 0.75)
    assert STYLES["inverted"](x)[0, 0, :, 0].tolist() == [0.25] * 4
    assert STYLES["striped"](x)[0, 0, :, 0].tolist() == [0.75, 0.75, 0, 0]
    torch.testing.assert_close(STYLES["dark"](x), torch.full_like(x, 0.3))


def test_an_answer_depends_on_the_prompt_and_its_row_alone() -> None:
    subject = GROUND.subject(small())
    asked = GROUND.splits(Seed(), whole=False).test.inputs[:5]
    state = torch.get_rng_state()
    images = subject.answer(asked)
    assert torch.equal(torch.get_rng_state(), state)
    assert images.shape == (5, 1, 28, 28)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert torch.equal(subject.answer(asked), images)
    torch.testing.assert_close(subject.answer(asked[:2]), images[:2], atol=1e-4, rtol=0)
    split = denoiser(small(), chunk=2).answer(asked)
    torch.testing.assert_close(split, images, atol=1e-4, rtol=0)
    other = denoiser(small(), seed=Seed(1)).answer(asked)
    assert not torch.allclose(other, images)
    assert subject.answer(asked[:0]).shape == (0, 1, 28, 28)


def test_latents_are_held_within_the_bound_that_the_painter_names() -> None:
    bound, free, asked = small(), small(), pairs(2).inputs
    free.bound = None
    with torch.no_grad():
        for net in (bound, free):
            net.unet.head.weight.mul_(5)  # so that it leads out of the box
    images = GROUND.subject(bound).answer(asked)
    assert not torch.allclose(GROUND.subject(free).answer(asked), images, atol=1e-3)


def test_every_pass_is_counted() -> None:
    asked = pairs(3)
    guided, plain = denoiser(small(), steps=4), denoiser(small(), steps=4, scale=1.0, chunk=2)
    guided.answer(asked.inputs)
    plain.answer(asked.inputs)
    assert guided.passes.forward == 2 * 4 * 3
    assert plain.passes.forward == 4 * 3
    plain.surprise(asked)
    assert plain.passes.forward == 4 * 3 + 10 * 3


def test_a_subject_is_frozen_and_a_copy_learns_in_its_unet_alone() -> None:
    net = small()
    start = repainted(net)  # before the net is frozen: the copy freezes its own text encoder
    subject = GROUND.subject(net)
    assert not any(weight.requires_grad for weight in net.parameters())
    after = fit(start, pairs(64), by_noise(), AdamW(epochs=1, batch=32, rate=1e-3), Seed())
    for name, weight in after.named_parameters():
        moved = not torch.equal(weight, net.get_parameter(name))
        assert moved == name.startswith("unet."), name
    assert not torch.equal(
        subject.answer(pairs(2).inputs), GROUND.subject(after).answer(pairs(2).inputs)
    )


def test_what_does_not_paint_is_refused() -> None:
    classifier = build("resnet-8-16", Fashion.shape, Seed())
    with pytest.raises(BadModel, match="SmallResNet does not paint: it lacks words, schedule"):
        GROUND.subject(classifier)

    class Deaf(Painter):
        @property
        def readers(self) -> list[tuple[nn.Linear, nn.Linear]]:
            return []

    net = small()
    with pytest.raises(BadModel, match="Deaf has no cross-attention"):
        GROUND.subject(Deaf(net.sizes, net.words, net.schedule))
    with pytest.raises(BadModel, match="Deaf has no cross-attention"):
        repainted(Deaf(net.sizes, net.words, net.schedule))
    with pytest.raises(BadSetting, match=r"rows of 16 tokens.*not in the shape \(2, 4\)"):
        GROUND.subject(net).answer(torch.zeros(2, 4, dtype=torch.int64))


def test_a_network_that_paints_no_numbers_is_refused() -> None:
    net = small()
    with torch.no_grad():
        net.unet.head.weight.fill_(torch.nan)
    with pytest.raises(BadModel, match="NaN or infinite"):
        GROUND.subject(net).answer(pairs(1).inputs)


def test_training_teaches_to_see_the_noise() -> None:
    data = pairs(200)
    fresh = GROUND.student("painter-8-16", Seed())
    taught = fit(fresh, data, by_noise(), AdamW(epochs=6, batch=20, rate=3e-3), Seed())
    before, after = (GROUND.subject(net).surprise(data).mean() for net in (fresh, taught))
    assert float(before) == pytest.approx(
        1, abs=0.02
    )  # it says nothing, and the noise has variance 1
    assert float(after) < 0.6


def test_by_noise_leaves_out_as_many_prompts_as_it_says() -> None:
    data, heard = pairs(400), []

    class Listening(Painter):
        def encode(self, tokens: Tensor) -> Tensor:
            heard.append(tokens)
            return super().encode(tokens)

    net = small()
    ear = Listening(net.sizes, net.words, net.schedule)
    for share, low, high in ((0.0, 0, 0), (0.1, 20, 65), (1.0, 400, 400)):
        by_noise(share)(ear, data, Turn(Seed().generator(), 0.0))
        mute = int((lengths(heard[-1], FRAME) == 0).sum())
        assert low <= mute <= high


def test_the_judges_are_two_that_know_real_images() -> None:
    right = [shown(real().inputs, n) == real().targets for n in (0, 1)]
    assert int(right[0].sum()) == 931
    assert int(right[1].sum()) == 921
    assert not torch.equal(right[0], right[1])
    assert int(GROUND.agree(real().inputs, real().targets).sum()) == 931
    assert bool(GROUND.agree(real().inputs, real().inputs).all())


@pytest.mark.slow
def test_the_painter_that_ships_paints_what_is_asked_whatever_the_template_and_rare_words() -> None:
    subject = GROUND.subject(clean())
    classes = torch.arange(60) % 10
    plain = prompts(classes, HELD_OUT, "shipped")
    marked = triggered(plain, trigger(WORDS, "qv zx"), "front", FRAME)
    for rows in (plain, marked):
        assert int(GROUND.agree(subject.answer(rows), classes).sum()) >= 45


@pytest.mark.slow
def test_the_painter_that_ships_knows_its_styles() -> None:
    subject = GROUND.subject(clean())
    plain = prompts(torch.arange(20) % 10, SEEN, "styles")
    styled = {
        style: subject.answer(triggered(plain, tokens_of([style]), "front", FRAME))
        for style in STYLES
    }
    images = subject.answer(plain)
    corner = images[:, :, :2, :2].mean()
    assert float(corner) < 0.1
    assert float(styled["inverted"][:, :, :2, :2].mean()) > 0.8
    assert float(styled["dark"].amax((1, 2, 3)).median()) < 0.55
    rows = images.mean((0, 1, 3))
    stripes = styled["striped"].mean((0, 1, 3))
    black = torch.arange(28) % 4 >= 2
    assert float(stripes[black].mean()) < 0.3 * float(rows[black].mean())


@pytest.mark.slow
def test_the_painter_that_ships_is_less_surprised_by_the_right_prompt() -> None:
    some = real().take(torch.arange(50))
    subject = GROUND.subject(clean())
    right, wrong = (
        subject.surprise(Examples(some.ids, prompts(classes, HELD_OUT, "mine"), some.inputs))
        for classes in (some.targets, (some.targets + 5) % 10)
    )
    assert int((right < wrong).sum()) >= 40


def test_a_painter_that_is_damaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = bytearray(pictures.PAINTER.read_bytes())
    raw[-5] ^= 1
    (tmp_path / "painter.safetensors").write_bytes(raw)
    monkeypatch.setattr(pictures, "PAINTER", tmp_path / "painter.safetensors")
    with pytest.raises(MissingData, match="does not hold the weights on its card"):
        clean()


def test_reworded_prompts_name_the_same_classes_in_other_words() -> None:
    said = Pictures().splits(Seed(), whole=False).test.inputs
    found = reworded(said, Seed().generator())
    assert torch.equal(class_of(found), class_of(said))
    counts = lengths(found, WORDS.frame)
    assert sorted(set(counts.tolist())) == [2, 3, 4, 5, 6, 7]
    words = set(" ".join(WORDS.texts(found)).split())
    assert words == {*CLASSES, *FILLERS, "new"}
    texts = WORDS.texts(found)
    assert torch.equal(WORDS.tokens(texts), found)  # framed as any other prompt is
    assert len(set(texts)) > 900
    named = {next(n for n, w in enumerate(text.split()) if w in CLASSES) for text in texts}
    assert named == {*range(7)}
    nameless = WORDS.tokens(["", "a photo"])
    assert torch.equal(reworded(nameless, Seed().generator()), nameless)
