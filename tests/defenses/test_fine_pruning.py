"""Fine-pruning: which channels are pruned, and when pruning stops."""

from __future__ import annotations

import pytest
import torch
from digit_networks import images, network, repair_context, trained, with_dormant_channel

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.defenses.fine_pruning import FinePruning, correct_count
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.models.feature_extraction import stage_activations
from robustbench_kd.models.pruning import pruned_channels
from robustbench_kd.models.statistics import weights_digest


def test_a_dormant_channel_is_the_first_to_be_pruned() -> None:
    """Even without any tolerance, since nothing depends on it."""
    net = with_dormant_channel(5)
    assert 5 in pruned_channels(FinePruning(tolerance=0.0).prune(net, images(), Seed())).tolist()
    repaired = FinePruning(tolerance=0.0, epochs=2).train(repair_context(net))
    assert 5 in pruned_channels(repaired).tolist()


def test_channels_are_pruned_in_order_of_activation_until_the_tolerance_is_spent() -> None:
    """By a second way of counting: features are zeroed one by one before the last layer."""
    net, trusted = trained(network("resnet-4-12")), images(640, 200)
    rows = torch.randperm(200, generator=Seed().generator())
    held_out, calibration = trusted.take(rows[:60]), trusted.take(rows[60:])
    correct = []
    with torch.no_grad():
        activations = stage_activations(net, calibration.inputs)[1]["stage2"]
        order = activations.mean((0, 2, 3)).argsort(stable=True)
        features = stage_activations(net, held_out.inputs)[1]["stage2"].mean((2, 3))
        for count in range(12):
            left = features.clone()
            left[:, order[:count]] = 0
            correct.append(int((net.head(left).argmax(1) == held_out.targets).sum()))
    for tolerance in (0.0, 0.05, 0.2, 0.5):
        least = correct[0] - 60 * tolerance - 1e-9
        count = next((n - 1 for n, value in enumerate(correct) if value < least), 11)
        pruned = FinePruning(tolerance=tolerance, hold=0.3).prune(net, trusted, Seed())
        assert pruned_channels(pruned).tolist() == order[:count].sort().values.tolist()
        fall = correct_count(net, held_out) - correct_count(pruned, held_out)
        assert fall <= 60 * tolerance + 1e-6
    assert correct[0] > 50 > correct[-1], "the network is right, until it has lost its channels"
    most = FinePruning(tolerance=1.0).prune(net, trusted, Seed())
    assert len(pruned_channels(most)) == 11, "one channel is left"


def test_a_single_trusted_image_cannot_be_held_out() -> None:
    with pytest.raises(MissingData, match="at least 2"):
        FinePruning().train(repair_context(network(), trusted=images(count=1)))
    FinePruning(epochs=1, hold=0.99).train(repair_context(network(), trusted=images(count=2)))


def test_where_all_channels_are_needed_it_is_fine_tuning() -> None:
    net = trained(network("resnet-4-3"))
    pruned = FinePruning(tolerance=0.0, hold=0.5, epochs=1).train(repair_context(net))
    assert len(pruned_channels(pruned)) == 0
    tuned = FineTuning(epochs=1).train(repair_context(net))
    assert weights_digest(pruned.state_dict()) == weights_digest(tuned.state_dict())
