"""What all repairs of a given network keep to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digit_networks import images, network, repair_context, with_dormant_channel
from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.fine_pruning import FinePruning
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.defenses.nad import NAD
from robustbench_kd.models.pruning import pruned_channels
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios._image_classification import no_examples

REPAIRS = (FineTuning, FinePruning, NAD)
PRUNED_WEIGHTS = [
    f"stages.1.{norm}.{value}"
    for norm in ("second_norm", "shortcut.1")
    for value in ("weight", "bias")
]


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_repair_needs_trusted_images(repair: Any) -> None:
    for trusted in (None, no_examples(images())):
        with pytest.raises(MissingData, match="trusted images"):
            repair().train(repair_context(network(), trusted=trusted))


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_repair_starts_from_the_given_weights(repair: Any) -> None:
    """At a rate next to nothing it ends where it began, but for the channels that were pruned."""
    net = with_dormant_channel(5)
    settings = {"tolerance": 0.0} if repair is FinePruning else {}
    repaired = repair(rate=1e-9, epochs=1, **settings).train(repair_context(net))
    pruned, after = pruned_channels(repaired), dict(repaired.named_parameters())
    assert (len(pruned) > 0) == (repair is FinePruning)
    for name, weight in net.named_parameters():
        new, old = after[name].detach().clone(), weight.detach().clone()
        if name in PRUNED_WEIGHTS:
            assert float(new[pruned].abs().sum()) == 0.0
            new[pruned] = old[pruned] = 0.0
        torch.testing.assert_close(new, old, rtol=0, atol=1e-6)


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_repair_does_not_depend_on_the_untrusted_data(repair: Any) -> None:
    """NaN in place of the images, wrong labels, no student and another schedule."""
    net, bad = network(), images(200, 30)
    bad = Examples(bad.ids, torch.full_like(bad.inputs, torch.nan), (bad.targets + 1) % 10)
    other = repair_context(
        net,
        data=bad,
        validation=bad,
        oracle=bad,
        schedule=Schedule(epochs=9, learning_rate=3.0),
    )
    digests = {
        weights_digest(repair(epochs=1).train(context).state_dict())
        for context in (repair_context(net), other)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("repair", [FinePruning, NAD])
def test_a_network_without_stages_is_refused(repair: Any) -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BadModel, match="has no stages"):
        repair().train(repair_context(bare))


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        (FineTuning, {"epochs": 0}),
        (FineTuning, {"rate": 0.0}),
        (FineTuning, {"shift": 9}),
        (FinePruning, {"tolerance": 1.1}),
        (FinePruning, {"hold": 1.0}),
        (NAD, {"teaching": 0}),
        (NAD, {"power": 0.5}),
        (NAD, {"late": -1.0}),
    ],
)
def test_impossible_settings_are_refused(defense: Any, settings: dict[str, float]) -> None:
    with pytest.raises(BadSetting):
        defense(**settings)
