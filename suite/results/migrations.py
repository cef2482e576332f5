"""Records of older schemas, in today's: one pure function for each step.

A step takes the plain JSON of one schema, without its id, and returns that of the next; a record
walks all steps that lie before it. Older files are never rewritten in place. Whoever changes the
schema in a way that readers would notice adds a step here, and keeps a record of the old kind among
the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robustbench_kd.core.aliases import (
    CAPABILITIES,
    current_label,
    current_name,
    current_settings,
)
from robustbench_kd.ops.statistics.bitset import number_of, pack

Json = dict[str, Any]
RECORD = "robustbench-kd.record/2"
RIGHT = "correct"
GENERATED = {
    "extraction": {"greedy": "extracted", "beam": "beam_rank"},
    "bias-injection": {"greedy": "attack_success", "drawn": "sampled_success"},
}
IMAGES = {
    "hit": "attack_success",
    "right": "preserved",
    "clean_hit": "clean_attack_success",
    "clean_right": "clean_correct",
    "hit2": "attack_success_2",
    "right2": "preserved_2",
    "clean_right2": "clean_correct_2",
}
BITS = {*IMAGES.values(), "removed", "extracted", "exact"}
"""Columns of a bit a sample; until ``record/2`` they were written as numbers."""
IMAGE_ATTACKS = ("prompt-trigger", "prompt-poisoning", "evil-edit")
TWIN = " (clean twin)"


def migrated(body: Json) -> Json:
    """The record in the newest schema that there is a way to; the given one stays as it was."""
    while (step := MIGRATIONS.get(body.get("schema", ""))) is not None:
        body = step(body)
    return body


def from_draft(body: Json) -> Json:
    """Drafts before the first release (``record/0``) to ``record/1``.

    A draft kept norm and radius at its top, the radius as text (``8/255``), called its cells
    attacks, and knew neither warnings, nor sanity checks, nor the whole test set.
    """
    changed = ("attacks", "norm", "epsilon", "seconds")
    unchanged = {name: value for name, value in body.items() if name not in changed}
    return {
        **unchanged,
        "schema": "robustbench-kd.record/1",
        "threat": {"norm": body["norm"], "eps": _number(body["epsilon"])},
        "cells": [{"notes": {}, "doubts": [], **cell} for cell in body["attacks"]],
        "wide": [],
        "health": {},
        "doubts": [],
        "spent": {"cpu_seconds": body["seconds"]},
    }


def from_evasion(body: Json) -> Json:
    """Records of attacks on test data (``record/1``) to the one schema.

    Raises:
        ValueError: where counts, bits, seeds and the worst case of the old record disagree.
    """
    model = body["model"]
    student = {
        "weights": model["weights"],
        "recipe_digest": model.get("key") or "",
        "architecture": model["net"],
        "parameters": model["parameters"],
        "macs": model["macs"],
        "user_model": bool(model.get("yours", False)),
    }
    teachers = {
        f"teacher-{role}": {"weights": weights, "recipe_digest": "", "architecture": ""}
        for role, weights in body["teachers"].items()
    }
    cells = [_cell(cell, body["seed"]) for cell in body["cells"]]
    _expect_worst_case(body)
    return {
        "schema": RECORD,
        "board": current_name("leaderboards", body["board"]),
        "scenario": current_name("scenarios", body["scenario"]),
        "defense": _defense(body["defense"]),
        "seed": body["seed"],
        "limit": body["limit"],
        "data": _data(body["data"]),
        "threat": {"capability": "test_data", **body["threat"]},
        "poison": {},
        "models": {"student": student, **teachers},
        "panel": [label for label, _ in cells],
        "attacks": dict(cells),
        "full_test": dict(_cell(cell, body["seed"]) for cell in body["wide"]),
        "evidence": body["evidence"],
        "sanity_checks": body["health"],
        "warnings": body["doubts"],
        "versions": body["versions"],
        "compute": body["spent"],
    }


def from_planted(body: Json) -> Json:
    """Records of poisoned images (``planted/1``) to the one schema."""
    label = current_label("attacks", body["attack"])
    clean, attacked = {}, {}
    for role, model in _by_role(body["subjects"]).items():
        clean[role] = {RIGHT: _bits(model["right"], body["data"]["count"])}
        attacked[role] = {
            "attack_success": _bits(model["won"], body["wins"]),
            "recovered": _bits(model["true"], body["wins"]),
        }
    eligible = _bits(body["eligible"], body["data"]["count"])
    if eligible["ones"] != body["wins"]:
        raise ValueError(f"{body['wins']} eligible inputs are counted, the bits say otherwise")
    name = label.partition(":")[0]
    settings = current_settings(name, body["settings"])
    results = {
        "clean": {"settings": {}, "scorer": "classification", "columns": clean},
        label: {
            "settings": settings,
            "scorer": "classification",
            "columns": attacked,
            "eligible": eligible,
        },
    }
    return _trained(body, results, body["exhibit"])


def from_probed(body: Json) -> Json:
    """Records of canaries, membership, bias and text-to-image (``probed/1``) to the one schema."""
    labels = {old: current_label("attacks", old) for old in body["attacks"]}
    roles = _by_role(body["subjects"])
    rows = dict(body["test"])
    samples = {"tokens": rows["asked"], "bytes": rows["bytes"], "format": body["data"]["family"]}
    images = any(label.partition(":")[0] in IMAGE_ATTACKS for label in labels.values())
    loss = "denoising_loss" if images else "test_nll"
    losses = {role: {loss: known["nats"]} for role, known in roles.items()}
    results: Json = {
        "clean": {
            "settings": {},
            "scorer": "generation",
            "columns": losses,
            "samples": samples,
        }
    }
    for old, label in labels.items():
        name = label.partition(":")[0]
        items = body["items"][old]
        results[label] = {
            "settings": current_settings(name, body["attacks"][old]),
            "scorer": "generation" if name in (*GENERATED, *IMAGE_ATTACKS) else "ranking",
            "samples": {
                "ids": items["ids"],
                "repetitions": items["dose"],
                "format": items["family"],
            },
            "columns": {
                role: _scored(name, known["columns"][old]) for role, known in roles.items()
            },
        }
    data = {name: value for name, value in body["data"].items() if name != "family"}
    return _trained({**body, "data": data}, results, {})


def _trained(body: Json, results: Json, evidence: Json) -> Json:
    """What records of attacks on training data share."""
    models = {
        role: {
            "weights": model["weights"],
            "recipe_digest": model["key"],
            "architecture": model["net"],
        }
        for role, model in _by_role(body["subjects"]).items()
    }
    planted = body["planted"]
    return {
        "schema": RECORD,
        "board": current_name("leaderboards", body["board"]),
        "scenario": current_name("scenarios", body["scenario"]),
        "defense": _defense(body["defense"]),
        "seed": body["seed"],
        "limit": None,
        "data": _data(body["data"]),
        "threat": {"capability": CAPABILITIES[body["door"]]},
        "poison": {
            "count": planted["planted"],
            "cover_count": planted["covers"],
            "train_size": planted["of"],
            "ids_digest": planted["ids"],
        },
        "models": models,
        "panel": list(results),
        "attacks": results,
        "full_test": {},
        "evidence": evidence,
        "sanity_checks": {},
        "warnings": [],
        "versions": body["versions"],
        "compute": body["spent"],
    }


def _scored(attack: str, columns: Json) -> Json:
    """The columns of an attack under today's names; an adversary's own scores say so.

    Ranks of scores among samples that were never inserted follow from the scores, and are left out
    where the attack is about something else.
    """
    if attack != "canary-exposure":
        columns = {n: values for n, values in columns.items() if n not in ("rank", "of")}
    renamed = {"of": "candidates"}
    if attack == "membership-inference":
        others = columns.keys() - {"score"}
        renamed |= {name: f"score_{name}" for name in others}
    elif attack in IMAGE_ATTACKS:
        renamed |= IMAGES
    renamed |= GENERATED.get(attack, {})
    named = {renamed.get(name, name): values for name, values in columns.items()}
    return {
        name: _bits_of(name, values) if name in BITS else values for name, values in named.items()
    }


def _bits_of(name: str, values: list[float]) -> Json:
    if others := set(values) - {0, 1}:
        raise ValueError(f"{name} holds {min(others)} where a bit was expected")
    return _bits(pack(map(bool, values)), len(values))


def _cell(cell: Json, seed: int) -> tuple[str, Json]:
    label = current_label("attacks", cell["attack"])
    if cell["seed"] != seed:
        raise ValueError(f"{label} was run under another seed than the record's")
    result = {
        "settings": current_settings(label.partition(":")[0], cell["settings"]),
        "scorer": "classification",
        "columns": {"student": {RIGHT: _bits(cell["bits"], cell["count"])}},
        "passes": {"forward": cell["forward"], "backward": cell["backward"]},
        "metadata": {_noted(name): value for name, value in cell["notes"].items()},
        "warnings": cell["doubts"],
    }
    if result["columns"]["student"][RIGHT]["ones"] != cell["right"]:
        raise ValueError(f"{label} counts {cell['right']} correct answers, its bits do not")
    return label, result


def _noted(name: str) -> str:
    """Distances were called spent, and targets reached won."""
    changed = {
        "median_spent": "median_distance",
        "counts_won": "counts_attack_success",
    }
    return changed.get(name, name)


def _expect_worst_case(body: Json) -> None:
    joined = -1
    for cell in body["cells"]:
        joined &= number_of(cell["bits"], cell["count"])
    robust = body["robust"]
    if number_of(robust["bits"], robust["count"]) != joined or robust["hits"] != joined.bit_count():
        raise ValueError("the worst case is not that of the attacks' bits")


def _by_role(subjects: Mapping[str, Json]) -> dict[str, Json]:
    """Models under today's roles, the student first."""
    roles = {_role(name): model for name, model in subjects.items()}
    return {role: roles[role] for role in sorted(roles, key=lambda role: role != "student")}


def _role(name: str) -> str:
    plain = name.removesuffix(TWIN)
    role = {"untouched": "pretrained", "teacher-twin": "teacher-unpoisoned"}.get(plain, plain)
    return role + (".clean" if plain != name else "")


def _defense(defense: Json) -> Json:
    name = current_name("defenses", defense["name"])
    known = {
        "name": name,
        "label": current_label("defenses", defense["label"]),
        "oracle": bool(defense.get("told", False)),
    }
    if "needs" in defense:
        roles = ["unpoisoned" if role == "twin" else role for role in defense["needs"]]
        known["teacher_roles"] = roles
    if "settings" in defense:
        known["settings"] = current_settings(name, defense["settings"])
    return known


def _data(data: Json) -> Json:
    return {"dataset_digest" if name == "edition" else name: v for name, v in data.items()}


def _bits(text: str, count: int) -> Json:
    return {"count": count, "ones": number_of(text, count).bit_count(), "bits": text}


def _number(text: str) -> float:
    over, _, under = text.partition("/")
    return float(over) / float(under or 1)


MIGRATIONS: Mapping[str, Callable[[Json], Json]] = {
    "robustbench-kd.record/0": from_draft,
    "robustbench-kd.record/1": from_evasion,
    "robustbench-kd.planted/1": from_planted,
    "robustbench-kd.probed/1": from_probed,
}
