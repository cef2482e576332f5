"""The Jargon File, in paragraphs: half of it public, a third private, the rest for evaluation.

Teachers and students are small GPT-2s pre-trained on the public half; the private third is what a
defense is to protect. Any other text or model can take their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW, Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import IGNORED, Examples, Splits
from robustbench_kd.integrations.transformers import (
    LanguageNet,
    Tokenizer,
    build,
    from_pretrained,
    load_tokenizer,
)
from robustbench_kd.models.language_model import CausalLanguageModel
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.privacy.trie import Trie
from robustbench_kd.scenarios import _canaries, _corpus
from robustbench_kd.scenarios._insertion import insert
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import fit

JARGON_DIGEST = "40dfb4b98191a670a09a183d5798d50f243d23fdbd1495dcc0aca2ce5895ba97"
CONTEXT, VOCABULARY = 64, 1024
VALIDATION, TEST, AUDIT, RESERVE = 1_000_000, 2_000_000, 3_000_000, 4_000_000  # first ids
CANARIES_PER_FORMAT = 24
DATA = files("robustbench_kd") / "scenarios" / "data"


@dataclass(frozen=True)
class PrivateText:
    """Language modelling on a private text.

    Args:
        folder: a text file or a folder of them, in place of the Jargon File.
        teacher_from, student_from: folders (or hub names) of causal language models to start from,
            with one tokenizer, in place of those that ship.
    """

    name: ClassVar[str] = "private-text"
    modality: ClassVar[str] = "text"
    budget: ClassVar[Budget] = Budget("linf", 0.0)
    teacher_schedules: ClassVar[dict[str, Schedule]] = {"clean": AdamW(epochs=4)}
    pretrained_roles: ClassVar[tuple[str, ...]] = ("public",)
    answer_length: ClassVar[int] = 16  # tokens

    folder: str | None = field(default=None, compare=False)
    teacher_from: str | None = None
    student_from: str | None = None

    def __post_init__(self) -> None:
        if (self.teacher_from is None) != (self.student_from is None):
            raise BadSetting(
                "name both, --teacher-from and --student-from: a student learns from a teacher "
                "with the same tokens"
            )

    @cached_property
    def architectures(self) -> dict[str, str]:
        """The networks of students and teachers; loaded ones by the digest of their weights."""
        if self.student_from is None or self.teacher_from is None:
            return {"plain": "gpt2-64-2", "teacher": "gpt2-96-3"}
        paths = {"plain": self.student_from, "teacher": self.teacher_from}
        networks = {
            kind: from_pretrained(path, self.tokenizer.size) for kind, path in paths.items()
        }
        return {
            kind: f"checkpoint-{weights_digest(net.state_dict())[:12]}"
            for kind, net in networks.items()
        }

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            BadModel: where teacher and student have different ones.
        """
        if self.student_from is None or self.teacher_from is None:
            return _packaged_tokenizer()
        student, teacher = load_tokenizer(self.student_from), load_tokenizer(self.teacher_from)
        if student.vocabulary != teacher.vocabulary:
            raise BadModel(
                f"{self.teacher_from} and {self.student_from} have different tokenizers, so a "
                "student cannot learn from the teacher's probabilities; take two of one family"
            )
        return student

    @cached_property
    def dataset_digest(self) -> str:
        """The digest of the text, and of its tokens where the tokenizer is not ours.

        What is inserted in the text depends on both.
        """
        text = JARGON_DIGEST if self.folder is None else _corpus.text_digest(self._text)
        if self.student_from is None:
            return text
        vocabulary = sorted(self.tokenizer.vocabulary.items())
        return _corpus.text_digest(f"{text} {self.context_length} {vocabulary}")

    @cached_property
    def _text(self) -> str:
        return _corpus.read_files(_corpus.find_files(self.folder))

    @cached_property
    def context_length(self) -> int:
        """Tokens of a window."""
        if self.student_from is None:
            return CONTEXT
        return min(CONTEXT, *(self._network(kind).context for kind in ("plain", "teacher")))

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """Windows of the text; the reserve holds canaries, which depend on the seed.

        Raises:
            MissingData: where the text is not here, or too short.
            BadSetting: where the tokenizer does not suit canaries.
        """
        canaries = _canaries.make_canaries(
            self.tokenizer.encode, CANARIES_PER_FORMAT, self.context_length, RESERVE, seed
        )
        if self.folder is None and self.student_from is None and not whole:
            arrays = packaged_arrays("text-slice.npz")
            test, audit = _windows(arrays["test"], TEST), _windows(arrays["audit"], AUDIT)
            empty = test.take(torch.arange(0))
            return Splits(empty, empty, test, canaries, audit)
        examples, newline = self.examples, self.tokenizer.encode("\n")
        if len(newline) != 1:
            raise BadSetting("this tokenizer has no token for a line end, so lines have no end")
        return Splits(
            examples["private"],
            examples["validation"],
            examples["test"],
            canaries,
            examples["audit"],
            partial(insert, newline=newline[0], whole_from=AUDIT),
        )

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text by what it is used for.

        Raises:
            MissingData: where the text is not here, or another edition of the Jargon File.
        """
        if self.folder is None and _corpus.text_digest(self._text) != JARGON_DIGEST:
            raise MissingData(
                "this is another edition of the Jargon File than version 4.4.7 (Debian's package "
                "jargon-text); name it by --data to use it as a text of its own"
            )
        return _corpus.split_text(self._text)

    @cached_property
    def examples(self) -> dict[str, Examples]:
        """The text by what it is used for, in windows.

        Raises:
            MissingData: where the text is not here, or too short.
        """
        first_ids = {"validation": VALIDATION, "test": TEST, "audit": AUDIT}
        examples = {
            name: _corpus.windows(
                self.tokenizer.encode(text), self.context_length, first_ids.get(name, 0)
            )
            for name, text in self.texts.items()
        }
        for name, rows in examples.items():
            if len(rows) < 2:
                raise MissingData(
                    f"the text is too short: its {name} part fills {len(rows)} windows of "
                    f"{self.context_length} tokens; about 100 kB are enough"
                )
        return examples

    def student(self, kind: str, seed: Seed) -> nn.Module:
        """A student pre-trained on the public text, or the network of this name.

        The seed changes nothing: all start from the same weights, as students of one release do.
        """
        is_teacher = kind in ("teacher", self.architectures["teacher"])
        return self._network("teacher" if is_teacher else "plain")

    def _network(self, kind: str) -> LanguageNet:
        path = self.student_from if kind == "plain" else self.teacher_from
        if path is not None:
            return from_pretrained(path, self.tokenizer.size)
        net = build(self.architectures[kind], VOCABULARY, CONTEXT, Seed())
        raw = (DATA / f"text-{kind}.safetensors").read_bytes()
        net.load_state_dict({name: value.float() for name, value in load(raw).items()})
        return net

    def teacher(
        self,
        role: str,
        data: Examples,
        seed: Seed,
        progress: Progress,
        schedule: Schedule | None = None,
    ) -> nn.Module:
        """``public`` is pre-trained on the public text, ``clean`` then trained on the private one.

        Raises:
            BadSetting: for another role.
        """
        if role == "public":
            return self._network("teacher").eval()
        if role not in self.teacher_schedules:
            raise BadSetting(f"{self.name} has no {role!r} teacher; it has: clean, public")
        schedule = schedule or self.teacher_schedules[role]
        return fit(self._network("teacher"), data, label_loss, schedule, seed / "fit", progress)

    def target_model(self, net: nn.Module) -> CausalLanguageModel:
        """The model as adversaries see it."""
        net.eval().requires_grad_(False)
        return CausalLanguageModel(net, self.candidates, self.detokenize, self.answer_length)

    @cached_property
    def candidates(self) -> tuple[Trie, ...]:
        """All candidate secrets of each format, as this tokenizer spells them."""
        encode = self.tokenizer.encode
        return tuple(Trie.of(map(encode, kind.all_secrets())) for kind in _canaries.FORMATS)

    def agree(self, answers: Tensor, targets: Tensor) -> Mask:
        """Whether an answer starts with the target; where no token is scored, any will do."""
        is_scored = targets != IGNORED
        return ((answers[:, : targets.shape[1]] == targets) | ~is_scored).all(1)

    def formats(self, ids: Tensor) -> list[str]:
        """The kind of each row: the format of a canary, or plain text."""
        return [
            _canaries.format_name(i - RESERVE) if i >= RESERVE else "text" for i in ids.tolist()
        ]

    @property
    def detokenize(self) -> Callable[[Tensor], list[str]]:
        """What turns tokens to the text of each by itself."""
        return lambda ids: self.tokenizer.detokenize(ids.tolist())


def packaged_arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays in a file that ships with the package."""
    with (DATA / name).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _windows(array: np.ndarray, first: int) -> Examples:
    """Windows that are stored with the token after them."""
    rows = torch.from_numpy(array.astype(np.int64))
    ids = torch.arange(first, first + len(rows))
    return Examples(ids, rows[:, :-1].clone(), rows[:, 1:].clone())


@lru_cache(maxsize=1)
def _packaged_tokenizer() -> Tokenizer:
    return load_tokenizer(Path(str(DATA / "text-tokenizer.json")))
