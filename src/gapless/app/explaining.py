"""``features explain``: what expressions are, and what they share when they are computed together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gapless.features import plan
from gapless.features.expr import Call


def explained(expressions: Sequence[str]) -> list[dict[str, Any]]:
    """Each expression by itself: what ``FeaturePlan.explain`` says, and the summary of the feature it calls.

    >>> explained(["hl2()"])[0]["summary"]
    'The middle of the bar: (high + low) / 2.'
    """
    return [_explain(text) for text in expressions]


def _explain(text: str) -> dict[str, Any]:
    understood = plan({"x": text})
    found, term = understood.explain("x"), understood.terms[0]
    del found["name"]
    return found | {"summary": term.feature.summary if isinstance(term, Call) else ""}


def sharing(expressions: Sequence[str]) -> dict[str, Any]:
    """Expressions as one graph: ``nodes`` of all, ``separately`` their sum when each is computed alone, ``shared``.

    ``shared``: nodes that more than one needs. Each of ``expressions`` has ``nodes``, needed for it alone, and ``own``,
    those that no other one needs.

    >>> found = sharing(["sma(close, 5)", "sma(close, 10)"])
    >>> found["nodes"] < found["separately"]
    True
    """
    understood = plan({f"x{i}": text for i, text in enumerate(expressions)})
    closures = [set(understood.graph.closure(root.id)) for root in understood.roots]
    users = Counter(i for closure in closures for i in closure)
    each = [
        one | {"own": sum(users[i] == 1 for i in closure)}
        for one, closure in zip(explained(expressions), closures, strict=True)
    ]
    return {
        "expressions": each,
        "nodes": len(users),
        "separately": sum(len(closure) for closure in closures),
        "shared": sum(count > 1 for count in users.values()),
    }
