"""Fashion-MNIST, 28x28 greys in ten classes (Xiao et al. 2017).

The first 1,000 test images ship with the package, so that an evaluation needs no download; training
needs the whole data set, which is looked for in four places.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.paths import cache
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.models.factory import Shape
from robustbench_kd.scenarios._image_classification import (
    ImageScenario,
    data_digest,
    make_examples,
    no_examples,
)

DIGESTS = {
    "train": "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
    "t10k": "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
    "slice": "99324003f90225ff171e1aec72f674b69ec6865868cc89648a79ce554830d86d",
}
SLICE = files("robustbench_kd") / "scenarios" / "data" / "fashion-test-1000.npz"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VALIDATION_IMAGES = 5_000


@dataclass(frozen=True)
class FashionMNIST(ImageScenario):
    """Fashion-MNIST; ``folder`` is where the four files of the whole data set may lie."""

    name: ClassVar[str] = "fashion-mnist"
    dataset_digest: ClassVar[str] = DIGESTS["train"]
    shape: ClassVar[Shape] = Shape(1, 28, 10, (0.286,), (0.353,))
    architectures: ClassVar[dict[str, str]] = {
        "plain": "resnet-12-24-48",
        "teacher": "resnet-32-64-128",
        "elastic": "elastic-24-48-96",
    }
    class_names: ClassVar[tuple[str, ...]] = (
        "T-shirt or top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    budget: ClassVar[Budget] = Budget("linf", 0.1)
    teacher_schedules: ClassVar[dict[str, Schedule]] = {
        "clean": Schedule(epochs=5),
        "robust": Schedule(epochs=10),
    }

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """55,000 training, 5,000 validation and 10,000 (packaged: 1,000) test images."""
        if not whole:
            with SLICE.open("rb") as file:
                arrays = np.load(file, allow_pickle=False)
                images, labels = arrays["images"], arrays["labels"]
            _check_digest(images, labels, "slice", "the packaged slice")
            test = make_examples(images, labels, 60_000, 255, 10)
            return Splits(no_examples(test), no_examples(test), test)
        folder = find_folder(self.folder)
        data = make_examples(*read_split(folder, "train"), 0, 255, 10)
        test = make_examples(*read_split(folder, "t10k"), 60_000, 255, 10)
        count = len(data) - VALIDATION_IMAGES
        return Splits(data.named(data.ids[:count]), data.named(data.ids[count:]), test)


def candidate_folders(folder: str | None) -> list[Path]:
    """Where the whole data set is looked for, first to last."""
    first = folder or os.environ.get("ROBUSTBENCH_KD_DATA")
    roots = [Path(first)] if first else []
    roots += [cache() / "data", DEBIAN]
    inside = ("", "fashion-mnist", "FashionMNIST/raw")
    return [root / name for root in roots for name in inside]


def find_folder(folder: str | None) -> Path:
    """The folder that holds the four files; downloads them where no folder has them.

    Raises:
        MissingData: where no folder has them and the download fails, naming all four ways.
    """
    for candidate in candidate_folders(folder):
        if (candidate / "train-images-idx3-ubyte.gz").exists():
            return candidate
    try:
        from torchvision.datasets import FashionMNIST

        (cache() / "data").mkdir(parents=True, exist_ok=True)
        FashionMNIST(str(cache() / "data"), download=True)
    except (ImportError, OSError, RuntimeError) as why:
        raise MissingData(
            "training on fashion-mnist needs the whole of Fashion-MNIST, and it is in none of the "
            f"four places: the cache ({cache() / 'data'}); a folder with the four idx .gz files, "
            "named by --data or ROBUSTBENCH_KD_DATA; Debian's package (apt-get install "
            "dataset-fashion-mnist); or a download by torchvision, which failed just now: "
            f"{why}"
        ) from why
    return cache() / "data" / "FashionMNIST" / "raw"


def read_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split from its two idx files.

    Raises:
        MissingData: where they cannot be read, or hold other data.
    """
    try:
        pixels = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
        classes = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
        images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.frombuffer(classes, np.uint8, offset=8)
    except (OSError, EOFError, ValueError) as why:
        raise MissingData(f"the {split} files in {folder} cannot be read: {why}") from why
    _check_digest(images, labels, split, str(folder))
    return images, labels


def _check_digest(images: np.ndarray, labels: np.ndarray, part: str, where: str) -> None:
    if data_digest(images, labels) != DIGESTS[part]:
        raise MissingData(
            f"{where} does not hold Fashion-MNIST's {part} images: their digest is another; "
            "remove the files, or name a folder with good ones by --data"
        )
