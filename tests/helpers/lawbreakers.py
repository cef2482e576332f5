"""Plug-ins that break one law each, so that every law is known to catch something.

They are text, since they are installed into a folder of their own; the bases are the attack and the
defense that the README shows.
"""

from __future__ import annotations

ATTACKS = """\
import torch

from theirs.margin_step import MarginStep


class Far(MarginStep):
    name = "far"

    def perturb(self, logits, x, goal, seed):
        z = super().perturb(logits, x, goal, seed)[0]
        return (x + 2 * (z - x)).clamp(0, 1), {}


class Messy(MarginStep):
    name = "messy"

    def perturb(self, logits, x, goal, seed):
        z = super().perturb(logits, x, goal, seed)[0]
        x += 0.01
        return z, {}


class Leaky(MarginStep):
    name = "leaky"

    def perturb(self, logits, x, goal, seed):
        z = x.clone().requires_grad_()
        goal.margin(logits(z)).sum().backward()
        return super().perturb(logits, x, goal, seed)


class Dicey(MarginStep):
    name = "dicey"

    def perturb(self, logits, x, goal, seed):
        return (x + self.eps * (torch.rand(x.shape[1:]) - 0.5)).clamp(0, 1), {}


class Masked(MarginStep):
    name = "masked"

    def perturb(self, logits, x, goal, seed):
        others = logits(x).scatter(1, goal.labels[:, None], 0.0).amax(1)
        z = super().perturb(logits, x, goal, seed)[0]
        return torch.where((others > 0)[:, None, None, None], z, x), {}


class Restless(MarginStep):
    name = "restless"

    def perturb(self, logits, x, goal, seed):
        return super().perturb(logits, x, goal, seed)[0] * 0.9999, {}


class Peeking(MarginStep):
    name = "peeking"
    knowledge = "score_based"


class Boastful(MarginStep):
    name = "boastful"

    def perturb(self, logits, x, goal, seed):
        z = super().perturb(logits, x, goal, seed)[0]
        return z, {"correct": torch.zeros(len(x))}


class Swallowing(MarginStep):
    name = "swallowing"

    def perturb(self, logits, x, goal, seed):
        try:
            return super().perturb(logits, x, goal, seed)
        except RuntimeError:
            return x.clone(), {}


class Misnamed(MarginStep):
    name = "another"
"""
DEFENSES = """\
import torch

from theirs.noisy_distillation import NoisyDistillation


class Meddling(NoisyDistillation):
    name = "meddling"

    def train(self, context):
        net = super().train(context)
        context.student.load_state_dict(net.state_dict())
        return net


class Waking(NoisyDistillation):
    name = "waking"

    def train(self, context):
        context.teachers["robust"].train()(context.data.inputs)
        return super().train(context)


class Careless(NoisyDistillation):
    name = "careless"

    def loss(self, context):
        objective = super().loss(context)
        return lambda net, batch, step: objective(net, batch, step) * (1 + torch.rand(()))


class Lazy(NoisyDistillation):
    name = "lazy"

    def train(self, context):
        return context.student.eval()
"""
TRAINS = "test_it_trains_a_student_and_leaves_everything_else_alone"
BROKEN_LAWS = {
    "attacks": {
        "far": "test_it_stays_within_ball_and_box_and_submits_every_example",
        "messy": "test_it_does_not_change_the_inputs_it_is_given",
        "leaky": "test_it_leaves_the_network_as_it_was",
        "dicey": "test_the_same_seed_gives_the_same_bits_whatever_ran_before",
        "masked": "test_a_constant_added_to_all_scores_changes_no_verdict",
        "restless": "test_a_radius_of_zero_moves_nothing",
        "peeking": "test_an_attack_that_is_not_white_box_uses_no_gradient",
        "boastful": "test_its_submission_is_scored_without_a_warning",
        "swallowing": "test_a_model_that_raises_when_it_is_queried_makes_no_row",
        "misnamed": "test_it_bears_the_name_of_its_file_and_names_its_source",
    },
    "defenses": {
        "meddling": TRAINS,
        "waking": TRAINS,
        "careless": "test_the_same_seed_gives_the_same_student_and_another_seed_another",
        "lazy": TRAINS,
    },
}
