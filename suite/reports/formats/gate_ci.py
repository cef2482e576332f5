"""A gate for machines: JSON, GitHub's annotations, JUnit XML, SARIF. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from xml.etree import ElementTree as Xml

from robustbench_kd.core.version import current
from robustbench_kd.regression.decision import MEANS
from robustbench_kd.regression.gate import Finding, Gate
from robustbench_kd.reports.formats.gate_text import drop, headline
from robustbench_kd.results.record import Json

MOST = 10  # annotations that GitHub shows of one step
UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FAILS = ("not-comparable", "inconclusive")  # what fails a gate only where it is told to


def as_json(gate: Gate) -> Json:
    """Everything, as one document."""
    return {
        "verdict": gate.verdict,
        "exit_code": gate.code,
        "headline": headline(gate),
        "rules": dataclasses.asdict(gate.rules),
        "findings": [_entry(one) for one in gate.findings],
    }


def _entry(one: Finding) -> Json:
    again = one.rematch and {
        "missed": one.rematch.missed,
        "dissolved": one.rematch.dissolved,
        "seeds": one.rematch.seeds,
    }
    return {
        "entry": one.entry,
        "against": one.against,
        "role": one.role,
        "endpoint": one.endpoint,
        "verdict": one.verdict,
        "trips": one.trips,
        "before": dataclasses.asdict(one.before) if one.before else None,
        "after": dataclasses.asdict(one.after) if one.after else None,
        "numbers": dataclasses.asdict(one.numbers) if one.numbers else None,
        "asked_again": again,
        "notes": list(one.notes),
        "lost": list(one.lost) if one.role == "robust" else None,
    }


def words(one: Finding) -> str:
    """A finding in one sentence."""
    numbers = f": {drop(one)}" if one.numbers else ""
    return f"{one.verdict}, {MEANS[one.verdict]}{numbers}" + "".join(f"; {n}" for n in one.notes)


def level(one: Finding) -> str:
    """``error``, ``warning``, ``note`` or ``none``."""
    if one.trips:
        return "error"
    if one.role == "robust" and one.verdict in FAILS:
        return "warning"
    return "none" if one.verdict == "ok" else "note"


def workflow_commands(gate: Gate, file: str) -> Iterator[str]:
    """Commands of a GitHub workflow, severest first, and one line on all of it."""
    kinds = {"error": "error", "warning": "warning", "note": "notice"}
    telling = [one for one in gate.findings if level(one) != "none" and one.role != "attack"]
    for one in telling[: MOST - 1]:
        title = _property(one.name)
        kind = kinds[level(one)]
        yield f"::{kind} file={_property(file)},title={title}::{_value(words(one))}"
    more = len(telling) - (MOST - 1)
    rest = f", and {more} more" if more > 0 else ""
    yield f"::notice title=robustbench-kd gate::{_value(headline(gate) + rest)}"


def outputs(gate: Gate) -> Iterator[str]:
    """Lines for GITHUB_OUTPUT."""
    yield f"verdict={gate.verdict}"
    yield f"exit_code={gate.code}"
    numbers = gate.primary[0].numbers
    if numbers is not None:
        yield f"drop_points={100 * numbers.drop:.2f}"
        yield f"p={numbers.p:.4g}"


def _value(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _value(text).replace(":", "%3A").replace(",", "%2C")


def as_junit(gate: Gate) -> str:
    """One test case a finding: failed, in error (nothing could be paired), skipped, or passed."""
    count = str(len(gate.findings))
    suite = Xml.Element("testsuite", name="robustbench-kd gate", tests=count)
    kinds: dict[str, int] = dict.fromkeys(("failure", "error", "skipped"), 0)
    for one in gate.findings:
        case = Xml.SubElement(suite, "testcase", classname=_xml(one.entry), name=_xml(one.name))
        if one.numbers is not None:
            properties = Xml.SubElement(case, "properties")
            for name, value in dataclasses.asdict(one.numbers).items():
                Xml.SubElement(properties, "property", name=name, value=str(value))
        kind = _kind(one)
        if kind is not None:
            kinds[kind] += 1
            told = Xml.SubElement(case, kind, message=_xml(words(one)))
            if kind != "skipped":
                told.set("type", one.verdict)
        Xml.SubElement(case, "system-out").text = _xml(words(one))
    suite.set("failures", str(kinds["failure"]))
    suite.set("errors", str(kinds["error"]))
    suite.set("skipped", str(kinds["skipped"]))
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _kind(one: Finding) -> str | None:
    if one.trips:
        return "failure"
    if one.verdict == "not-comparable":
        return "error"
    return "skipped" if one.verdict == "inconclusive" and one.role == "robust" else None


def _xml(text: str) -> str:
    return UNPRINTABLE.sub("?", text)


def as_sarif(gate: Gate, file: str, line: Callable[[str], int]) -> Json:
    """SARIF 2.1.0: a rule is an endpoint, a place is a student's line in the baseline file.

    What is ok is left out, since GitHub shows every result as an alert.
    """
    told = [one for one in gate.findings if level(one) != "none"]
    rules = [
        {"id": rule, "shortDescription": {"text": f"endpoint {rule}"}}
        for rule in sorted({one.endpoint for one in told})
    ]
    driver = {"name": "robustbench-kd", "version": current(), "rules": rules}
    results = [_result(one, file, line(one.entry)) for one in told]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _result(one: Finding, file: str, line: int) -> Json:
    place = {"artifactLocation": {"uri": file}, "region": {"startLine": line}}
    return {
        "ruleId": one.endpoint,
        "level": level(one),
        "message": {"text": f"{one.name}: {words(one)}"},
        "locations": [{"physicalLocation": place}],
        "baselineState": "new",
        "partialFingerprints": {"endpoint/v1": one.name},
    }
