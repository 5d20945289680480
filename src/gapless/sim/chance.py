"""Randomness by name: the same words give the same numbers, in any order of asking and in any process."""

from __future__ import annotations

import hashlib

import numpy as np


def _digest(*words: object) -> bytes:
    return hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=16).digest()


def stream(*words: object) -> np.random.Generator:
    """A generator of its own for these words."""
    return np.random.Generator(np.random.Philox(key=np.frombuffer(_digest(*words), "<u8")))


def draw(*words: object) -> float:
    """One number in [0, 1) for these words.

    >>> draw(7, "a") == draw(7, "a") != draw(7, "b")
    True
    """
    return int.from_bytes(_digest(*words)[:7], "little") / 2**56
