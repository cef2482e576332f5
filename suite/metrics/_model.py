"""Metrics of one model, which the setting ``model`` names: what they have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._share import model_name, role_of
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column, Record


def holds(record: Record, attack: str, column: str) -> bool:
    """Whether the student has this column under an attack of this name."""
    return any(
        label.partition(":")[0] == attack and column in result.columns.get("student", {})
        for label, result in record.attacks.items()
    )


@dataclass(frozen=True)
class ModelMetric(Metric):
    """A statistic of a column that every model has, over all seeds.

    ``attack`` names the attack (or ``clean``) whose column ``column`` is read.

    Args:
        model: ``student``, ``control``, ``teacher-ROLE``, ``pretrained``, or ``source`` (the model
            that the poison reached first); with ``.clean`` behind it the counterpart trained
            without the poison.
    """

    attack: ClassVar[str] = ""
    column: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False

    model: str = "student"

    @property
    def title(self) -> str:
        """What is measured, in plain words."""
        return self.name.replace("-", " ")

    @property
    def details(self) -> tuple[str, ...]:
        """Settings besides the model that the heading names."""
        return ()

    @property
    def heading(self) -> str:
        of_model = "" if self.model == "student" else f" of {model_name(self.model)}"
        return ", ".join((self.title + of_model, *self.details))

    @abstractmethod
    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        """The statistic of a model of the group."""

    def sample_values(self, group: SeedGroup, role: str) -> Column | None:
        """The values of ``samples``, of a model of a single record."""
        return None

    def available(self, record: Record) -> bool:
        return holds(record, self.attack, self.column)

    def roles(self, group: SeedGroup) -> list[str]:
        """The models that have the column."""
        columns = group.first.result(self.attack).columns
        return [role for role, named in columns.items() if self.column in named]

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        role = role_of(group, self.model)
        return self.value(group, role) if role in self.roles(group) and role else None

    def why_none(self, group: SeedGroup) -> str:
        known = role_of(group, self.model) in self.roles(group)
        return "" if known else f"no {model_name(self.model)}"

    def samples(self, record: Record) -> Column | None:
        group = SeedGroup((record,))
        role = role_of(group, self.model)
        return self.sample_values(group, role) if role in self.roles(group) and role else None

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model."""
        return {role: self.value(group, role) for role in self.roles(group)}
