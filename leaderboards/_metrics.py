"""The columns that leaderboards of one kind share."""

from __future__ import annotations

ROBUSTNESS_METRICS = ("robust-accuracy", "clean-accuracy", "attack-accuracy")

BACKDOOR_METRICS = (
    "attack-success:model=source",
    "attack-success:model=source.clean",
    "attack-success",
    "attack-success:model=student.clean",
    "attack-success:model=control",
    "recovered-accuracy",
    "clean-accuracy:model=source",
    "clean-accuracy",
    "inheritance-ratio",
)

TEXT_PRIVACY_METRICS = (
    "exposure",
    "exposure:format=digits",
    "exposure:format=words",
    "exposure:format=blind",
    "exposure-reduction",
    "perplexity",
    "perplexity-increase",
    "leakage",
    "first-ranked",
    "extraction-rate",
    "membership-auc",
    "exposure:model=teacher-clean",
    "exposure:model=control",
)
