"""Runnable comparisons: each module has ``run()``, which yields rows; ``python -m benchmarks [NAME…]`` prints them.

Machines are noisy: a row is a median of several runs, and a ratio is taken in one run against a peer on the same data.
"""
