"""TradingView's Technical Ratings: 15 votes of moving averages, 11 of oscillators, their means, and the mean of those.

A vote that is missing leaves numerator and denominator. The rules stand in ``votes``.
"""

from __future__ import annotations

from gapless.features.graph import Node
from gapless.features.library.votes import MOVING, OSCILLATORS, PROFILES, VOTES, cast
from gapless.features.registry import Bars, feature

_SOURCE = "TradingView, Pine library TechnicalRating 3, 2024-11-29"
_CHOICES = {"profile": PROFILES, "name": VOTES}


def _tally(votes: list[Node]) -> Node:
    """Counted votes and their sum as one whole number, two votes at a time."""
    joined = votes[0].of("tally", votes[1], params=(0.0,))
    for at in range(2, len(votes), 2):
        if at + 1 < len(votes):
            joined = votes[at].of("tally", votes[at + 1], joined, params=(2.0,))
        else:
            joined = votes[at].of("tally", joined, params=(1.0,))
    return joined


def _moving(bars: Bars, profile: str) -> Node:
    return _tally([cast(bars, name, profile) for name in MOVING])


def _other(bars: Bars, profile: str) -> Node:
    return _tally([cast(bars, name, profile) for name in OSCILLATORS])


@feature("ratings", bounds=(-1.0, 1.0), source=_SOURCE, choices=_CHOICES)
def recommend_ma(bars: Bars, profile: str = "library") -> Node:
    """Technical rating of the moving averages: the mean of the votes counted, of 15.

    >>> from gapless.features import sample
    >>> up = {name: [*range(100, 112)] for name in ("high", "low", "close", "volume")}
    >>> sample("recommend_ma()", **up)[8:10]
    [nan, 1.0]
    """
    return _moving(bars, profile).of("share")


@feature("ratings", bounds=(-1.0, 1.0), source=_SOURCE, choices=_CHOICES)
def recommend_other(bars: Bars, profile: str = "library") -> Node:
    """Technical rating of the oscillators: the mean of the votes counted, of 11.

    >>> from gapless.features import sample
    >>> up = {name: [*range(100, 112)] for name in ("high", "low", "close", "volume")}
    >>> sample("recommend_other()", **up)[10:]
    [nan, 0.0]
    """
    return _other(bars, profile).of("share")


@feature("ratings", bounds=(-1.0, 1.0), source=_SOURCE, choices=_CHOICES)
def recommend_all(bars: Bars, profile: str = "library") -> Node:
    """Technical rating: the mean of recommend_ma and recommend_other; where only one exists, that one.

    With profile ``scraper`` both must exist. The mean is taken of the votes' counts as one fraction, rounded once.

    >>> from gapless.features import sample
    >>> up = {name: [*range(100, 112)] for name in ("high", "low", "close", "volume")}
    >>> sample("recommend_all()", **up)[8:]
    [nan, 1.0, 0.666667, 0.333333]
    """
    moving, other = _moving(bars, profile), _other(bars, profile)
    rating = moving.of("blend", other)
    if profile != "scraper":
        return rating
    shares = moving.of("share") + other.of("share")
    return rating + (shares - shares)


@feature("ratings", bounds=(-1.0, 1.0), source=_SOURCE, choices=_CHOICES)
def vote(bars: Bars, name: str, profile: str = "library") -> Node:
    """One vote of the technical ratings: 1 buy, 0 neutral, −1 sell, NaN where it is not counted.

    >>> from gapless.features import sample
    >>> sample('vote("Mom")', close=[1] * 11 + [2])[10:]
    [nan, 1.0]
    """
    return cast(bars, name, profile)
