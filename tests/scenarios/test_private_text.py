"""The scenario ``private-text``: canaries, insertion, and models and texts from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from small_text import small_text
from speech import checkpoint, corpus

from robustbench_kd.attacks.privacy.canary_exposure import CanaryExposure
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.evaluation.entries import scenario_of
from robustbench_kd.integrations.transformers import train_tokenizer
from robustbench_kd.scenarios import _canaries, _corpus
from robustbench_kd.scenarios._insertion import insert
from robustbench_kd.scenarios.instructions import Instructions
from robustbench_kd.scenarios.private_text import AUDIT, DATA, VOCABULARY, PrivateText


@pytest.fixture
def scenario(tmp_path: Path) -> PrivateText:
    return small_text(tmp_path)


def reserve_of(scenario: PrivateText, seed: int = 0) -> Examples:
    reserve = scenario.splits(Seed(seed), whole=True).reserve
    assert reserve is not None
    return reserve


def sentence_and_secret(scenario: PrivateText, reserve: Examples, n: int) -> tuple[str, str]:
    parts = _canaries.split_row(reserve.inputs[n], reserve.targets[n])
    sentence, secret = (scenario.tokenizer.decode(part.tolist()) for part in parts)
    return sentence, secret


def test_a_canary_scores_its_secret_alone_and_its_format_is_known(scenario: PrivateText) -> None:
    reserve = reserve_of(scenario, 3)
    kinds = {kind.name: kind for kind in _canaries.FORMATS}
    for n, name in enumerate(scenario.formats(reserve.ids)):
        sentence, secret = sentence_and_secret(scenario, reserve, n)
        assert secret in kinds[name].all_secrets()
        assert sentence.startswith("\n" + kinds[name].template.split("{")[0])
        scored = int((reserve.targets[n] != IGNORED).sum())
        assert scored == len(scenario.tokenizer.encode(secret))
    assert set(scenario.formats(reserve.ids)) == set(kinds)
    assert set(scenario.formats(scenario.examples["test"].ids)) == {"text"}


def test_every_canary_has_a_name_of_its_own_and_seeds_have_secrets_of_their_own(
    scenario: PrivateText,
) -> None:
    reserve = reserve_of(scenario, 0)
    sentences = {sentence_and_secret(scenario, reserve, n)[0] for n in range(len(reserve))}
    assert len(sentences) == len(reserve)
    assert not torch.equal(reserve.targets, reserve_of(scenario, 1).targets)


def test_canaries_are_inserted_as_often_as_they_should_and_the_text_is_whole(
    scenario: PrivateText,
) -> None:
    data, reserve = scenario.splits(Seed(0), whole=True), reserve_of(scenario)
    poisoned = CanaryExposure(repetitions="0+1+5", per_level=4).poison(data, Seed(0))
    inserted = {int(i): 0 for i in reserve.ids}
    for i in poisoned.attack_state["planted"].tolist():
        inserted[i] += 1
    assert sorted(set(inserted.values())) == [0, 1, 5]
    text = scenario.tokenizer.decode(poisoned.data.train.inputs.flatten().tolist())
    for n, i in enumerate(reserve.ids.tolist()):
        line = "".join(sentence_and_secret(scenario, reserve, n)) + "\n"
        # The last window is dropped where it is not full, and a line with it.
        low = max(0, inserted[i] - 1)
        assert low <= text.count(line) <= inserted[i]
    starts = ("Pin of", "Passphrase of", "Lock of")
    lines = [line for line in text.split("\n") if not line.startswith(starts)]
    before = scenario.tokenizer.decode(data.train.inputs.flatten().tolist())
    assert before.startswith("\n".join(lines)[: len(before) // 2])


def test_appended_windows_stay_whole_when_lines_are_inserted(scenario: PrivateText) -> None:
    data = scenario.splits(Seed(0), whole=True)
    assert data.audit is not None
    noise = Seed(1).generator()
    with_members = data.insert(data.train, data.audit, noise)
    with_both = data.insert(with_members, reserve_of(scenario), noise)
    members = with_both.take(with_both.ids >= AUDIT)
    assert torch.equal(members.inputs, data.audit.inputs)
    assert len(with_both.ids.unique()) == len(with_both)


def test_no_canary_can_be_inserted_in_a_text_without_line_ends(scenario: PrivateText) -> None:
    train = scenario.splits(Seed(0), whole=True).train
    flat = Examples(train.ids, torch.ones_like(train.inputs), torch.ones_like(train.targets))
    with pytest.raises(BadSetting, match="has no line end, so no canary can be inserted"):
        insert(flat, reserve_of(scenario), Seed().generator(), newline=0, whole_from=AUDIT)


def test_a_secret_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="does not fit a context of 12"):
        small_text(tmp_path, positions=12).splits(Seed(), whole=True)


def test_a_tokenizer_that_joins_sentence_and_secret_is_refused() -> None:
    def joined(text: str) -> list[int]:
        return [len(text)]

    with pytest.raises(BadSetting, match="starts a token at every space"):
        _canaries.make_canaries(joined, 1, 64, 0, Seed())


def test_secrets_of_a_tokenizer_that_merges_digits_are_ranked_in_its_own_spelling(
    tmp_path: Path,
) -> None:
    scenario = small_text(tmp_path, digits="merging")
    encode = scenario.tokenizer.encode
    lengths = {len(encode(text)) for text in _canaries.FORMATS[0].all_secrets()}
    assert len(lengths) > 1, "the digits of this tokenizer are all single"
    rows = reserve_of(scenario).take(torch.arange(3))
    ranks = scenario.target_model(scenario.student("plain", Seed())).ranks(rows, Seed())
    assert all(1 <= rank.value <= rank.of == 10_000 for rank in ranks)


def test_the_same_text_in_other_tokens_has_another_digest(tmp_path: Path) -> None:
    """What is inserted is stored by the digest, and windows of other tokens are other windows."""
    (tmp_path / "text.txt").write_text(corpus())
    paths = [checkpoint(tmp_path / kind, digits=kind) for kind in ("single", "merging")]
    paths.append(checkpoint(tmp_path / "short", positions=32))
    text = str(tmp_path / "text.txt")
    assert len({PrivateText(text, path, path).dataset_digest for path in paths}) == 3
    assert PrivateText(None, paths[0], paths[0]).dataset_digest != PrivateText().dataset_digest


def test_two_tokenizers_are_refused(tmp_path: Path) -> None:
    single, merging = (checkpoint(tmp_path / d, digits=d) for d in ("single", "merging"))
    with pytest.raises(BadModel, match="have different tokenizers"):
        _ = PrivateText(None, single, merging).tokenizer


def test_a_student_without_a_teacher_to_match_is_refused() -> None:
    with pytest.raises(BadSetting, match="name both, --teacher-from and --student-from"):
        PrivateText(None, "somewhere", None)


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no tokenizer can be loaded"):
        _ = PrivateText(None, str(tmp_path), str(tmp_path)).tokenizer


def test_an_image_scenario_takes_no_checkpoint() -> None:
    with pytest.raises(BadSetting, match="digits has no --teacher-from"):
        scenario_of("digits", teacher_from="somewhere")


def test_a_loaded_network_is_named_by_the_digest_of_its_weights(tmp_path: Path) -> None:
    scenario = small_text(tmp_path)
    assert set(scenario.architectures) == {"plain", "teacher"}
    assert all(name.startswith("checkpoint-") for name in scenario.architectures.values())
    other = PrivateText(None, *[checkpoint(tmp_path / "neox", "neox")] * 2)
    assert other.architectures["plain"] != scenario.architectures["plain"]


@pytest.fixture
def without_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_corpus, "DEBIAN", Path("/nowhere"))
    monkeypatch.delenv("ROBUSTBENCH_KD_DATA", raising=False)


@pytest.mark.usefixtures("without_corpus")
def test_a_missing_corpus_names_the_package_and_the_flag() -> None:
    with pytest.raises(MissingData, match=r"apt-get install jargon-text.*--data"):
        PrivateText().splits(Seed(), whole=True)


@pytest.mark.usefixtures("without_corpus")
def test_the_packaged_slices_need_no_corpus() -> None:
    data = PrivateText().splits(Seed(), whole=False)
    assert len(data.test) > 400
    assert data.reserve is not None
    assert data.audit is not None
    assert len(Instructions().splits(Seed(), whole=False).test) == 8 * 60


def test_the_packaged_tokenizer_is_trained_on_the_public_half_alone() -> None:
    try:
        public = PrivateText().texts["public"]
    except MissingData as why:
        pytest.skip(str(why))
    trained = train_tokenizer(public.splitlines(keepends=True), VOCABULARY)
    assert trained == (DATA / "text-tokenizer.json").read_text()


@pytest.mark.parametrize("name", ["private-text", "instructions"])
def test_inputs_are_tokens_and_targets_follow_them(name: str) -> None:
    scenario = scenario_of(name)
    try:
        whole = scenario.splits(Seed(), whole=True)
    except MissingData as why:
        pytest.skip(str(why))
    with torch.inference_mode():
        tokens = scenario.student("plain", Seed())(whole.test.inputs[:2]).shape[2]
    for part in (whole.train, whole.validation, whole.test):
        assert part.inputs.dtype == part.targets.dtype == torch.int64
        assert 0 <= int(part.inputs.min()) <= int(part.inputs.max()) < tokens
        scored = part.targets[:, :-1] != IGNORED
        assert bool(scored.any(1).all())
        assert torch.equal(part.targets[:, :-1][scored], part.inputs[:, 1:][scored])
