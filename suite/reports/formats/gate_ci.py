"""A gate for machines: JSON, GitHub's annotations, JUnit XML, SARIF. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from xml.etree import ElementTree as Xml

from robustbench_kd.core.version import current
from robustbench_kd.regression.decision import MEANS
from robustbench_kd.regression.gate import Finding, Gate
from robustbench_kd.reports.formats.gate_text import amount, change, headline, unit_of
from robustbench_kd.results.record import Json

MOST = 10  # annotations that GitHub shows of one step
UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
OPTIONAL_FAILURES = ("not-comparable", "inconclusive")  # fail a gate by its options alone


def as_json(gate: Gate) -> Json:
    """Everything, as one document."""
    return {
        "verdict": gate.verdict,
        "exit_code": gate.code,
        "headline": headline(gate),
        "rules": dataclasses.asdict(gate.rules),
        "findings": [_entry(finding) for finding in gate.findings],
    }


def _entry(finding: Finding) -> Json:
    replay = finding.replay and {
        "missed": finding.replay.missed,
        "dissolved": finding.replay.dissolved,
        "seeds": finding.replay.seeds,
    }
    return {
        "entry": finding.entry,
        "against": finding.against,
        "role": finding.role,
        "endpoint": finding.endpoint,
        "unit": finding.unit,
        "higher_is_better": finding.higher_is_better,
        "verdict": finding.verdict,
        "trips": finding.trips,
        "before": finding.before.json() if finding.before else None,
        "after": finding.after.json() if finding.after else None,
        "numbers": dataclasses.asdict(finding.numbers) if finding.numbers else None,
        "cross_replay": replay,
        "notes": list(finding.notes),
        "lost": list(finding.lost) if finding.role == "primary" else None,
    }


def sentence(finding: Finding) -> str:
    """A finding in one sentence."""
    numbers = f": {change(finding)}" if finding.numbers else ""
    notes = "".join(f"; {note}" for note in finding.notes)
    return f"{finding.verdict}, {MEANS[finding.verdict]}{numbers}{notes}"


def level(finding: Finding) -> str:
    """``error``, ``warning``, ``note`` or ``none``."""
    if finding.trips:
        return "error"
    if finding.role == "primary" and finding.verdict in OPTIONAL_FAILURES:
        return "warning"
    return "none" if finding.verdict == "ok" else "note"


def workflow_commands(gate: Gate, file: str) -> Iterator[str]:
    """Commands of a GitHub workflow, severest first, and one line on all of it."""
    kinds = {"error": "error", "warning": "warning", "note": "notice"}
    shown = [f for f in gate.findings if level(f) != "none" and f.role != "attack"]
    for finding in shown[: MOST - 1]:
        title = _property(finding.name)
        kind = kinds[level(finding)]
        yield f"::{kind} file={_property(file)},title={title}::{_value(sentence(finding))}"
    more = len(shown) - (MOST - 1)
    rest = f", and {more} more" if more > 0 else ""
    yield f"::notice title=robustbench-kd gate::{_value(headline(gate) + rest)}"


def outputs(gate: Gate) -> Iterator[str]:
    """Lines for GITHUB_OUTPUT."""
    yield f"verdict={gate.verdict}"
    yield f"exit_code={gate.code}"
    first = gate.primary[0]
    if first.numbers is not None:
        points = f"{100 * first.numbers.drop:z.2f}"
        drop = points if first.unit == "percent" else amount(first.numbers.drop, first.unit)
        yield f"drop={drop}"
        yield f"drop_unit={unit_of(first)}"
        yield f"drop_points={points if first.unit == 'percent' else ''}"
        yield f"p={first.numbers.p:.4g}"


def _value(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _value(text).replace(":", "%3A").replace(",", "%2C")


def as_junit(gate: Gate) -> str:
    """One test case a finding: failed, in error (nothing could be paired), skipped, or passed."""
    count = str(len(gate.findings))
    suite = Xml.Element("testsuite", name="robustbench-kd gate", tests=count)
    kinds: dict[str, int] = dict.fromkeys(("failure", "error", "skipped"), 0)
    for finding in gate.findings:
        names = {"classname": _xml(finding.entry), "name": _xml(finding.name)}
        case = Xml.SubElement(suite, "testcase", names)
        if finding.numbers is not None:
            properties = Xml.SubElement(case, "properties")
            numbers = {**dataclasses.asdict(finding.numbers), "unit": finding.unit}
            for name, value in numbers.items():
                Xml.SubElement(properties, "property", name=name, value=str(value))
        kind = _kind(finding)
        if kind is not None:
            kinds[kind] += 1
            outcome = Xml.SubElement(case, kind, message=_xml(sentence(finding)))
            if kind != "skipped":
                outcome.set("type", finding.verdict)
        Xml.SubElement(case, "system-out").text = _xml(sentence(finding))
    suite.set("failures", str(kinds["failure"]))
    suite.set("errors", str(kinds["error"]))
    suite.set("skipped", str(kinds["skipped"]))
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _kind(finding: Finding) -> str | None:
    if finding.trips:
        return "failure"
    if finding.verdict == "not-comparable":
        return "error"
    return "skipped" if finding.verdict == "inconclusive" and finding.role == "primary" else None


def _xml(text: str) -> str:
    return UNPRINTABLE.sub("?", text)


def as_sarif(gate: Gate, file: str, line: Callable[[str], int]) -> Json:
    """SARIF 2.1.0: a rule is an endpoint, a place is a student's line in the baseline file.

    What is ok is left out, since GitHub shows every result as an alert.
    """
    shown = [finding for finding in gate.findings if level(finding) != "none"]
    rules = [
        {"id": rule, "shortDescription": {"text": f"endpoint {rule}"}}
        for rule in sorted({finding.endpoint for finding in shown})
    ]
    driver = {"name": "robustbench-kd", "version": current(), "rules": rules}
    results = [_result(finding, file, line(finding.entry)) for finding in shown]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _result(finding: Finding, file: str, line: int) -> Json:
    place = {"artifactLocation": {"uri": file}, "region": {"startLine": line}}
    return {
        "ruleId": finding.endpoint,
        "level": level(finding),
        "message": {"text": f"{finding.name}: {sentence(finding)}"},
        "locations": [{"physicalLocation": place}],
        "baselineState": "new",
        "partialFingerprints": {"endpoint/v1": finding.name},
    }
