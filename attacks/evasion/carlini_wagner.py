"""The least L2 perturbation that changes the class, by Adam under a change of variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.config import Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.attacks.carlini_wagner import carlini_wagner, within_norm
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class CarliniWagner(Evasion):
    """Minimum norm, scored at the radius ``eps``; metadata: the ``norm`` that each input needs.

    Rounds and the first weight are those of the authors' code. It takes up to 10,000 steps of rate
    0.01 a round; 200 of a rate that falls from 0.1 to 0 find the same norms on our digits.

    Args:
        steps: of Adam, in each round.
        rounds: of the search for the weight of the goal against the norm.
        rate: Adam's learning rate at the start of a round.
        c: the weight of the first round.
        kappa: the confidence: the least margin of the goal, in logits.
    """

    name: ClassVar[str] = "carlini-wagner"
    source: ClassVar[str] = "Carlini & Wagner 2017, Towards evaluating the robustness, sec. VI.A"
    adaptive_against: ClassVar[tuple[str, ...]] = ("defensive-distillation",)
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    eps: float = 1.0
    norm: Norm = "l2"
    steps: int = 200
    rounds: int = 9
    rate: float = 0.1
    c: float = 0.001
    kappa: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.rounds) < 1:
            raise BadSetting(f"{self.name} needs at least one step and one round")
        if not (self.rate > 0 and self.c > 0 and self.kappa >= 0):
            raise BadSetting(f"{self.name} needs rate and c above 0, and kappa of at least 0")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        z, norm = carlini_wagner(
            logits,
            x,
            goal,
            rounds=self.rounds,
            steps=self.steps,
            learning_rate=self.rate,
            c=self.c,
            kappa=self.kappa,
        )
        return within_norm(z, x, norm, self.eps), {"norm": norm}
