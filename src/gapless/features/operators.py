"""The operators: their numbers, and what follows from each without running it. Loads nothing heavy.

A kernel knows an operator by its number here; the kernels' dispatch relies on the order of the families: stateless
ones, folds over a window, ordered windows, exponential recursions, machines. What a graph must know of an operator to
say warm-up, memory and state stands in ``TRAITS``; whoever is not there waits for all inputs and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# fmt: off
CODES = (
    "add", "sub", "mul", "div", "ratio", "abs", "sqrt", "log", "floor", "copy",
    "max", "min", "known_max", "known_min", "positive", "where", "first_known",
    "greater", "greater_equal", "equal", "not_equal",
    "above", "side", "ballot", "tally", "share", "blend",
    "shifted", "drift", "squared",
    "deviation", "age",
    "median", "mad", "robust_zscore",
    "ema", "rma",
    "steady", "cumulate", "kama", "psar", "supertrend",
)
(
    ADD, SUB, MUL, DIV, RATIO, ABS, SQRT, LOG, FLOOR, COPY,
    MAX, MIN, KNOWN_MAX, KNOWN_MIN, POSITIVE, WHERE, FIRST_KNOWN,
    GREATER, GREATER_EQUAL, EQUAL, NOT_EQUAL,
    ABOVE, SIDE, BALLOT, TALLY, SHARE, BLEND,
    SHIFTED, DRIFT, SQUARED,
    DEVIATION, AGE,
    MEDIAN, MAD, ROBUST_ZSCORE,
    EMA, RMA,
    STEADY, CUMULATE, KAMA, PSAR, SUPERTREND,
) = range(len(CODES))
# fmt: on

# Operators across instruments stand in no program of one instrument: stages.py cuts the graph at them.
ACROSS = ("rank", "cs_zscore", "demean")
RANK, CS_ZSCORE, DEMEAN = range(len(ACROSS))

Params = tuple[float, ...]
PARAMS = 3  # numbers an instruction may carry


def _nothing(_: Params) -> int:
    return 0


def _window(params: Params) -> int:
    return int(params[0]) - 1


def _least(params: Params) -> int:
    return int(params[1]) - 1


@dataclass(frozen=True, slots=True)
class Traits:
    """What a graph must know of an operator.

    ``waits``: whose first values decide about its own: ``all`` operands; ``one`` of the series among them; ``any``,
    numbers included; only the last one (``guard``); the first and one of the others (``chosen``); ``none``.
    ``delay``: bars more that the first operand needs. ``reach``: bars back at which the first operand is read.
    ``state``: numbers kept.
    """

    waits: str = "all"
    delay: Callable[[Params], int] = _nothing
    reach: Callable[[Params], int] = _nothing
    state: Callable[[Params], int] = _nothing


_RECURSION = Traits(delay=_window, state=lambda _: 3)
_ORDERED = Traits(delay=_least, reach=_window)
TRAITS = {
    "known_max": Traits(waits="one"),
    "known_min": Traits(waits="one"),
    "tally": Traits(waits="one"),
    "blend": Traits(waits="one"),
    "first_known": Traits(waits="any"),
    "where": Traits(waits="chosen"),
    "above": Traits(waits="none"),
    "ballot": Traits(waits="guard"),
    "deviation": Traits(delay=_window, reach=_window),
    "age": Traits(delay=_window, reach=_window),
    "median": _ORDERED,
    "mad": _ORDERED,
    "robust_zscore": _ORDERED,
    "ema": _RECURSION,
    "rma": _RECURSION,
    "steady": Traits(state=lambda params: int(params[0]) + 3),
    "cumulate": Traits(state=lambda _: 4),
    "kama": Traits(state=lambda _: 2),
    "psar": Traits(delay=lambda _: 1, state=lambda _: 10),
    "supertrend": Traits(state=lambda _: 5),
}
RECURSIONS = ("ema", "rma")  # of one stage, batch runs up to four side by side
_USUAL = Traits()


def traits(op: str) -> Traits:
    """The traits of an operator.

    >>> traits("ema").state((20.0, 0.1)), traits("add").reach(())
    (3, 0)
    """
    return TRAITS.get(op, _USUAL)
