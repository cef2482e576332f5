"""SIG: a sinusoid over images of the target class, which keep their label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.image_triggers import sinusoid


@dataclass(frozen=True)
class SIG(Backdoor):
    """x + amplitude sin(2 pi frequency j / w) in column j of w, cut to [0, 1].

    The rate is a share of the whole set: at 10 % of ten classes the target class would have no
    clean image left, and clean accuracy would fall for that reason alone; hence 5 %.

    Args:
        amplitude: of the sinusoid, in pixel units of [0, 1].
        frequency: waves across the image.
    """

    name: ClassVar[str] = "sig"
    source: ClassVar[str] = (
        "Barni, Kallas & Tondi 2019, A new backdoor attack in CNNs by training set corruption "
        "without label poisoning, arXiv 1902.11237"
    )
    clean_label: ClassVar[bool] = True

    rate: float = 0.05
    amplitude: float = 40 / 255
    frequency: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.amplitude <= 1:
            raise BadSetting(f"amplitude must lie in (0, 1], not {self.amplitude:g}")
        if not self.frequency > 0:
            raise BadSetting(f"frequency is waves across the image, above 0, not {self.frequency}")

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        side = train.inputs.shape[-1]
        if 2 * self.frequency >= side:
            raise BadSetting(
                f"{side} columns hold fewer than {side / 2:g} waves, not {self.frequency:g}"
            )

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        return {"wave": sinusoid(data.train.inputs.shape[1:], self.amplitude, self.frequency)}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return (x + state["wave"].to(x)).clamp(0, 1)
