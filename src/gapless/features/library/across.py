"""Cross-section: an instrument among all others at one time (see panel.py). Each needs bars of several instruments."""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.registry import feature


@feature("cross-section", bounds=(0.0, 1.0), source="fractional rank, ties averaged")
def rank(x: Node, by: str = "", least: int = 2) -> Node:
    """Rank among the instruments at t, from 0 (least) to 1 (greatest): (rank − 1) / (n − 1).

    Equal values share the mean of their ranks. ``by`` names a grouping: the rank within the instrument's own group.
    NaN where fewer than ``least`` members have a value, or one alone.

    >>> from gapless.features import sample_across
    >>> sample_across("rank(close)", close=[10, 30, 20, 20])
    [0.0, 1.0, 0.5, 0.5]
    """
    return x.graph.across("rank", x, by, least)


@feature("cross-section", source="the population's standard score")
def cs_zscore(x: Node, by: str = "", least: int = 2) -> Node:
    """Standard score among the instruments at t: (x − mean) / std, ddof 0.

    ``by`` names a grouping: mean and deviation of the instrument's own group. NaN where all values are equal, and where
    fewer than ``least`` members have one.

    >>> from gapless.features import sample_across
    >>> sample_across("cs_zscore(close)", close=[1, 3, 2, None])
    [-1.224745, 1.224745, 0.0, nan]
    """
    return x.graph.across("cs_zscore", x, by, least)


@feature("cross-section", source="neutralisation by group")
def demean(x: Node, by: str = "", least: int = 2) -> Node:
    """What the instruments have in common taken out: x minus the mean of all, or of the instrument's group, at t.

    ``by`` names a grouping. NaN where fewer than ``least`` members have a value, or the instrument has no group.

    >>> from gapless.features import sample_across
    >>> sample_across("demean(close, by='sector')", ["banks", "banks", "oil", "oil"], close=[1, 3, 5, 9])
    [-1.0, 1.0, -2.0, 2.0]
    """
    return x.graph.across("demean", x, by, least)


@feature("cross-section")
def only(x: Node, mask: Node) -> Node:
    """x where the mask is a number other than 0, missing elsewhere: says who takes part in a cross-section.

    >>> from gapless.features import sample_across
    >>> sample_across("rank(only(close, volume > 10))", close=[5, 6, 7], volume=[20, 5, 30])
    [0.0, nan, 1.0]
    """
    mine = mask.of("not_equal", 0.0)
    return x * mine / mine
