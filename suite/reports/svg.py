"""A drawing made part of a page: its ids clash with none, its colours are the page's, it is small.

The plotting library writes a group around every mark, six digits behind every point and each style
in full; a page of all boards would be twice as large.
"""

from __future__ import annotations

import hashlib
import re
from xml.etree import ElementTree

from robustbench_kd.reports.drawing import INK, TONES

DROPPED = {"metadata", "style"}
REFERENCE = re.compile(r"url\(#([^)]*)\)")
LONG = re.compile(r"-?\d+\.\d{3,}")
FAMILY = re.compile(r"font-family:[^;]*;?")  # a page has its own font
UPRIGHT = re.compile(r"rotate\(-?0 [^)]*\)")  # by no angle
PLACES = {"d", "x", "y"}  # not transform, where the third digit may be a scale's first


def inlined(svg: bytes, key: str, title: str, description: str) -> str:
    """The SVG element as HTML takes it, with a title and a description for screen readers.

    Args:
        svg: as the plotting library wrote it.
        key: what every id is made of, so that two drawings on a page do not share any.
    """
    short = "s" + hashlib.sha256(key.encode()).hexdigest()[:6]  # every mark repeats it
    root = ElementTree.fromstring(svg)
    for node in root.iter():
        node.tag = _bare(node.tag)
    for parent in root.iter():
        for child in [c for c in parent if c.tag in DROPPED]:
            parent.remove(child)
    for node in root.iter():
        attributes = {_bare(name): value for name, value in node.attrib.items()}
        node.attrib.clear()
        node.attrib.update(
            {k: _attribute(k, v, short) for k, v in attributes.items() if not UPRIGHT.fullmatch(v)}
        )
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    _drop_ids(root)
    _flatten(root)
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-t {key}-d")
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        node = ElementTree.Element(tag, {"id": f"{key}-{tag[0]}"})
        node.text = text
        root.insert(place, node)
    return ElementTree.tostring(root, encoding="unicode")


def _bare(name: str) -> str:
    """A name without its namespace: an HTML page knows what is inside of an svg element."""
    return name.rpartition("}")[2]


def _attribute(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href" and value.startswith("#"):
        return f"#{key}-{value[1:]}"
    if name in PLACES:
        return LONG.sub(lambda match: f"{float(match[0]):.2f}", " ".join(value.split()))
    if name in ("style", "fill", "stroke", "clip-path"):
        value = value.replace("; ", ";").replace(": ", ":")
        value = FAMILY.sub("", value)
        value = REFERENCE.sub(rf"url(#{key}-\1)", value)
        value = value.replace(INK, "currentColor")
        for n, tone in enumerate(TONES):
            value = value.replace(tone, f"var(--tone{n})")
    return value


def _drop_ids(root: ElementTree.Element) -> None:
    """Ids that nothing refers to are only names that the plotting library gave."""
    used: set[str] = set()
    for node in root.iter():
        if (link := node.get("href", "")).startswith("#"):
            used.add(link[1:])
        for value in node.attrib.values():
            used.update(REFERENCE.findall(value))
    for node in root.iter():
        if node.get("id") is not None and node.get("id") not in used:
            del node.attrib["id"]


def _flatten(node: ElementTree.Element) -> None:
    """Replaces groups without attributes by their children; no space between elements."""
    children: list[ElementTree.Element] = []
    for child in node:
        _flatten(child)
        children += list(child) if child.tag == "g" and not child.attrib else [child]
    node[:] = children
    if children:
        node.text = (node.text or "").strip()
    for child in children:
        child.tail = (child.tail or "").strip()
