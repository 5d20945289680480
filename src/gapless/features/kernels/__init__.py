"""The kernels: every operator once, compiled by Numba when first needed.

``lanes``: stateless operators over a stretch of values; ``votes``: those of the ratings; ``windows``: folds over a
window, and ordered windows; ``recursions`` and ``machines``: what keeps state. The drivers stand in ``features.ops``.
No fastmath anywhere: it breaks NaN and the order of additions.
"""
