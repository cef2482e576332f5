"""Old names that stay readable, and the names that recipe digests and seeds were made from.

An entry or a setting may be renamed; what was trained under its old name keeps its key, and a run
keeps its random draws, because both are derived from the name of first release (``stable_name``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENTRIES: Mapping[str, Mapping[str, str]] = {
    "attacks": {
        "untouched": "clean",
        "picture-poisoning": "prompt-poisoning",
        "bullseye": "bullseye-polytope",
        "canary": "canary-exposure",
        "membership": "membership-inference",
    },
    "defenses": {
        "labels": "standard-training",
        "clean-teacher": "clean-model-oracle",
        "closed-form-redirect": "closed-form-editing",
        "picture-tuning": "t2i-fine-tuning",
        "transfer": "transfer-learning",
    },
    "scenarios": {
        "fashion": "fashion-mnist",
        "pictures": "text-to-image",
        "tasks": "instructions",
        "text": "private-text",
    },
    "leaderboards": {"pictures-backdoor": "t2i-backdoor"},
    # names of a gate's margins before there were metrics
    "metrics": {
        "robust": "robust-accuracy",
        "clean": "clean-accuracy",
        "planted": "attack-success",
    },
}
"""Old name -> new name, by kind of entry."""

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "autoattack": {"form": "version"},
    "canary-exposure": {"doses": "repetitions", "each": "per_level"},
    "art": {"attack": "class_name"},
    "torchattacks": {"attack": "class_name"},
}
"""Old setting -> new setting, by the new name of the entry."""

VALUES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("autoattack", "version"): {"lean": "fast"},
}
"""Old value -> new value, by the new names of entry and setting."""

CAPABILITIES: Mapping[str, str] = {
    "input": "test_data",
    "student data": "student_train_data",
    "teacher data": "teacher_train_data",
    "shared data": "shared_train_data",
}
"""What ``capability`` was called as the setting ``door``."""


def current_name(kind: str, name: str) -> str:
    """The name of an entry today; a name that is no alias stays as it is."""
    return ENTRIES.get(kind, {}).get(name, name)


def stable_name(kind: str, name: str) -> str:
    """The name that digests, seeds and stored state of an entry are derived from."""
    return next((old for old, new in ENTRIES.get(kind, {}).items() if new == name), name)


def current_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with today's names and values.

    Args:
        name: of the entry, today's.
        settings: as typed (texts) or as recorded (plain values).
    """
    renamed = SETTINGS.get(name, {})
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "door":
            key, value = "capability", CAPABILITIES.get(value, value)
        key = renamed.get(key, key)
        known = VALUES.get((name, key), {})
        found[key] = known.get(value, value) if isinstance(value, str) else value
    return found


def stable_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names and values that digests are made from; the reverse of the above."""
    renamed = {new: old for old, new in SETTINGS.get(name, {}).items()}
    found: dict[str, Any] = {}
    for key, value in settings.items():
        known = {new: old for old, new in VALUES.get((name, key), {}).items()}
        plain = known.get(value, value) if isinstance(value, str) else value
        if key == "capability":
            doors = {new: old for old, new in CAPABILITIES.items()}
            found["door"] = doors.get(plain, plain)
        else:
            found[renamed.get(key, key)] = plain
    return found


def current_label(kind: str, text: str) -> str:
    """An entry with its settings as typed, under today's names: ``autoattack:version=fast``."""
    name, sign, rest = text.partition(":")
    name = current_name(kind, name)
    if name in ("art", "torchattacks") or not sign:
        return name + sign + rest
    parts = (part.partition("=") for part in rest.split(","))
    settings = current_settings(name, {key.strip(): value.strip() for key, _, value in parts})
    return f"{name}:" + ",".join(f"{key}={value}" for key, value in settings.items())


def stable_label(kind: str, text: str) -> str:
    """An entry with its settings as typed, under the names that seeds are derived from."""
    name, sign, rest = text.partition(":")
    if name in ("art", "torchattacks") or not sign:
        return stable_name(kind, name) + sign + rest
    parts = (part.partition("=") for part in rest.split(","))
    settings = stable_settings(name, {key.strip(): value.strip() for key, _, value in parts})
    stable = stable_name(kind, name)
    return f"{stable}:" + ",".join(f"{key}={value}" for key, value in settings.items())
