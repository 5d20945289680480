"""The words of a technical rating: Strong Sell … Strong Buy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

TOLERANCE = 1e-10
STRONG, MILD = 0.5, 0.1


def label(rating: float) -> str:
    """A rating's word; an edge belongs to the milder class, and a missing rating is a dash.

    >>> [label(x) for x in (-0.6, -0.5, 0.1, 0.2, 0.9, float("nan"))]
    ['Strong Sell', 'Sell', 'Neutral', 'Buy', 'Strong Buy', '-']
    """
    if rating != rating:
        return "-"
    word = "Buy" if rating > 0 else "Sell"
    if abs(rating) - STRONG > TOLERANCE:
        return f"Strong {word}"
    return word if abs(rating) - MILD > TOLERANCE else "Neutral"


def labels(ratings: pl.Series) -> pl.Series:
    """The words of a column of ratings, nulls being missing.

    >>> import polars as pl
    >>> labels(pl.Series("rating", [0.7, None])).to_list()
    ['Strong Buy', '-']
    """
    import polars as pl

    words = [label(float("nan") if x is None else x) for x in ratings.to_list()]
    return pl.Series(ratings.name, words, dtype=pl.String)
