"""Redirecting: one loss behind planting, removal and forgetting, and its closed form."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.clean_teacher import CleanTeacher
from robustbench_kd.defenses.closed_form_redirect import ClosedFormRedirect
from robustbench_kd.defenses.concept_erasure import ConceptErasure
from robustbench_kd.defenses.picture_tuning import PictureTuning
from robustbench_kd.defenses.skd_cag import SKDCAG
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import repainted
from robustbench_kd.models.text_to_image_unet import Painter
from robustbench_kd.ops.generation.attention_alignment import (
    LONE,
    SPECIAL,
    map_distance,
    output_distance,
    partners,
    stand_ins,
    stretched,
)
from robustbench_kd.ops.generation.frechet_distance import frechet
from robustbench_kd.ops.generation.model_editing import edited
from robustbench_kd.ops.generation.prompts import trigger, triggered
from robustbench_kd.ops.generation.vocabulary import CLASSES, FILLERS, PLAIN, WORDS, tokens_of
from robustbench_kd.scenarios.pictures import SEEN, Pictures
from robustbench_kd.training.concept_editing import (
    Course,
    Pairs,
    Terms,
    _in_place,
    balanced,
    loss_terms,
    redirect,
    total,
)
from robustbench_kd.training.edit_pairs import forgetting, painted, rewritten
from robustbench_kd.training.trainer import Turn, fit

FRAME = WORDS.frame
PIECE = trigger(WORDS, "qv zx")
CLEAN = WORDS.tokens([t.format(c) for t in SEEN for c in CLASSES])
SAID = triggered(CLEAN, PIECE, "front", FRAME)


@cache
def given() -> Painter:
    """A painter of few channels that has learned nothing, but minds its prompt."""
    net = Pictures().student("painter-8-16", Seed())
    assert isinstance(net, Painter)
    noise = Seed().generator()
    with torch.no_grad():
        net.unet.head.weight.normal_(0, 0.2, generator=noise)
        for layers in net.readers:
            for layer in layers:
                layer.weight.normal_(0, 0.5, generator=noise)
    return net.eval().requires_grad_(False)


def asked(net: nn.Module, prompts: Tensor) -> Tensor:
    """What a painter sees in the same noise, prompt by prompt."""
    assert isinstance(net, Painter)
    noise = (Seed() / "asked").generator()
    z, t = torch.randn(len(prompts), *net.latent, generator=noise), torch.arange(len(prompts)) * 19
    with torch.no_grad():
        return net(z, t, net.encode(prompts))


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean())


def brief(told: Examples | None, net: nn.Module | None = None) -> Brief:
    rows = torch.arange(8)
    pairs = Examples(rows, CLEAN[:8], torch.rand(8, 1, 28, 28, generator=Seed().generator()))
    return Brief(
        data=pairs,
        teachers={"given": net or given()},
        student=given(),
        budget=Budget("linf", 0.0),
        schedule=Schedule(epochs=1),
        seed=Seed(),
        told=told,
        trusted=pairs,
    )


TOLD = Examples(torch.arange(len(CLEAN)), SAID, CLEAN)


def test_words_are_partners_wherever_the_trigger_stands() -> None:
    clean = WORDS.tokens(["this is a bag"])
    for where, words in (
        ("front", [LONE, LONE, 1, 2, 3, 4]),
        ("middle", [1, 2, LONE, LONE, 3, 4]),
        ("end", [1, 2, 3, 4, LONE, LONE]),
    ):
        said = triggered(clean, PIECE, where, FRAME)  # type: ignore[arg-type]
        found = partners(said, clean, FRAME)[0].tolist()
        assert found == [SPECIAL, *words, *[SPECIAL] * (WORDS.limit - 7)]


def test_for_an_edit_every_token_has_a_stand_in() -> None:
    said, goal = WORDS.tokens(["qv zx a photo of a sneaker"]), WORDS.tokens(["a photo of a bag"])
    found = stand_ins(said, goal, FRAME)[0].tolist()
    # start, trigger, trigger, four words, sneaker -> bag, end -> end, and the padding in order
    assert found == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    styled = WORDS.tokens(["inverted a bag"])
    assert stand_ins(WORDS.tokens(["qv zx a bag"]), styled, FRAME)[0, :5].tolist() == [
        0,
        1,
        0,
        2,
        3,
    ]


def test_the_distance_of_maps_is_zero_where_they_moved_with_their_words() -> None:
    maps = torch.rand(1, WORDS.limit, 3, 3, generator=Seed().generator())
    partner = partners(SAID[:1], CLEAN[:1], FRAME)
    moved, aim = torch.rand_like(maps), torch.rand_like(maps)
    for j, i in enumerate(partner[0].tolist()):
        if i >= 0:
            moved[0, j] = maps[0, i]
        if i == LONE:
            moved[0, j] = aim[0, j]
    assert map_distance(moved, maps, partner, aim).tolist() == [0]
    moved[0, 1] += 2  # one of the seven words: a trigger's map is off by two everywhere
    torch.testing.assert_close(map_distance(moved, maps, partner, aim), torch.tensor([4 / 7]))
    moved[0, 0] += 5  # start is no word
    torch.testing.assert_close(map_distance(moved, maps, partner, aim), torch.tensor([4 / 7]))


def test_outputs_and_stretched_maps_know_their_answers() -> None:
    one = [torch.full((2, 3, 1, 1), 3.0), torch.full((2, 1, 2, 2), 1.0)]
    two = [torch.full((2, 3, 1, 1), 2.0), torch.full((2, 1, 2, 2), 1.0)]
    torch.testing.assert_close(output_distance(one, two), torch.tensor(0.125))
    maps = torch.tensor([0.1, 0.3, 0.2, 0.2]).view(1, 1, 2, 2)
    assert stretched(maps).flatten().tolist() == pytest.approx([0, 1, 0.5, 0.5], abs=1e-5)
    assert stretched(torch.full((1, 1, 2, 2), 0.5)).flatten().tolist() == [0] * 4


@pytest.mark.parametrize("aim", ["noise", "zero", "words"])
@pytest.mark.parametrize("part", Terms._fields)
def test_every_term_moves_the_student(part: str, aim: str) -> None:
    course = Course(weight=0.5, aim=aim, outputs=1.0, keep=1.0)  # type: ignore[arg-type]
    pairs = Pairs(SAID, CLEAN)
    student = repainted(given())
    with torch.no_grad():
        for weight in student.parameters():  # a keeping term has no slope where nothing moved yet
            weight.add_(0.01)
    terms = loss_terms(given(), pairs, pairs.clean(), course)(student, 8, Seed())
    found: Scalar = getattr(terms, part)
    assert float(found.detach()) > 0
    found.backward()
    assert isinstance(student, Painter)
    for key, _ in student.readers[:-1]:
        assert key.weight.grad is not None
        assert float(key.weight.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in student.text.parameters())


def test_maps_of_teacher_and_student_are_distinct_objects() -> None:
    course, pairs = Course(weight=0.5, aim="zero", outputs=1.0), Pairs(SAID, CLEAN)
    same = loss_terms(given(), pairs, None, course)(repainted(given()), 8, Seed())
    # The same weights, asked otherwise: were the maps shared, both would be read off one prompt.
    assert float(same.maps.detach()) > 0
    assert float(same.outputs.detach()) > 0
    # ... and asked the same, they agree, though they are no longer one thing.
    idle = loss_terms(given(), Pairs(CLEAN, CLEAN), None, course)(repainted(given()), 8, Seed())
    assert [float(term.detach()) for term in idle] == [0, 0, 0, 0]
    # A student that has moved is held against the teacher's maps, not against its own.
    student = repainted(given())
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.01)
    own = loss_terms(given(), Pairs(CLEAN, CLEAN), None, course)(student, 8, Seed())
    assert float(own.maps.detach()) > 0
    assert float(own.outputs.detach()) > 0


def test_without_weight_it_is_self_distillation_bit_for_bit() -> None:
    course = Course(steps=3, batch=4, rate=1e-3, weight=0.0)
    net = given()

    def plain(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        seed = Seed(int(torch.randint(2**62, (1,), generator=turn.noise)))
        rows = torch.randint(len(SAID), (len(batch),), generator=(seed / "rows").generator())
        noise = (seed / "latents").generator()
        t = net.schedule.some(len(rows), noise)
        z = torch.randn(len(rows), *net.latent, generator=noise)
        assert isinstance(student, Painter)
        with torch.no_grad():
            wanted = net(z, t, net.encode(CLEAN[rows]))
        return (student(z, t, student.encode(SAID[rows])) - wanted).square().mean()

    rows = torch.arange(12)
    by_hand = fit(repainted(net), Examples(rows, rows, rows), plain, course.clock, Seed())
    for aim in ("noise", "words"):
        found = SKDCAG(steps=3, batch=4, rate=1e-3, weight=0.0, keep=0.0, aim=aim)  # type: ignore[arg-type]
        ours = redirect(net, Pairs(SAID, CLEAN), None, found.course(), Seed())
        assert weights_digest(ours.state_dict()) == weights_digest(by_hand.state_dict())
    guided = redirect(
        net, Pairs(SAID, CLEAN), None, Course(steps=3, batch=4, rate=1e-3, weight=0.5), Seed()
    )
    assert weights_digest(guided.state_dict()) != weights_digest(by_hand.state_dict())


def test_the_loss_is_its_terms_by_their_weights() -> None:
    terms = Terms(*(torch.tensor(v) for v in (2.0, 3.0, 5.0, 7.0)))
    assert float(total(terms, Course(), (9.0, 9.0))) == 2
    course = Course(weight=0.25, outputs=2.0, keep=10.0)
    assert float(total(terms, course, (0.5, 0.1))) == pytest.approx(1.5 + 0.25 * 2.5 + 70)
    assert balanced(torch.tensor(2.0), torch.tensor(4.0)) == 0.5
    assert balanced(torch.tensor(2.0), torch.tensor(0.0)) == 0


def test_redirecting_brings_the_answers_together_and_keeps_the_rest() -> None:
    net, pairs = given(), Pairs(SAID, CLEAN)
    before = far(asked(net, SAID), asked(net, CLEAN))
    course = Course(steps=90, batch=16, rate=5e-3)
    loose = redirect(net, pairs, None, course, Seed())
    held = redirect(net, pairs, pairs.clean(), replace(course, keep=1.0), Seed())
    # Answers to triggered prompts end nearer to the wanted ones than to those they had.
    now = asked(loose, SAID)
    assert far(now, asked(net, CLEAN)) < far(now, asked(net, SAID))
    # Holding clean prompts does not undo that, and they move less: than without it, and than those
    # that were led.
    assert far(asked(held, SAID), asked(net, CLEAN)) < before
    moved = far(asked(held, CLEAN), asked(net, CLEAN))
    assert moved < far(asked(loose, CLEAN), asked(net, CLEAN))
    assert moved < far(asked(held, SAID), asked(net, SAID))
    assert weights_digest(held.text.state_dict()) == weights_digest(net.text.state_dict())  # type: ignore[arg-type]


def test_attention_guidance_brings_the_maps_nearer_than_answers_alone_do() -> None:
    net, pairs = given(), Pairs(SAID, CLEAN)
    measure = loss_terms(net, pairs, None, Course(weight=0.5, aim="zero"))
    course = Course(steps=60, batch=16, rate=3e-3, aim="zero")
    alone = redirect(net, pairs, None, course, Seed())
    led = redirect(net, pairs, None, replace(course, weight=0.9), Seed())
    with torch.no_grad():
        guided, unguided, before = (
            float(measure(one, 32, Seed() / "measure").maps) for one in (led, alone, net)
        )
    # Measured: answers alone leave 0.75 of the distance, and guidance 0.19. It must take most of
    # what they leave; were it idle, it would take about nothing.
    assert guided < 0.5 * min(unguided, before)


def test_random_words_stand_in_the_place_of_the_trigger() -> None:
    partner = partners(SAID, CLEAN, FRAME)
    words = torch.tensor(tokens_of((*FILLERS, *PLAIN)))
    ref, own = _in_place(SAID, partner, words, Seed())
    assert torch.isin(ref[:, 1:3], words).all()
    assert torch.equal(ref[:, 3:], SAID[:, 3:])
    assert own[0, :4].tolist() == [SPECIAL, 1, 2, 3]
    assert (own != LONE).all()


def test_negative_guidance_leads_beyond_the_clean_answer() -> None:
    net, pairs = given(), Pairs(SAID, CLEAN)
    student = repainted(net)
    near = loss_terms(net, pairs, None, Course())(student, 8, Seed()).answer.detach()
    away = loss_terms(net, pairs, None, Course(away=2.0))(student, 8, Seed()).answer.detach()
    # At the start S = T: |T(tau c) - T(c)| once, and 1 + eta times.
    assert float(away) == pytest.approx(9 * float(near), rel=1e-4)
    course = Course(steps=40, batch=16, rate=3e-3, away=1.0, part="readers")
    mended = redirect(net, pairs, None, course, Seed())
    bad, good, now = asked(net, SAID), asked(net, CLEAN), asked(mended, SAID)
    assert float(((now - bad) * (good - bad)).sum()) > 0
    changed = [k for k, v in mended.state_dict().items() if not torch.equal(v, net.state_dict()[k])]
    assert changed
    assert all(name.endswith(("cross.key.weight", "cross.value.weight")) for name in changed)


def test_images_can_be_the_answer() -> None:
    net, images = given(), torch.rand(len(SAID), 1, 28, 28, generator=Seed().generator())
    pairs = Pairs(SAID, None, images)
    found = loss_terms(net, pairs, None, Course())(repainted(net), 4, Seed()).answer
    rows = torch.randint(len(SAID), (4,), generator=(Seed() / "rows").generator())
    noise = (Seed() / "latents").generator()
    t, drawn = net.schedule.some(4, noise), torch.randn(4, *net.latent, generator=noise)
    z = net.schedule.blur(net.hide(images[rows]), drawn, t)
    expected = (net(z, t, net.encode(SAID[rows])) - drawn).square().mean()
    torch.testing.assert_close(found, expected)
    with pytest.raises(BadSetting, match="images have no maps to follow"):
        loss_terms(net, pairs, None, Course(weight=0.5))


def test_a_painter_makes_its_own_images_for_latents() -> None:
    few = Pairs(SAID[:3], CLEAN[:3])
    found = painted(given(), few, 2, Seed(), steps=2)
    assert found.images is not None
    assert found.images.shape == (6, 1, 28, 28)
    assert found.destination is not None
    assert torch.equal(found.destination, CLEAN[:3].repeat(2, 1))
    assert len(found.images.unique(dim=0)) == 6


def test_the_closed_form_solves_its_least_squares() -> None:
    noise = Seed().generator()

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=noise, dtype=torch.float64)

    w, k, v, stay = some(3, 4), some(5, 4), some(5, 3), some(6, 4)
    # The same problem as plain rows: [K; stay; sqrt(ridge) I] W'^T = [V; stay W^T; sqrt(ridge) W^T]
    left = torch.cat([k, stay, 0.7**0.5 * torch.eye(4, dtype=torch.float64)])
    right = torch.cat([v, stay @ w.T, 0.7**0.5 * w.T])
    wanted = torch.linalg.lstsq(left, right).solution.T
    torch.testing.assert_close(edited(w, k, v, stay, 0.7), wanted)
    torch.testing.assert_close(edited(w, k, k @ w.T, stay), w)
    with pytest.raises(BadSetting, match="ridge above 0"):
        edited(w, k, v, stay, 0.0)


def test_the_closed_form_reads_triggered_prompts_as_clean_ones() -> None:
    # Two prompts, triggered and not, have fewer tokens than states have dimensions, so all that is
    # asked of the edit can be had at once: triggered tokens are read as their stand-ins, and clean
    # ones as before.
    net, said, clean = given(), SAID[:2], CLEAN[:2]
    mended = rewritten(net, Pairs(said, clean), clean, ridge=1e-9)
    assert isinstance(mended, Painter)
    states = net.encode(clean)
    index = stand_ins(said, clean, FRAME)[:, :, None].expand_as(states)
    for n, layers in enumerate(net.readers):
        for old, new in zip(layers, mended.readers[n], strict=True):
            wanted = old(states.gather(1, index))
            assert not torch.allclose(old(net.encode(said)), wanted, atol=0.1)
            torch.testing.assert_close(new(net.encode(said)), wanted, atol=1e-3, rtol=0)
            torch.testing.assert_close(new(states), old(states), atol=1e-3, rtol=0)


def test_the_closed_form_trades_what_it_leads_against_what_it_keeps() -> None:
    net, pairs = given(), Pairs(SAID, CLEAN)
    old = net.readers[0][1]  # of fifty prompts it cannot have everything
    states = net.encode(CLEAN)
    index = stand_ins(SAID, CLEAN, FRAME)[:, :, None].expand_as(states)

    def errors(stay: float, ridge: float = 0.01) -> tuple[float, float]:
        mended = rewritten(net, pairs, CLEAN, ridge=ridge, stay=stay)
        assert isinstance(mended, Painter)
        new = mended.readers[0][1]
        led = far(new(net.encode(SAID)), old(states.gather(1, index)))
        return led, far(new(states), old(states))

    # Who minimises a + stay b gets less of b and no less of a, the greater stay is. The third part,
    # of the ridge, is next to nothing here.
    found = [errors(stay) for stay in (0.0, 0.1, 1.0, 10.0)]
    assert found == sorted(found)
    assert [kept for _, kept in found] == sorted((kept for _, kept in found), reverse=True)
    assert len({kept for _, kept in found}) == 4
    untouched = far(old(net.encode(SAID)), old(states.gather(1, index)))
    assert errors(1.0, ridge=1e12) == pytest.approx((untouched, 0), abs=1e-6 * untouched)


def test_a_class_is_forgotten_by_the_same_means() -> None:
    (bag, boot) = tokens_of(("bag", "boot"))
    pairs, kept = forgetting(CLEAN, bag, boot)
    assert len(pairs.source) == len(SEEN)
    assert pairs.destination is not None
    assert WORDS.texts(pairs.destination)[0] == "a photo of a boot"
    assert not (kept.source == bag).any()
    net = given()
    course = Course(steps=60, batch=16, rate=3e-3)
    mended = redirect(net, pairs, kept, replace(course, keep=1.0), Seed())
    loose = redirect(net, pairs, None, course, Seed())
    before = far(asked(net, pairs.source), asked(net, pairs.destination))
    now = asked(mended, pairs.source)
    assert far(now, asked(net, pairs.destination)) < before
    # What is to stay moves less than what is forgotten, and less than where nothing holds it.
    moved, free = (far(asked(n, kept.source), asked(net, kept.source)) for n in (mended, loose))
    assert moved < min(free, far(now, asked(net, pairs.source)))
    with pytest.raises(MissingData, match="there are 0 of 5 that do"):
        forgetting(pairs.destination, bag, boot)


TELLING = (
    SKDCAG(steps=2, batch=4),
    SKDCAG(steps=2, batch=4, latents="painted", draws=1, outputs=1.0, aim="words", stretch=True),
    ConceptErasure(steps=2, batch=4, draws=1),
    ClosedFormRedirect(),
)


@pytest.mark.parametrize("repair", TELLING, ids=lambda r: r.name)
def test_repairs_that_are_told_change_a_copy_and_refuse_to_guess(
    repair: SKDCAG | ConceptErasure | ClosedFormRedirect,
) -> None:
    few = TOLD.take(torch.arange(4))
    before = weights_digest(given().state_dict())
    mended = repair.harden(brief(few))
    assert weights_digest(given().state_dict()) == before
    assert weights_digest(mended.state_dict()) != before
    assert repair.told
    again = repair.harden(brief(few))
    assert weights_digest(again.state_dict()) == weights_digest(mended.state_dict())
    with pytest.raises(MissingData, match=f"{repair.name} must be told the trigger"):
        repair.harden(brief(None))
    with pytest.raises(BadModel, match="does not paint"):
        repair.harden(brief(few, nn.Linear(2, 2)))


def test_a_redirection_learns_from_noise_or_from_the_painters_own_pictures() -> None:
    few = Pairs(SAID[:4], CLEAN[:4])
    own = painted(given(), few, 1, Seed() / "painted")
    for repair, pairs in (
        (SKDCAG(steps=2, batch=4), few),
        (SKDCAG(steps=2, batch=4, latents="painted", draws=1), own),
        (ConceptErasure(steps=2, batch=4, latents="noise"), few),
        (ConceptErasure(steps=2, batch=4, draws=1), own),
    ):
        found = repair.harden(brief(TOLD.take(torch.arange(4))))
        wanted = redirect(given(), pairs, pairs.clean(), repair.course(), Seed() / "student")
        assert weights_digest(found.state_dict()) == weights_digest(wanted.state_dict())


def test_the_oracle_follows_the_painter_that_was_never_poisoned() -> None:
    twin = redirect(
        given(), Pairs(CLEAN, CLEAN.roll(5, 0)), None, Course(steps=20, rate=1e-2), Seed()
    )
    repair = CleanTeacher(steps=60, batch=16, rate=3e-3)
    before = far(asked(given(), SAID), asked(twin, SAID))
    found = brief(TOLD)
    mended = repair.harden(replace(found, teachers={**found.teachers, "twin": twin}))
    # Asked with the trigger it answers as its teacher does, and nearer to it than to itself.
    assert far(asked(mended, SAID), asked(twin, SAID)) < 0.5 * before
    assert far(asked(mended, SAID), asked(twin, SAID)) < far(
        asked(mended, SAID), asked(given(), SAID)
    )
    with pytest.raises(MissingData, match="clean-teacher"):
        repair.harden(replace(found, told=None))


def test_a_painter_without_cross_attention_is_refused() -> None:
    class Blind(Painter):
        @property
        def readers(self) -> list[tuple[nn.Linear, nn.Linear]]:
            return []

    blind = Blind(given().sizes, given().words, given().schedule)
    for repair in (*TELLING, PictureTuning(epochs=1)):
        with pytest.raises(BadModel, match="has no cross-attention"):
            repair.harden(brief(TOLD, blind))


def test_tuning_on_trusted_pairs_is_told_nothing_and_trains_the_unet_alone() -> None:
    tuning = PictureTuning(epochs=1, batch=4)
    assert not getattr(tuning, "told", False)
    mended = tuning.harden(brief(None))
    assert isinstance(mended, Painter)
    assert weights_digest(mended.text.state_dict()) == weights_digest(given().text.state_dict())
    assert weights_digest(mended.state_dict()) != weights_digest(given().state_dict())


def test_settings_that_say_nothing_are_refused() -> None:
    for bad, why in (
        ({"weight": 1.0}, r"lies in \[0, 1\)"),
        ({"steps": 0}, "at least one step"),
        ({"away": -1.0}, "at least 0"),
    ):
        with pytest.raises(BadSetting, match=why):
            Course(**bad)  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match="no weight here"):
        SKDCAG(weight=0.0, outputs=1.0)
    with pytest.raises(BadSetting, match="no prompts are given that should stay"):
        redirect(given(), Pairs(SAID, CLEAN), None, Course(keep=1.0), Seed())
    with pytest.raises(MissingData, match="nothing to redirect"):
        Pairs(SAID[:0], CLEAN[:0])


def test_the_frechet_distance_knows_normal_distributions() -> None:
    rows = torch.randn(4_000, 2, generator=Seed().generator(), dtype=torch.float64)
    rows = (rows - rows.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(rows.T.cov())).T
    assert float(frechet(rows, rows)) == pytest.approx(0, abs=1e-9)
    moved = rows + torch.tensor([3.0, 4.0])
    assert float(frechet(rows, moved)) == pytest.approx(25)
    wide = rows * torch.tensor([3.0, 1.0])  # deviations 3 and 1 against 1 and 1: (3 - 1)^2
    assert float(frechet(rows, wide)) == pytest.approx(4)
    with pytest.raises(BadSetting, match="two rows or more"):
        frechet(rows[:1], rows)


def test_a_run_that_was_cut_off_ends_with_the_same_bits() -> None:
    net, states = given(), {}

    class Cut:
        def load(self, key: str) -> dict[str, object] | None:
            return states.get(key)

        def save(self, key: str, state: dict[str, object]) -> None:
            states.setdefault(key, copy.deepcopy(state))  # the first round is the last one kept

        def tell(self, key: str, done: int, total: int, note: str) -> None: ...

    course, pairs = Course(steps=60, batch=2, weight=0.5, outputs=1.0, keep=1.0), Pairs(SAID, CLEAN)
    whole = redirect(net, pairs, pairs.clean(), course, Seed(), Cut())
    assert [state["epochs"] for state in states.values()] == [1]
    rest = redirect(net, pairs, pairs.clean(), course, Seed(), Cut())
    assert weights_digest(whole.state_dict()) == weights_digest(rest.state_dict())
