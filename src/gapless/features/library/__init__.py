"""The features, by family. Importing this package registers them all."""

from gapless.features.library import (
    across,
    bands,
    elementwise,
    flow,
    momentum,
    moving,
    ordered,
    pairs,
    prices,
    ratings,
    returns,
    stochastic,
    trend,
    trends,
    volatility,
    volume,
    windows,
)

__all__ = [
    "across", "bands", "elementwise", "flow", "momentum", "moving", "ordered", "pairs", "prices", "ratings", "returns",
    "stochastic", "trend", "trends", "volatility", "volume", "windows",
]  # fmt: skip
