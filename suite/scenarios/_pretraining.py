"""How the packaged data of the text scenarios were made: tokenizer, pre-trained models, slices.

    from robustbench_kd.scenarios._pretraining import write
    write("suite/scenarios/data")

Everything is trained on the public half alone: a tokenizer trained on the private one would leak.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.io import write_whole
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.integrations.transformers import build, load_tokenizer, train_tokenizer
from robustbench_kd.scenarios import _corpus
from robustbench_kd.scenarios.instructions import Instructions
from robustbench_kd.scenarios.private_text import CONTEXT, VOCABULARY
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import fit

SCHEDULES = {
    "plain": AdamW(epochs=12, learning_rate=4e-3),
    "teacher": AdamW(epochs=8, learning_rate=3e-3),
}
ARCHITECTURES = {"plain": "gpt2-64-2", "teacher": "gpt2-96-3"}


def write(folder: str | Path, corpus: str | None = None) -> None:
    """Writes ``text-tokenizer.json``, ``text-plain.safetensors``, ``text-teacher.safetensors``,
    ``text-slice.npz`` and ``instructions.npz``; about four CPU minutes.

    The instructions are made with the packaged tokenizer: where that changes, run it twice.
    """
    out = Path(folder)
    parts = _corpus.split_text(_corpus.read_files(_corpus.find_files(corpus)))
    public = parts["public"].splitlines(keepends=True)
    write_whole(out / "text-tokenizer.json", train_tokenizer(public, VOCABULARY).encode())
    encode = load_tokenizer(out / "text-tokenizer.json").encode
    rows = {name: _corpus.windows(encode(text), CONTEXT, 0) for name, text in parts.items()}
    _write_arrays(
        out / "text-slice.npz", test=_with_next(rows["test"]), audit=_with_next(rows["audit"])
    )
    test = Instructions(corpus).examples["test"]
    _write_arrays(
        out / "instructions.npz",
        ids=test.ids.numpy().astype(np.int32),
        inputs=test.inputs.numpy().astype(np.uint16),
        targets=test.targets.numpy().astype(np.int16),
    )
    for kind, name in ARCHITECTURES.items():
        seed = Seed() / "foundation" / kind
        fresh = build(name, VOCABULARY, CONTEXT, seed)
        net = fit(fresh, rows["public"], label_loss, SCHEDULES[kind], seed / "fit")
        state = {key: value.half().contiguous() for key, value in net.state_dict().items()}
        write_whole(out / f"text-{kind}.safetensors", save(state))


def _write_arrays(path: Path, **arrays: np.ndarray) -> None:
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def _with_next(rows: Examples) -> np.ndarray:
    """Windows with the token after them, in 16 bits."""
    return torch.cat([rows.inputs, rows.targets[:, -1:]], 1).numpy().astype(np.uint16)
