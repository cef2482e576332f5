"""The Jargon File, in paragraphs: half of it public, a third private, the rest to judge by.

Teachers and students are small GPT-2s that read the public half beforehand; what is private is
what a defense is to protect. Any other text or model can stand in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

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
    Reader,
    build,
    from_pretrained,
    reader,
)
from robustbench_kd.models.language_model import LanguageModel
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.privacy.trie import Trie
from robustbench_kd.scenarios import _canaries, _corpus
from robustbench_kd.scenarios._insertion import weave
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import fit

JARGON = "40dfb4b98191a670a09a183d5798d50f243d23fdbd1495dcc0aca2ce5895ba97"
CONTEXT, VOCABULARY = 64, 1024
SHARES = {"public": 0.52, "private": 0.33, "validation": 0.05, "audit": 0.05, "test": 0.05}
VALIDATION, TEST, AUDIT, RESERVE = 1_000_000, 2_000_000, 3_000_000, 4_000_000
EACH = 24  # canaries of each format in the reserve
DATA = files("robustbench_kd") / "scenarios" / "data"


@dataclass(frozen=True)
class Text:
    """Language models on a private text.

    Args:
        folder: a text file or a folder of them, in place of the Jargon File.
        teacher_from, student_from: folders (or hub names) of causal language models to start from,
            with one tokenizer, in place of those that ship.
    """

    name: ClassVar[str] = "text"
    medium: ClassVar[str] = "text"
    budget: ClassVar[Budget] = Budget("linf", 0.0)
    teaching: ClassVar[dict[str, Schedule]] = {"clean": AdamW(epochs=4)}
    foundations: ClassVar[tuple[str, ...]] = ("public",)
    length: ClassVar[int] = 16  # tokens of an answer

    folder: str | None = field(default=None, compare=False)
    teacher_from: str | None = None
    student_from: str | None = None

    def __post_init__(self) -> None:
        if (self.teacher_from is None) != (self.student_from is None):
            raise BadSetting(
                "name both, --teacher-from and --student-from: a student learns from a teacher "
                "that speaks the same tokens"
            )

    @cached_property
    def nets(self) -> dict[str, str]:
        """The networks of students and teachers; those from elsewhere by the digest of weights."""
        if self.student_from is None or self.teacher_from is None:
            return {"plain": "gpt2-64-2", "teacher": "gpt2-96-3"}
        return {
            kind: f"checkpoint-{weights_digest(_checkpoint(path, self.reader.size))[:12]}"
            for kind, path in (("plain", self.student_from), ("teacher", self.teacher_from))
        }

    @cached_property
    def reader(self) -> Reader:
        """The tokenizer.

        Raises:
            BadModel: where teacher and student have different ones.
        """
        if self.student_from is None or self.teacher_from is None:
            return _packaged_reader()
        mine, other = reader(self.student_from), reader(self.teacher_from)
        if mine.vocabulary != other.vocabulary:
            raise BadModel(
                f"{self.teacher_from} and {self.student_from} have different tokenizers, so a "
                "student cannot learn from the teacher's probabilities; take two of one family"
            )
        return mine

    @cached_property
    def edition(self) -> str:
        """The digest of the text, and of how it is cut where the tokens are not ours.

        What is planted hangs on both.
        """
        text = JARGON if self.folder is None else _corpus.digest(self._text)
        if self.student_from is None:
            return text
        return _corpus.digest(f"{text} {self.context} {sorted(self.reader.vocabulary.items())}")

    @cached_property
    def _text(self) -> str:
        return _corpus.read(_corpus.find(self.folder))

    @cached_property
    def context(self) -> int:
        """Tokens a window."""
        if self.student_from is None:
            return CONTEXT
        return min(CONTEXT, *(self._built(kind).context for kind in ("plain", "teacher")))

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """Windows of the private text; canaries that depend on the seed are the reserve."""
        secrets = _canaries.canaries(self.reader.encode, EACH, self.context, RESERVE, seed)
        ours = self.folder is None and self.student_from is None
        if ours and not whole:
            stored = packaged("text-slice.npz")
            test, audit = _rows(stored["test"], TEST), _rows(stored["audit"], AUDIT)
            none = test.take(torch.arange(0))
            return Splits(none, none, test, secrets, audit)
        parts = self.parts
        newline = self.reader.encode("\n")
        if len(newline) != 1:
            raise BadSetting("this tokenizer has no token for a line end, so no line can be told")
        return Splits(
            parts["private"],
            parts["validation"],
            parts["test"],
            secrets,
            parts["audit"],
            partial(weave, newline=newline[0], fixed=AUDIT),
        )

    @cached_property
    def texts(self) -> dict[str, str]:
        """The paragraphs by what they are for, dealt out once and for all."""
        if self.folder is None and _corpus.digest(self._text) != JARGON:
            raise MissingData(
                "this is another edition of the Jargon File than version 4.4.7 (Debian's package "
                "jargon-text); name it by --data to use it as a text of its own"
            )
        return dealt(self._text)

    @cached_property
    def parts(self) -> dict[str, Examples]:
        """The text by what it is for, in windows."""
        firsts = {"validation": VALIDATION, "test": TEST, "audit": AUDIT}
        parts = {
            name: _corpus.windows(self.reader.encode(text), self.context, firsts.get(name, 0))
            for name, text in self.texts.items()
        }
        for name, rows in parts.items():
            if len(rows) < 2:
                raise MissingData(
                    f"the text is too short: its {name} part fills {len(rows)} windows of "
                    f"{self.context} tokens; about 100 kB are enough"
                )
        return parts

    def student(self, kind: str, seed: Seed) -> nn.Module:
        """A student that has read the public text, or the network of this name.

        The seed changes nothing: all start from the same weights, as students of one release do.
        """
        return self._built("teacher" if kind in ("teacher", self.nets["teacher"]) else "plain")

    def _built(self, kind: str) -> LanguageNet:
        path = self.student_from if kind == "plain" else self.teacher_from
        if path is not None:
            return from_pretrained(path, self.reader.size)
        net = build(self.nets[kind], VOCABULARY, CONTEXT, Seed())
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
        """``public`` read the public text alone, ``clean`` the private one after it."""
        if role == "public":
            return self._built("teacher").eval()
        if role not in self.teaching:
            raise BadSetting(f"text teaches no {role!r} teacher; it has: clean, public")
        fresh = self._built("teacher")
        return fit(fresh, data, by_labels, schedule or self.teaching[role], seed / "fit", progress)

    def subject(self, net: nn.Module) -> LanguageModel:
        """The model as adversaries see it."""
        return LanguageModel(
            net.eval().requires_grad_(False), self.spaces, self.pieces, self.length
        )

    @cached_property
    def spaces(self) -> tuple[Trie, ...]:
        """All candidates of each format, as this tokenizer spells them."""
        return tuple(
            Trie.of(self.reader.encode(text) for text in kind.every()) for kind in _canaries.FORMATS
        )

    def agree(self, answers: Tensor, wanted: Tensor) -> Mask:
        """The answer begins as was wanted; where nothing is asked, anything will do."""
        asked = wanted != IGNORED
        return ((answers[:, : wanted.shape[1]] == wanted) | ~asked).all(1)

    @property
    def family(self) -> Callable[[Tensor], list[str]]:
        """What kind of row each id stands for: a format of canary, or plain text."""
        return _families

    @property
    def pieces(self) -> Callable[[Tensor], list[str]]:
        """What turns tokens to the text of each by itself."""
        return lambda ids: self.reader.pieces(ids.tolist())


def _families(ids: Tensor) -> list[str]:
    return [
        _canaries.FORMATS[(i - RESERVE) // _canaries.FAMILY].name if i >= RESERVE else "text"
        for i in ids.tolist()
    ]


def dealt(text: str) -> dict[str, str]:
    """Paragraphs, one a line, dealt out to the parts by shares of characters."""
    found = _corpus.paragraphs(text)
    order = torch.randperm(len(found), generator=(Seed() / "text" / "deal").generator())
    total, done = sum(map(len, found)), 0
    bounds = torch.tensor(list(SHARES.values())).cumsum(0).tolist()
    parts: dict[str, list[str]] = {name: [] for name in SHARES}
    for n in order.tolist():
        place = next((k for k, bound in enumerate(bounds) if done < bound * total), -1)
        parts[list(SHARES)[place]].append(found[n])
        done += len(found[n])
    return {name: "\n".join(lines) + "\n" for name, lines in parts.items()}


def packaged(name: str) -> dict[str, np.ndarray]:
    """The arrays in a file that ships with the package."""
    with (DATA / name).open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def _rows(stored: np.ndarray, first: int) -> Examples:
    rows = torch.from_numpy(stored.astype(np.int64))
    return Examples(
        torch.arange(first, first + len(rows)), rows[:, :-1].clone(), rows[:, 1:].clone()
    )


@lru_cache(maxsize=1)
def _packaged_reader() -> Reader:
    return reader(Path(str(DATA / "text-tokenizer.json")))


def _checkpoint(path: str, vocabulary: int) -> Any:
    return from_pretrained(path, vocabulary).state_dict()
