"""How the foundations of the text ground were laid: tokenizer, pre-trained models, packaged slice.

    python -c "from robustbench_kd.scenarios._pretraining import lay; lay('suite/scenarios/data')"

Everything learns from the public half alone: a tokenizer that had seen the private one would leak.
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
from robustbench_kd.integrations.transformers import build, learn_tokenizer, reader
from robustbench_kd.scenarios import _corpus
from robustbench_kd.scenarios.tasks import Tasks
from robustbench_kd.scenarios.text import CONTEXT, VOCABULARY, dealt
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import fit

SCHEDULES = {"plain": AdamW(epochs=12, rate=4e-3), "teacher": AdamW(epochs=8, rate=3e-3)}
NETS = {"plain": "gpt2-64-2", "teacher": "gpt2-96-3"}


def lay(folder: str | Path, corpus: str | None = None) -> None:
    """Writes ``text-tokenizer.json``, ``text-plain.safetensors``, ``text-teacher.safetensors``,
    ``text-slice.npz`` and ``text-tasks.npz``; about four CPU minutes.

    The tasks are read with the packaged tokenizer: where that changes, run it twice.
    """
    out = Path(folder)
    parts = dealt(_corpus.read(_corpus.find(corpus)))
    write_whole(
        out / "text-tokenizer.json",
        learn_tokenizer(parts["public"].splitlines(keepends=True), VOCABULARY).encode(),
    )
    spoken = reader(out / "text-tokenizer.json")
    rows = {name: _corpus.windows(spoken.encode(text), CONTEXT, 0) for name, text in parts.items()}
    stored = BytesIO()
    np.savez_compressed(stored, test=_joined(rows["test"]), audit=_joined(rows["audit"]))
    write_whole(out / "text-slice.npz", stored.getvalue())
    asked = Tasks(corpus).parts["test"]
    small = (np.int32, np.uint16, np.int16)
    given = (asked.ids, asked.inputs, asked.targets)
    ids, inputs, targets = (v.numpy().astype(kind) for v, kind in zip(given, small, strict=True))
    stored = BytesIO()
    np.savez_compressed(stored, ids=ids, inputs=inputs, targets=targets)
    write_whole(out / "text-tasks.npz", stored.getvalue())
    for kind, name in NETS.items():
        fresh = build(name, VOCABULARY, CONTEXT, Seed() / "foundation" / kind)
        seed = Seed() / "foundation" / kind / "fit"
        net = fit(fresh, rows["public"], by_labels, SCHEDULES[kind], seed)
        state = {key: value.half().contiguous() for key, value in net.state_dict().items()}
        write_whole(out / f"text-{kind}.safetensors", save(state))


def _joined(rows: Examples) -> np.ndarray:
    """Windows with the token after them, small."""
    return torch.cat([rows.inputs, rows.targets[:, -1:]], 1).numpy().astype(np.uint16)
