"""Baselines of the first schema, read as today's. Needs no torch.

``baseline/1`` held bits alone: whether each example went well for the defender. Its entries have
old names, and digests of settings under those names, which today's are made from as well; only the
claims of its records are others, so a cross-replay looks them up by their content.
"""

from __future__ import annotations

from robustbench_kd.core.aliases import CAPABILITIES, current_label, current_name
from robustbench_kd.regression.endpoints import Endpoint, Role
from robustbench_kd.regression.snapshot import Snapshot, joint_settings, metric_of, settings_digest
from robustbench_kd.results.record import CLEAN, Bits, Json, every

SCHEMA_1 = "robustbench-kd.baseline/1"
CONTROL = "untouched"  # the column of an unattacked student
ROBUST, SUCCESS, ACCURACY = "robust-accuracy", "attack-success", "clean-accuracy"


def snapshot_1(name: str, body: Json) -> Snapshot:
    """The snapshot of an entry.

    Args:
        name: of the entry in its file.
        body: the entry.

    Raises:
        ValueError: where it contradicts itself.
        KeyError: where a part is missing.
        TypeError: where there is one too many.
    """
    about, columns = body["about"], {}
    for label, cell in body["cells"].items():
        columns[label] = Bits(cell["count"], cell["bits"])
        if columns[label].number.bit_count() != cell["right"]:
            raise ValueError(f"{name}: {label} counts {cell['right']} right, its bits do not")
    parts = [about["board"], *([about["attack"]] if about["attack"] else [])]
    if "/".join([*parts, f"{about['label']}@{about['seed']}"]) != name or CONTROL not in columns:
        raise ValueError(f"{name} holds the cells of {about['label']}: {', '.join(columns)}")
    attacks = {label: column for label, column in columns.items() if label != CONTROL}
    settings = {label: cell["asks"] for label, cell in body["cells"].items()}
    if not attacks:
        raise ValueError(f"{name} holds no attack")
    panel = about["attack"] is None
    if panel and len({column.count for column in columns.values()}) > 1:
        raise ValueError(f"the attacks of {name} were run on different numbers of examples")
    endpoints = {}
    if panel:
        joint = joint_settings([settings[label] for label in attacks])
        endpoints[ROBUST] = _endpoint("primary", ROBUST, joint, every(list(columns.values())))
        endpoints[ACCURACY] = _endpoint("utility", ACCURACY, settings[CONTROL], columns[CONTROL])
        for label, column in attacks.items():
            current = current_label("attacks", label)
            endpoints[current] = _endpoint("attack", ROBUST, settings[label], column)
    else:
        (withstood,) = attacks.values()
        # What went well was that the attack did not succeed.
        success = Bits.of([not flag for flag in withstood.flags])
        (label,) = attacks
        endpoints[SUCCESS] = _endpoint("primary", SUCCESS, settings[label], success)
        unattacked = settings_digest(CLEAN, {})
        endpoints[ACCURACY] = _endpoint("utility", ACCURACY, unattacked, columns[CONTROL])
    renamed = {
        "board": current_name("leaderboards", about["board"]),
        "scenario": current_name("scenarios", about["scenario"]),
        "label": current_label("defenses", about["label"]),
        "attack": "" if panel else current_label("attacks", about["attack"]),
        "threat": CAPABILITIES.get(about["threat"], about["threat"]),
    }
    return Snapshot(**{**about, **renamed}, endpoints=endpoints)


def _endpoint(role: Role, name: str, settings: str, bits: Bits) -> Endpoint:
    metric = metric_of(name)
    return Endpoint(
        role, name, settings, bits, metric.unit, metric.higher_is_better, float(metric.margin)
    )
