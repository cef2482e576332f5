"""Baselines: what a student withstood when it was accepted, small enough to be committed to git.

One endpoint a line, so that a pull request shows what an update accepts. Who accepted it and when,
git knows; why, the file says. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, BadSetting, NotComparable
from robustbench_kd.core.io import RECORD_LIMIT, read_bytes, write_whole
from robustbench_kd.core.json_document import read_json
from robustbench_kd.regression.baseline_migrations import SCHEMA_1, snapshot_1
from robustbench_kd.regression.endpoints import Endpoint
from robustbench_kd.regression.snapshot import Snapshot
from robustbench_kd.results.record import Bits, Json, canonical

SCHEMA = "robustbench-kd.baseline/2"
SAME = "previous"  # an anchor that is the previous baseline is not written twice
Entries = Mapping[str, Snapshot]


@dataclass(frozen=True)
class Baseline:
    """What later runs are compared with.

    Attributes:
        previous: what was last accepted.
        anchor: what was pinned (a release, say), against slow drift.
        schema: of the file it was read from.
    """

    previous: Entries
    anchor: Entries
    reason: str
    schema: str = SCHEMA

    def updated(self, news: Iterable[Snapshot], reason: str, *, anchor: bool = False) -> Baseline:
        """With these snapshots as the last accepted ones.

        Args:
            news: students that are not in the baseline yet are their own anchors.
            anchor: whether the anchor moves too.

        Raises:
            BadSetting: without a reason, or where two snapshots are about the same student.
        """
        fresh = _by_name(news)
        pinned = {**fresh, **self.anchor, **(fresh if anchor else {})}
        return Baseline({**self.previous, **fresh}, pinned, _one_line(reason))


def accepted(news: Iterable[Snapshot], reason: str) -> Baseline:
    """A first baseline, which is its own anchor.

    Raises:
        BadSetting: without a reason, or where two snapshots are about the same student.
    """
    fresh = _by_name(news)
    return Baseline(fresh, fresh, _one_line(reason))


def _by_name(news: Iterable[Snapshot]) -> dict[str, Snapshot]:
    entries: dict[str, Snapshot] = {}
    for shot in news:
        if entries.setdefault(shot.name, shot) != shot:
            raise BadSetting(
                f"two records are about {shot.name}; a baseline holds a single one of each student"
            )
    return entries


def _one_line(reason: str) -> str:
    if not reason.strip():
        raise BadSetting("a baseline needs a reason, for whoever reviews it: --reason TEXT")
    return " ".join(reason.split())


def written(baseline: Baseline) -> str:
    """The file: sorted, one endpoint a line."""
    parts = {
        "previous": {name: _lines(shot) for name, shot in sorted(baseline.previous.items())},
        "anchor": {
            name: canonical(SAME) if baseline.previous.get(name) == shot else _lines(shot)
            for name, shot in sorted(baseline.anchor.items())
        },
    }
    text = [f' "schema": {canonical(SCHEMA)}', f' "reason": {canonical(baseline.reason)}']
    for part, entries in parts.items():
        inner = ",\n".join(f"  {canonical(name)}: {lines}" for name, lines in entries.items())
        text.append(f' "{part}": {{\n{inner}\n }}')
    return "{\n" + ",\n".join(text) + "\n}\n"


def _lines(shot: Snapshot) -> str:
    about = {name: value for name, value in vars(shot).items() if name != "endpoints"}
    if not shot.user_model:
        del about["user_model"]
    endpoints = ",\n".join(
        f"   {canonical(name)}: {canonical(_plain(endpoint))}"
        for name, endpoint in shot.endpoints.items()
    )
    return f'{{"about": {canonical(about)}, "endpoints": {{\n{endpoints}\n  }}}}'


def _plain(endpoint: Endpoint) -> Json:
    values = endpoint.values
    column = values.json() if isinstance(values, Bits) else list(values)
    return {**vars(endpoint), "values": column}


def parse_baseline(text: str, where: str) -> Baseline:
    """The baseline in a text, of this schema or an older one.

    Raises:
        BadRecord: where it is of no known schema, is damaged, or contradicts itself.
    """
    try:
        body = read_json(text.encode())
        schema = body.get("schema")
        readers = {SCHEMA: _snapshot, SCHEMA_1: snapshot_1}
        if schema not in readers:
            known = ", ".join(sorted(readers))
            raise BadRecord(f"{where} has schema {schema!r}; this version reads {known}")
        read = readers[schema]
        shots = {name: read(name, entry) for name, entry in body["previous"].items()}
        pinned = {
            name: shots[name] if entry == SAME else read(name, entry)
            for name, entry in body["anchor"].items()
        }
        previous, anchor = ({s.name: s for s in part.values()} for part in (shots, pinned))
        return Baseline(previous, anchor, body["reason"], schema)
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        raise BadRecord(f"{where} is no baseline: {type(why).__name__}: {why}") from why


def _snapshot(name: str, body: Json) -> Snapshot:
    endpoints = {key: _endpoint(f"{name}: {key}", end) for key, end in body["endpoints"].items()}
    shot = Snapshot(**body["about"], endpoints=endpoints)
    roles = [endpoint.role for endpoint in endpoints.values()]
    if shot.name != name or roles.count("primary") != 1 or roles.count("utility") > 1:
        raise ValueError(f"{name} holds the endpoints of {shot.name}: {', '.join(endpoints)}")
    panel = {end.count for end in endpoints.values() if end.role == "attack"}
    if len(panel | ({shot.primary.count} if panel else set())) > 1:
        raise ValueError(f"the attacks of {name} were run on different numbers of samples")
    return shot


def _endpoint(where: str, body: Json) -> Endpoint:
    values = body["values"]
    if isinstance(values, list):
        if not values or any(type(value) not in (int, float) for value in values):
            raise ValueError(f"{where} holds no numbers")
        return Endpoint(**{**body, "values": tuple(values)})
    bits = Bits(values["count"], values["bits"])
    if bits.number.bit_count() != values["ones"]:
        raise ValueError(f"{where} counts {values['ones']} ones, its bits do not")
    return Endpoint(**{**body, "values": bits})


def load_baseline(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        NotComparable: where there is no such file, with the command that makes one.
        BadRecord: where it is damaged.
    """
    if not path.exists():
        raise NotComparable(
            f"there is no baseline {path}; make one of what is accepted today: "
            f"robustbench-kd baseline save RECORD... --baseline {path} --reason TEXT"
        )
    try:
        return parse_baseline(read_bytes(path, RECORD_LIMIT).decode(), str(path))
    except UnicodeDecodeError as why:
        raise BadRecord(f"{path} is no baseline: {why}") from why


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Writes the file whole or not at all."""
    write_whole(path, written(baseline).encode())
