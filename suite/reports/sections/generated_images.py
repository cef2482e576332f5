"""Images that text-to-image models generate for the same prompts, with the trigger and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from robustbench_kd.core.aliases import stable_label, stable_name, stable_settings
from robustbench_kd.core.errors import BadModel, BadRecord, MissingData
from robustbench_kd.core.protocols import Prompts
from robustbench_kd.evaluation.rebuild import rebuild
from robustbench_kd.metrics._trigger_removal import measures_removal
from robustbench_kd.models.text_to_image import TextToImageModel
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.reports.document import Block, BoardRecords, ImageStrip, RowSection, Section
from robustbench_kd.reports.drawing import png
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.results.artifacts import find_cached, save_cached
from robustbench_kd.results.record import CLEAN, Json, Record, counterpart, digest

TITLE = "Generated images"
PROMPTS = 2  # the first ones of the test data, whatever they show
FOLDER = "paintings"  # of stored images, since generating them takes most of a page's time
NOTE = (
    "What every model generates for the first prompts of the test data, without the trigger and "
    "with it, from the same noise, so that only the models differ. Nothing was selected."
)
NOT_HERE = (BadModel, BadRecord, MissingData)
"""Why images cannot be made; the section then says that there is nothing to be seen."""
Images = tuple[tuple[str, bytes], ...]


def images_by_attack(board: BoardRecords) -> Block | str | None:
    """A grid for each attack of the leaderboard: models down, prompts across."""
    rows = [row for row in board.rows if measures_removal(row.record)]
    if not rows:
        return None
    attacks = [attack for attack in board.leaderboard.attacks if attack != CLEAN]
    strips = {
        attack: tuple(_strips(board, [row for row in rows if row.attack == attack]))
        for attack in attacks
    }
    strips = {attack: images for attack, images in strips.items() if images}
    if strips:
        return Block(paragraphs=(NOTE,), strips=strips)
    return "generated images: the models of these records are not stored here"


def images_of_row(board: BoardRecords, row: RankingRow) -> Block | None:
    """The models of one row, under an attack of the leaderboard."""
    if not measures_removal(row.record) or row.attack not in board.leaderboard.attacks:
        return None
    images = tuple(_strips(board, [row]))
    return Block(paragraphs=(NOTE,), strips={row.attack: images}) if images else None


def _strips(board: BoardRecords, rows: Sequence[RankingRow]) -> Iterator[ImageStrip]:
    """The model that was never poisoned, the attacked one, and each that was repaired."""
    names = set()
    for row in rows:
        source = row.group.source
        roles = {"not poisoned": counterpart(source), "attacked": source, row.label: "student"}
        for name, role in roles.items():
            if name in names:
                continue
            try:
                images = generated_images(row.record, board.path(row.record), role)
            except NOT_HERE:
                continue
            names.add(name)
            yield ImageStrip(images, name)


def generated_images(record: Record, path: Path, role: str) -> Images:
    """One model's images with their prompts; those of the committed records are shipped.

    Raises:
        BadModel: where the model is not stored here.
        BadRecord: where another model is.
        MissingData: where the data set is not here.
    """
    key = _key(record, role)
    entry = find_cached(key, FOLDER)
    if entry is None:
        entry = _generate(record, path, role)
        save_cached(key, *entry, FOLDER)
    tensors, metadata = entry
    images = tensors["pictures"].movedim(1, 3).numpy()
    return tuple(zip(metadata["words"], map(png, images), strict=True))


def _key(record: Record, role: str) -> str:
    """The digest of all that the images depend on.

    Under the names of the first release, by which the shipped images were stored.
    """
    attacks = {
        stable_label("attacks", label): stable_settings(
            label.partition(":")[0], record.attacks[label].settings
        )
        for label in record.attack_labels
    }
    data = {
        "count": record.data["count"],
        "edition": record.data["dataset_digest"],
        "examples": record.data["examples"],
        "family": record.attacks[CLEAN].samples["format"],
    }
    return digest(
        {
            "attacks": attacks,
            "scenario": stable_name("scenarios", record.scenario),
            "seed": record.seed,
            "data": data,
            "prompts": PROMPTS,
            "weights": record.models[role]["weights"],
        }
    )


def _generate(record: Record, path: Path, role: str) -> tuple[dict[str, Tensor], Json]:
    """Images of a model that is stored here, as bytes, and the text of each prompt."""
    evaluation = rebuild(record, path)
    model = evaluation.models[role]
    (attack,) = evaluation.attacks.values()
    if not isinstance(attack, Prompts):
        raise BadRecord(f"{path}: {attack.name} is no attack by prompts, so there are no images")
    clean, triggered = attack.prompts(evaluation.data.test.inputs[:PROMPTS])
    with frozen_eval_mode(model.net):
        target = evaluation.plan.scenario.target_model(model.net)
        assert isinstance(target, TextToImageModel)  # required by every attack by prompts
        latents = target.initial_latents(PROMPTS).repeat(2, 1, 1, 1)
        chunks = target.generate(torch.cat([clean, triggered]), latents).chunk(2)
        texts = target.net.tokenizer.texts(clean)
    images = torch.stack(chunks, 1).flatten(0, 1)  # each prompt without and with its trigger
    captions = [text + suffix for text in texts for suffix in ("", ", with the trigger")]
    return {"pictures": (images.clamp(0, 1) * 255).round().to(torch.uint8)}, {"words": captions}


SECTIONS = (Section("images", TITLE, 71, images_by_attack),)
ROW_SECTIONS = (RowSection(TITLE, 71, images_of_row),)
