"""The checker of types and shapes: an int is a float, as it is for mypy."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
