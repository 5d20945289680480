"""Files in place of pages, pure: which of the files that an archive offers are cheaper than asking page by page.

1. A file is worth it when it takes less time than the pages of the wanted bars inside it: a whole month nearly always
   is, a day often, a few bars never.
2. One request lists which files of a folder are there; the files of a folder must save more than that costs.
3. Files of one folder that follow each other are one task, of at most ``FILES``, so that several workers share them;
   the days of a month stay together, since they are stored together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from gapless.engine.prices import ROUND_TRIP, by_file, by_pages
from gapless.protocols import Offer, Source
from gapless.series import Series
from gapless.spans import DAY, SpanSet, to_datetime

FILES = 20


def picked(series: Series, spans: SpanSet, offers: Sequence[Offer], source: Source) -> list[tuple[Offer, ...]]:
    """The files to fetch for ``spans``, those of one task together."""
    saved = {offer.span: by_pages(spans.clip(offer.span), series, source) - by_file(offer) for offer in offers}
    worth = [offer for offer in offers if saved[offer.span] > 0]
    folders: dict[str, float] = defaultdict(float)
    for offer in worth:
        folders[offer.folder] += saved[offer.span]
    return list(runs([offer for offer in worth if folders[offer.folder] > ROUND_TRIP]))


def runs(offers: Sequence[Offer]) -> Iterator[tuple[Offer, ...]]:
    """Step 3: files by time, those of one task together."""
    cuts = [0]
    for at, (before, after) in enumerate(pairwise(offers), 1):
        follows = before.folder == after.folder and before.span.end == after.span.start
        if not follows or _is_enough(after, at - cuts[-1]):
            cuts.append(at)
    for start, end in pairwise([*cuts, len(offers)]):
        if end > start:
            yield tuple(offers[start:end])


def _is_enough(following: Offer, files: int) -> bool:
    """Is a task of so many files complete before the one that follows?"""
    if following.span.end - following.span.start > DAY:
        return files == FILES
    return to_datetime(following.span.start).day == 1
