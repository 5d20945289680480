"""Features: one definition, batch and live.

Expression → graph → program → interpreter: ``expr`` reads text, ``registry`` and ``library`` say what the names mean,
``graph`` holds operators once, ``program`` flattens them, ``ops`` runs them (Numba, loaded when first needed),
``drivers`` drive batch and live, ``stages`` and ``panel`` compare instruments, ``planning`` is the resumable front for
engines, ``frames`` and ``stream`` for frames, ``proof`` shows that all ways give the same bits.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gapless.features.frames import compute
    from gapless.features.panel import sample_across
    from gapless.features.planning import FeaturePlan, listing, plan, run, sample
    from gapless.features.proof import Certificate, prove
    from gapless.features.registry import catalogue
    from gapless.features.schema import gate
    from gapless.features.stream import Stream
    from gapless.features.words import label, labels

__all__ = [
    "Certificate",
    "FeaturePlan",
    "Stream",
    "catalogue",
    "compute",
    "gate",
    "label",
    "labels",
    "listing",
    "plan",
    "prove",
    "run",
    "sample",
    "sample_across",
]

# Looked up on first use: importing this package loads neither polars nor Numba.
_HOMES = {
    "Certificate": "proof", "FeaturePlan": "planning", "Stream": "stream", "catalogue": "registry", "compute": "frames",
    "gate": "schema", "label": "words", "labels": "words", "listing": "planning", "plan": "planning",
    "prove": "proof", "run": "planning", "sample": "planning",
    "sample_across": "panel",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gapless.features' has no attribute '{name}'")
    return getattr(importlib.import_module(f"gapless.features.{_HOMES[name]}"), name)
