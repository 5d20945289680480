"""Statistics of a window in order: robust against outliers.

They read the *known* values of the last ``length`` bars and need at least ``least`` of them (0: all). NaN where the
newest value is missing.
"""

from __future__ import annotations

from gapless.errors import ExpressionError
from gapless.features.graph import Node
from gapless.features.registry import feature


def _ordered(x: Node, op: str, length: int, least: int) -> Node:
    if least > length:
        raise ExpressionError(f"{op} asks for {least} of {length} values.", hint="least is at most length; 0 is all")
    return x.of(op, params=(float(length), float(least or length)))


@feature("windows")
def median(x: Node, length: int, least: int = 0) -> Node:
    """Rolling median; the mean of the middle two where their number is even.

    >>> from gapless.features import sample
    >>> sample("median(close, 3)", close=[1, 9, 2, 3])
    [nan, nan, 2.0, 3.0]
    >>> sample("median(close, 3, 1)", close=[1, 9, None, 3])
    [1.0, 5.0, nan, 6.0]
    """
    return _ordered(x, "median", length, least)


@feature("windows", bounds=(0.0, None))
def mad(x: Node, length: int, least: int = 0) -> Node:
    """Median absolute deviation: the median of |x − median|, unscaled.

    >>> from gapless.features import sample
    >>> sample("mad(close, 3)", close=[1, 9, 2, 3])
    [nan, nan, 1.0, 1.0]
    """
    return _ordered(x, "mad", length, least)


@feature("windows", least=2)
def robust_zscore(x: Node, length: int, least: int = 0) -> Node:
    """How far the newest value lies from the window's median: (x − median) / (1.4826·MAD), itself included.

    1.4826 makes the MAD an estimate of a normal distribution's standard deviation. NaN where the MAD is 0.

    >>> from gapless.features import sample
    >>> sample("robust_zscore(close, 3)", close=[1, 2, 4, 4, 4])
    [nan, nan, 1.348982, nan, nan]
    """
    if least == 1:
        raise ExpressionError("one value has no deviation.", hint="least is at least 2; 0 is all")
    return _ordered(x, "robust_zscore", length, least)
