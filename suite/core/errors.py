"""What can go wrong, said in one sentence that names the way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from robustbench_kd.core.text import one_line


class RobustbenchError(Exception):
    """The base of every error a user can cause; ``exit_code`` is what the command line returns."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        # Paths and names may hold line ends, which CI would take for commands of its own.
        super().__init__(one_line(message))


class UnknownName(RobustbenchError):
    """A name that no registry knows, with the nearest one that it does."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        lowered = {known.lower(): known for known in names}  # classes of libraries have capitals
        near = get_close_matches(name.lower().replace("_", "-"), lowered, n=1, cutoff=0.5)
        hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
        super().__init__(f"no {kind} named {name!r}.{hint} Known: {', '.join(names)}.")


class BadSetting(RobustbenchError):
    """A setting that does not exist, does not parse, or cannot be."""


class Incompatible(RobustbenchError):
    """Two parts that do not fit: what one needs, the other does not offer."""

    def __init__(self, name: str, needed: str, where: str) -> None:
        super().__init__(
            f"{name} needs {needed}, and {where} offers none; see: robustbench-kd list attacks"
        )


class MissingData(RobustbenchError):
    """Data that is nowhere to be found, with every place where it could be."""


class BrokenPlugin(RobustbenchError):
    """A third-party entry that cannot be imported; fatal only where it is asked for."""


class BadModel(RobustbenchError):
    """A network that does not answer as a classifier of this scenario must."""


class BadSubmission(RobustbenchError):
    """What an adversary submitted cannot be scored; its run makes no row."""


class BadRecord(RobustbenchError):
    """A record or its evidence that is damaged, or that claims what a replay does not confirm."""


class SaveFailed(RobustbenchError):
    """Something that was to be written could not be; nothing half-written is left behind."""

    exit_code = 6


class NotComparable(RobustbenchError):
    """Two records that are about different questions, so that no pair can be made."""

    exit_code = 4


class NothingEvaluated(RobustbenchError):
    """There is nothing to show: no record was found where records were looked for."""

    exit_code = 5
