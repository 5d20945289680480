"""The features, by family. Importing this package registers them all."""

from gapless.features.library import elementwise, momentum, moving, returns, volatility, windows

__all__ = ["elementwise", "momentum", "moving", "returns", "volatility", "windows"]
