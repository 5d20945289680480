"""What is missing, and why. Pure: no sockets, no files, no clock."""

from gapless.coverage.asked import asked_by_table
from gapless.coverage.classify import classify
from gapless.coverage.gap import CLASSES, REPAIRABLE, Gap
from gapless.coverage.grid import Market
from gapless.coverage.matrix import matrix
from gapless.coverage.why import why as why_missing

__all__ = ["CLASSES", "REPAIRABLE", "Gap", "Market", "asked_by_table", "classify", "matrix", "why_missing"]
