"""gapless: market bars and their features, complete, correct, current, and proven so."""

__version__ = "0.1.0"
