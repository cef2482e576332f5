"""Verification: the models of a record are queried again, and must answer as it says.

That proves what the models answer. That an example that counts as robust could not be broken by
another attack, and that models were trained as their recipes say, only running it anew can show.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from robustbench_kd.core.errors import BadModel, MissingData
from robustbench_kd.core.paths import shipped
from robustbench_kd.evaluation.entries import scenario_of
from robustbench_kd.evaluation.rebuild import rebuild
from robustbench_kd.evaluation.replay import load_student, replay_test_data
from robustbench_kd.evaluation.requery import requery_models
from robustbench_kd.evaluation.verified import Verification
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import (
    local_records,
    read_evidence,
    read_record,
    record_path,
)


def verify(
    record: Record | str | Path, model: nn.Module | None = None, canaries: int | None = None
) -> Verification:
    """Queries every model of a record again and compares all of its columns.

    Args:
        record: the file of a record, its evidence beside it; or a record (of ``evaluate``, say)
            whose evidence is in the cache or among the committed ones.
        model: the network, where the record is about one that neither ships nor is stored.
        canaries: rank only the first so many canaries again; ranks are what takes long.

    Raises:
        BadRecord: naming the first thing that does not hold: the record is refuted.
        BadModel: where a network is not here, or is another than the record's: nothing is shown.
        MissingData: where data, an entry or the record itself are not here: nothing is shown.
    """
    path = locate(record) if isinstance(record, Record) else Path(record)
    content = read_record(path)
    evidence = read_evidence(content, path)
    if model is None and content.student.get("user_model"):
        model = load_student(content, scenario_of(content.scenario))
    if model is not None and weights_digest(model.state_dict()) != content.student["weights"]:
        raise BadModel(f"{path} is about other weights than the network that was given")
    rebuilt = rebuild(content, path, model)
    if rebuilt.poisoning is None and rebuilt.plan.classifies:
        return replay_test_data(content, evidence, path, rebuilt)
    return requery_models(content, evidence, path, rebuilt, canaries)


def locate(record: Record) -> Path:
    """Where a record lies: in the cache, or among the committed ones.

    Raises:
        MissingData: where it is in neither.
    """
    for folder in (local_records(), shipped("records")):
        usual = record_path(record, folder)
        for path in (usual, *sorted(usual.parent.glob("*.json"))):
            if path.exists() and read_record(path).id == record.id:
                return path
    raise MissingData(
        f"the record of {record.label} on {record.board} is neither in the cache nor among the "
        "committed ones; give the path of its file"
    )
