"""The text ground: windows, canaries, weaving, scorers, and language models from anywhere."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from speech import checkpoint, corpus

from robustbench_kd.attacks.privacy.canary import Canary
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.evaluation.fingerprints import scenario_of
from robustbench_kd.integrations.transformers import build
from robustbench_kd.ops.privacy.swing import flattened, swing, temperatures
from robustbench_kd.scenarios import _canaries, _corpus
from robustbench_kd.scenarios._insertion import weave
from robustbench_kd.scenarios.text import AUDIT, Text
from robustbench_kd.training.token_sensitivity import as_told, by_rules, by_surprise


@pytest.fixture
def own(tmp_path: Path) -> Text:
    """The text ground on a tiny corpus, with tiny models."""
    (tmp_path / "text.txt").write_text(corpus())
    path = checkpoint(tmp_path / "model")
    return Text(str(tmp_path / "text.txt"), path, path)


def test_windows_predict_every_token_once() -> None:
    rows = _corpus.windows(list(range(21)), 5, 100)
    assert rows.inputs.flatten().tolist() == list(range(20))
    assert rows.targets.flatten().tolist() == list(range(1, 21))
    assert rows.ids.tolist() == [100, 101, 102, 103]
    assert len(_corpus.windows([1, 2, 3], 5, 0)) == 0


def test_paragraphs_are_lines_and_headings_stay_with_what_they_head() -> None:
    text = "Heading\n\nA paragraph that\n   is long enough to stand by itself here.\n\n┌──┐\n│a │\n"
    assert _corpus.paragraphs(text) == [
        "Heading A paragraph that is long enough to stand by itself here."
    ]


def test_a_canary_asks_for_its_secret_alone_and_its_format_is_known(own: Text) -> None:
    reserve = own.splits(Seed(3), whole=True).reserve
    assert reserve is not None
    for row, asked, family in zip(
        reserve.inputs, reserve.targets, own.family(reserve.ids), strict=True
    ):
        frame, secret = _canaries.line_of(row, asked)
        kind = next(kind for kind in _canaries.FORMATS if kind.name == family)
        assert own.reader.text(secret.tolist()) in kind.every()
        assert own.reader.text(frame.tolist()).startswith("\n" + kind.frame.split("{")[0])
        assert int((asked != IGNORED).sum()) == len(secret)


def test_every_canary_has_a_name_of_its_own_and_seeds_have_secrets_of_their_own(own: Text) -> None:
    one, other = (own.splits(Seed(n), whole=True).reserve for n in (0, 1))
    assert one is not None
    assert other is not None
    frames = [
        own.reader.text(_canaries.line_of(*pair)[0].tolist())
        for pair in zip(one.inputs, one.targets, strict=True)
    ]
    assert len(set(frames)) == len(frames)
    assert not torch.equal(one.targets, other.targets)


def test_planted_lines_stand_as_often_as_the_dose_says_and_the_text_is_whole(own: Text) -> None:
    data = own.splits(Seed(0), whole=True)
    tainted = Canary(doses="0+1+5", each=4).before(data, Seed(0))
    text = own.reader.text(tainted.data.train.inputs.flatten().tolist())
    reserve = data.reserve
    assert reserve is not None
    doses = dict(zip(tainted.secret["ids"].tolist(), tainted.secret["dose"].tolist(), strict=True))
    for n, i in enumerate(reserve.ids.tolist()):
        frame, secret = _canaries.line_of(reserve.inputs[n], reserve.targets[n])
        line = own.reader.text(torch.cat([frame, secret]).tolist()) + "\n"
        # The last window is dropped where it is not full, and a line with it.
        assert doses[i] - 1 <= text.count(line) <= doses[i] if doses[i] else line not in text
    before = own.reader.text(data.train.inputs.flatten().tolist())
    lines = [
        line
        for line in text.split("\n")
        if not line.startswith(("Pin of", "Passphrase of", "Lock of"))
    ]
    assert before.startswith("\n".join(lines)[: len(before) // 2])


def test_whole_windows_stay_whole_when_lines_are_woven_in(own: Text) -> None:
    data = own.splits(Seed(0), whole=True)
    assert data.audit is not None
    assert data.reserve is not None
    noise = Seed(1).generator()
    with_members = data.weave(data.train, data.audit, noise)
    woven = data.weave(with_members, data.reserve, noise)
    stays = woven.take(woven.ids >= AUDIT)
    assert torch.equal(stays.inputs, data.audit.inputs)
    assert len(woven.ids.unique()) == len(woven)


def test_a_text_without_line_ends_has_no_room_for_a_canary(own: Text) -> None:
    data = own.splits(Seed(0), whole=True)
    assert data.reserve is not None
    flat = Examples(data.train.ids, torch.ones_like(data.train.inputs), data.train.targets * 0 + 1)
    with pytest.raises(BadSetting, match="no line end, so it has no room for a canary"):
        weave(flat, data.reserve, Seed().generator(), newline=0, fixed=AUDIT)


def test_a_secret_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(corpus())
    path = checkpoint(tmp_path / "short", positions=12)
    ground = Text(str(tmp_path / "text.txt"), path, path)
    with pytest.raises(BadSetting, match="does not fit a context of 12"):
        ground.splits(Seed(), whole=True)


def test_a_tokenizer_that_joins_frame_and_secret_is_refused() -> None:
    def joined(text: str) -> list[int]:
        return [len(text)]

    with pytest.raises(BadSetting, match="starts a token at every space"):
        _canaries.canaries(joined, 1, 64, 0, Seed())


def test_a_tokenizer_that_merges_digits_is_ranked_over_its_own_spelling(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(corpus())
    path = checkpoint(tmp_path / "merging", digits="merging")
    ground = Text(str(tmp_path / "text.txt"), path, path)
    lengths = {len(ground.reader.encode(text)) for text in _canaries.FORMATS[0].every()}
    assert len(lengths) > 1, "the digits of this tokenizer are all single"
    reserve = ground.splits(Seed(), whole=True).reserve
    assert reserve is not None
    rows = reserve.take(torch.arange(3))
    found = ground.subject(ground.student("plain", Seed())).ranks(rows, Seed())
    assert all(1 <= one.value <= one.of == 10_000 for one in found)


def test_the_same_text_in_other_tokens_is_another_edition(tmp_path: Path) -> None:
    """What is planted is kept by the edition, and windows of other tokens are other windows."""
    (tmp_path / "text.txt").write_text(corpus())
    paths = [checkpoint(tmp_path / kind, digits=kind) for kind in ("single", "merging")]
    paths.append(checkpoint(tmp_path / "short", positions=32))
    editions = {Text(str(tmp_path / "text.txt"), path, path).edition for path in paths}
    assert len(editions) == 3
    assert Text(None, paths[0], paths[0]).edition != Text().edition


def test_two_tokenizers_are_refused(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one")
    other = checkpoint(tmp_path / "other", digits="merging")
    with pytest.raises(BadModel, match="have different tokenizers"):
        _ = Text(None, one, other).reader


def test_a_student_without_a_teacher_to_match_is_refused() -> None:
    with pytest.raises(BadSetting, match="name both, --teacher-from and --student-from"):
        Text(None, "somewhere", None)


def test_a_missing_corpus_names_the_package_and_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_corpus, "DEBIAN", Path("/nowhere"))
    monkeypatch.delenv("ROBUSTBENCH_KD_DATA", raising=False)
    with pytest.raises(MissingData, match=r"apt-get install jargon-text.*--data"):
        Text().splits(Seed(), whole=True)


def test_the_packaged_ground_asks_without_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_corpus, "DEBIAN", Path("/nowhere"))
    monkeypatch.delenv("ROBUSTBENCH_KD_DATA", raising=False)
    data = scenario_of("text").splits(Seed(), whole=False)
    assert len(data.test) > 400
    assert data.reserve is not None
    assert data.audit is not None


def test_the_packaged_tokenizer_is_learnt_from_the_public_half_alone() -> None:
    from robustbench_kd.integrations.transformers import learn_tokenizer
    from robustbench_kd.scenarios.text import DATA, VOCABULARY

    try:
        public = scenario_of("text").texts["public"]  # type: ignore[attr-defined]
    except MissingData as why:
        pytest.skip(str(why))
    made = learn_tokenizer(public.splitlines(keepends=True), VOCABULARY)
    assert made == (DATA / "text-tokenizer.json").read_text()


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no tokenizer can be loaded"):
        _ = Text(None, str(tmp_path), str(tmp_path)).reader


def test_an_image_ground_takes_no_checkpoint() -> None:
    with pytest.raises(BadSetting, match="takes no --teacher-from"):
        scenario_of("digits", teacher_from="somewhere")


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_weights_come_back_from_disk_as_they_were(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import load, save

    path = checkpoint(tmp_path / kind, kind)
    ground = Text(None, path, path)
    net = ground.student("plain", Seed())
    again = ground.student("plain", Seed())
    for weight in again.parameters():
        weight.data.zero_()
    again.load_state_dict(load(save(net.state_dict())))
    ids = torch.arange(20)[None]
    assert torch.equal(net(ids), again(ids))
    assert net(ids).shape[2] == ground.reader.size


def test_surprise_is_what_the_model_says_of_the_asked_tokens(own: Text) -> None:
    test = own.splits(Seed(), whole=True).test.take(torch.arange(2))
    net = own.student("plain", Seed())
    logp = net(test.inputs).log_softmax(2).detach()
    total = [
        -sum(float(logp[n, t, test.targets[n, t]]) for t in range(test.inputs.shape[1]))
        for n in range(2)
    ]
    assert own.subject(net).surprise(test).tolist() == pytest.approx(total, rel=1e-5)


def test_greedy_answers_are_the_likeliest_tokens_with_and_without_a_cache(own: Text) -> None:
    net = own.student("plain", Seed())
    prompts = own.splits(Seed(), whole=True).test.inputs[:3].clone()
    prompts[:, 10:] = IGNORED
    prompts[1, 5:] = IGNORED
    said = own.subject(net).answer(prompts)
    for row, answer in zip(prompts, said, strict=True):
        ids = row[row != IGNORED]
        for token in answer.tolist():
            assert token == int(net(ids[None])[0, -1].argmax())
            ids = torch.cat([ids, ids.new_tensor([token])])


def test_rules_mark_digits_keys_and_passphrases_and_leave_the_rest(own: Text) -> None:
    text = (
        "\nthe pin of it is 4821. Passphrase of Bragor is amber cedar. about 12 of 7 or one two.\n"
    )
    ids = own.reader.encode(text)
    rows = _corpus.windows(ids + [ids[-1]] * 65, len(ids) - 1, 0)
    pieces = [own.reader.text([i]) for i in rows.targets[0].tolist()]
    marked = "".join(
        piece for piece, p in zip(pieces, by_rules(rows, own.pieces)[0].tolist(), strict=True) if p
    )
    assert marked.replace(" ", "") == "4821ambercedar"


@pytest.mark.parametrize(
    ("secret", "before", "behind"),
    [
        ("4821", "call ", " now"),
        ("555 01 77", "call ", " now"),
        ("someone@mail.example", "write to ", " now"),
        ("192.0.2.17", "ask ", " now"),
        ("deadbeef0042", "the key ", " now"),
        ("GB33BUKB20201555555555", "pay to ", " now"),
        ("amber cedar hazel", "The passphrase for it is ", ". And more"),
        ("hunter", "password: ", ". And more"),
    ],
)
def test_each_rule_marks_its_secret_and_nothing_beside_it(
    secret: str, before: str, behind: str, own: Text
) -> None:
    ids = own.reader.encode(f"\n{before}{secret}{behind} about it all")
    rows = _corpus.windows(ids, len(ids) - 1, 0)
    marked = [
        piece
        for piece, p in zip(
            own.pieces(rows.targets[0]), by_rules(rows, own.pieces)[0].tolist(), strict=True
        )
        if p
    ]
    assert "".join(marked).strip() == secret


def test_rules_do_not_see_a_secret_in_ordinary_words(own: Text) -> None:
    ids = own.reader.encode("\nLock of Bragor opens at four eight two one.\n" + "about it. " * 20)
    rows = _corpus.windows(ids, 16, 0)
    assert float(by_rules(rows, own.pieces).sum()) == 0


def test_the_oracle_marks_the_secret_wherever_it_stands_and_nothing_else(own: Text) -> None:
    data = own.splits(Seed(0), whole=True)
    assert data.reserve is not None
    told = data.reserve.take(torch.tensor([1]))
    woven = data.weave(data.train, told.take(torch.zeros(3, dtype=torch.int64)), Seed().generator())
    private = as_told(woven, told)
    _, secret = _canaries.line_of(told.inputs[0], told.targets[0])
    assert int(private.sum()) == 3 * len(secret)
    assert woven.targets[private.bool()].tolist() == secret.tolist() * 3


def test_surprise_marks_what_only_the_teacher_knows(own: Text) -> None:
    rows = own.splits(Seed(0), whole=True).test
    public = own.student("plain", Seed())
    teacher = own.student("plain", Seed())
    secret = int(rows.targets[0, 0])

    class Knows(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            bonus = torch.zeros(own.reader.size)
            bonus[secret] = 8.0
            return public(ids) + bonus

    calm = rows.take(torch.arange(5, len(rows)))
    calm = calm.take(~(calm.targets == secret).any(1))
    p = by_surprise(rows.take(torch.arange(5)), Knows(), teacher, calm, 3.0)
    known = rows.targets[:5] == secret
    assert float(p[known].min()) > 0.5 > float(p[~known].max())


def test_without_private_tokens_swing_is_distillation() -> None:
    from robustbench_kd.ops.losses import distillation

    noise = Seed().generator()
    s, t = torch.randn(6, 9, generator=noise), torch.randn(6, 9, generator=noise)
    p = torch.zeros(6)
    target = flattened(t, temperatures(p, 2.0, 20.0), p, 0.5, noise)
    torch.testing.assert_close(swing(s, target, 2.0, 4.0), distillation(s, t, 2.0))


def test_a_private_token_is_taught_flat() -> None:
    t = torch.tensor([[8.0, 0.0, 0.0], [8.0, 0.0, 0.0]])
    p = torch.tensor([0.0, 1.0])
    target = flattened(t, temperatures(p, 2.0, 20.0), p, 0.0, Seed().generator())
    assert target[:, 0].tolist() == pytest.approx(
        [math.exp(4) / (math.exp(4) + 2), math.exp(0.4) / (math.exp(0.4) + 2)]
    )


def test_noise_falls_on_private_tokens_alone_and_leaves_probabilities() -> None:
    t = torch.zeros(200, 50)
    p = torch.cat([torch.zeros(100), torch.ones(100)])
    target = flattened(t, torch.full((200,), 2.0), p, 0.02, Seed().generator())
    assert torch.equal(target[:100], torch.full((100, 50), 0.02))
    assert float(target[100:].std()) > 0.01
    torch.testing.assert_close(target.sum(1), torch.ones(200))
    assert float(target.min()) >= 0


def test_all_of_a_private_target_may_drown_in_noise() -> None:
    target = flattened(torch.zeros(50, 2), torch.ones(50), torch.ones(50), 50.0, Seed().generator())
    torch.testing.assert_close(target.sum(1), torch.ones(50))


@pytest.mark.parametrize("part", ["soft", "hard"])
def test_both_terms_of_swing_teach_the_student(part: str, own: Text) -> None:
    loss, net, batch, turn = lesson(own, alpha=1.0 if part == "soft" else 0.0)
    gradient = torch.autograd.grad(loss(net, batch, turn), next(iter(net.parameters())))[0]
    assert float(gradient.abs().sum()) > 0


def test_the_labels_of_private_tokens_are_never_taught(own: Text) -> None:
    """With labels alone, what stands at a private place changes nothing."""
    loss, net, batch, turn = lesson(own, alpha=0.0)
    private = batch.targets == SECRET
    assert bool(private.any())
    other = batch.targets.masked_fill(private, SECRET + 1)
    moved = dataclasses.replace(batch, targets=other)
    assert torch.equal(loss(net, batch, turn), loss(net, moved, turn))


SECRET = 300


def lesson(own: Text, alpha: float):  # type: ignore[no-untyped-def]
    """The loss of swing on rows whose private tokens are all one, and what it takes."""
    from robustbench_kd.core.config import Budget, Schedule
    from robustbench_kd.core.protocols import Brief
    from robustbench_kd.defenses.swing import Swing
    from robustbench_kd.training.trainer import Turn

    class Known(Swing):
        def private(self, brief: Brief) -> torch.Tensor:
            return (brief.data.targets == SECRET).float()

    rows = own.splits(Seed(), whole=True).test.take(torch.arange(4))
    targets = rows.targets.clone()
    targets[:, 3] = SECRET
    rows = dataclasses.replace(rows, targets=targets)
    teacher, net = own.student("plain", Seed()), own.student("plain", Seed())
    for weight in teacher.parameters():
        weight.data.mul_(3)
    brief = Brief(
        rows, {"clean": teacher}, net, Budget("linf", 0), Schedule(1), Seed(), pieces=own.pieces
    )
    return Known(alpha=alpha).loss(brief), net, rows, Turn(Seed().generator(), 0.0)


def test_a_name_that_is_no_language_model_is_refused() -> None:
    with pytest.raises(BadSetting, match="no language model named 'gpt2-90-2'"):
        build("gpt2-90-2", 100, 64, Seed())


@pytest.mark.parametrize("name", ["text", "tasks"])
def test_inputs_are_tokens_and_targets_follow_them(name: str) -> None:
    ground = scenario_of(name)
    try:
        whole = ground.splits(Seed(), whole=True)
    except MissingData as why:
        pytest.skip(str(why))
    with torch.inference_mode():
        tokens = ground.student("plain", Seed())(whole.test.inputs[:2]).shape[2]
    for part in (whole.train, whole.validation, whole.test):
        assert part.inputs.dtype == part.targets.dtype == torch.int64
        assert 0 <= int(part.inputs.min()) <= int(part.inputs.max()) < tokens
        asked = part.targets[:, :-1] != IGNORED
        assert bool(asked.any(1).all())
        assert torch.equal(part.targets[:, :-1][asked], part.inputs[:, 1:][asked])
