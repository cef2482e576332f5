"""Fashion-MNIST, 28x28 greys in ten classes (Xiao et al. 2017).

The first 1,000 test images ship with the package, so that an evaluation needs no download; training
needs the whole set, which is looked for in four places.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.paths import cache
from robustbench_kd.core.seed import Seed
from robustbench_kd.scenarios._image_classification import (
    Budget,
    ImageScenario,
    Schedule,
    Shape,
    Splits,
    digest,
    nothing,
    packed,
)

DIGESTS = {
    "train": "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
    "t10k": "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
    "slice": "99324003f90225ff171e1aec72f674b69ec6865868cc89648a79ce554830d86d",
}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HELD_OUT = 5_000


@dataclass(frozen=True)
class Fashion(ImageScenario):
    """Fashion-MNIST: ``folder`` is where the four files of the whole set may lie."""

    name: ClassVar[str] = "fashion"
    edition: ClassVar[str] = DIGESTS["train"]
    shape: ClassVar[Shape] = Shape(1, 28, 10, (0.286,), (0.353,))
    nets: ClassVar[dict[str, str]] = {
        "plain": "resnet-12-24-48",
        "teacher": "resnet-32-64-128",
        "elastic": "elastic-24-48-96",
    }
    called: ClassVar[tuple[str, ...]] = (
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
    teaching: ClassVar[dict[str, Schedule]] = {
        "clean": Schedule(epochs=5),
        "robust": Schedule(epochs=10),
    }

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """55,000 images to train on, 5,000 to choose by, 10,000 (packaged: 1,000) to test."""
        if not whole:
            with (files("robustbench_kd") / "scenarios" / "data" / "fashion-test-1000.npz").open(
                "rb"
            ) as file:
                stored = np.load(file, allow_pickle=False)
                images, labels = stored["images"], stored["labels"]
            _check(images, labels, "slice", "the packaged slice")
            test = packed(images, labels, 60_000, 255, 10)
            return Splits(nothing(test), nothing(test), test)
        folder = find(self.folder)
        images, labels = read(folder, "train")
        train = packed(images, labels, 0, 255, 10)
        images, labels = read(folder, "t10k")
        test = packed(images, labels, 60_000, 255, 10)
        cut = len(train) - HELD_OUT
        first, rest = train.ids[:cut], train.ids[cut:]
        return Splits(train.named(first), train.named(rest), test)


def places(folder: str | None) -> list[Path]:
    """Where the whole set is looked for, first to last."""
    given = folder or os.environ.get("ROBUSTBENCH_KD_DATA")
    roots = [Path(given)] if given else []
    roots += [cache() / "data", DEBIAN]
    inside = ("", "fashion-mnist", "FashionMNIST/raw")
    return [root / name for root in roots for name in inside]


def find(folder: str | None) -> Path:
    """The folder that holds the four files; downloads them where no place has them.

    Raises:
        MissingData: where no place has them and the download fails, naming all four ways.
    """
    for place in places(folder):
        if (place / "train-images-idx3-ubyte.gz").exists():
            return place
    try:
        from torchvision.datasets import FashionMNIST

        (cache() / "data").mkdir(parents=True, exist_ok=True)
        FashionMNIST(str(cache() / "data"), download=True)
    except (ImportError, OSError, RuntimeError) as why:
        raise MissingData(
            "training on fashion needs the whole of Fashion-MNIST, and it is in none of the four "
            f"places: the cache ({cache() / 'data'}); a folder with the four idx .gz files, named "
            "by --data or ROBUSTBENCH_KD_DATA; Debian's package (apt-get install "
            "dataset-fashion-mnist); or a download by torchvision, which failed just now: "
            f"{why}"
        ) from why
    return cache() / "data" / "FashionMNIST" / "raw"


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split from its two idx files, after a look at their digest."""
    try:
        pixels = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
        classes = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
        images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.frombuffer(classes, np.uint8, offset=8)
    except (OSError, EOFError, ValueError) as why:
        raise MissingData(f"the {split} files in {folder} cannot be read: {why}") from why
    _check(images, labels, split, str(folder))
    return images, labels


def _check(images: np.ndarray, labels: np.ndarray, part: str, where: str) -> None:
    if digest(images, labels) != DIGESTS[part]:
        raise MissingData(
            f"{where} does not hold Fashion-MNIST's {part} images: their digest is another; "
            "remove the files, or name a folder with good ones by --data"
        )
