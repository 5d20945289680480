"""Options that many verbs share, and how answers are printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from gapless.app import Lake
    from gapless.config import Config


Symbols = Annotated[str | None, Parameter(help="VENUE:SYMBOL,…; all of the lake if left out.")]
Timeframes = Annotated[str | None, Parameter(help="1m,1h,…; all of the lake if left out.")]
OneTimeframe = Annotated[str, Parameter(help="1m 5m 15m 30m 1h 4h 1d 1w")]
Start = Annotated[str | None, Parameter(help="From here …")]
End = Annotated[str | None, Parameter(help="… to here (exclusive).")]
AsOf = Annotated[str | None, Parameter(help="From the bars as they were known at this time.")]
Universe = Annotated[str | None, Parameter(help="The members of a universe of gapless.toml.")]
Output = Annotated[
    str,
    Parameter(
        name=["--output", "-o"],
        allow_leading_hyphen=True,
        help="A .parquet, .csv or .feather file to write (- is CSV on stdout).",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """What every verb takes.

    Parameters
    ----------
    lake
        Directory of the lake; otherwise $GAPLESS_LAKE, [lake] url of gapless.toml, or ./lake.
    config
        The gapless.toml to read; otherwise $GAPLESS_CONFIG, or ./gapless.toml.
    json
        Print one JSON document to stdout and nothing else.
    """

    lake: str | None = None
    config: Path | None = None
    json: Annotated[bool, Parameter(negative="")] = False

    def settings(self) -> Config:
        """The configuration these options name."""
        from gapless.config import load

        return load(self.config)

    def existing(self) -> Lake | None:
        """The lake these options name, if it is there."""
        from gapless.errors import LakeError

        try:
            return self.open(create=False)
        except LakeError:
            return None

    def open(self, *, create: bool = True) -> Lake:
        """The lake these options name."""
        from gapless import app

        config = self.settings()
        return app.open(self._url(config), config=config, create=create)

    def missing(self) -> bool:
        """Is there nothing yet where the lake is to be?"""
        from gapless.errors import LakeError

        try:
            self.open(create=False)
        except LakeError:
            path = Path(self._url(self.settings()))
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise
            return True
        return False

    @contextmanager
    def trial(self) -> Iterator[Lake]:
        """The lake, or an empty one that is gone afterwards: for what must not leave a lake where there was none."""
        from gapless import app

        if not self.missing():
            yield self.open(create=False)
            return
        with TemporaryDirectory(prefix="gapless-") as blank:
            lake = app.open(blank, config=self.settings())
            try:
                yield lake
            finally:
                lake.store.close()

    def _url(self, config: Config) -> str:
        return self.lake or os.environ.get("GAPLESS_LAKE") or config.lake.url


@Parameter(name="*")
@dataclass(frozen=True)
class What:
    """Which series, over which span, from where.

    Parameters
    ----------
    symbols
        VENUE:SYMBOL,… (a bare symbol needs --source).
    universe
        A universe of gapless.toml: its list, or the members of its newest selection.
    timeframes
        1m,1h,…
    days
        The last N days.
    start
        Or from here …
    end
        … to here (exclusive; now if left out).
    source
        binance or binance-usdm; otherwise the venue's own.
    base_url
        Another address of the source, for example a simulated venue.
    max_concurrent
        Requests under way at once at each source.
    verify
        Ask again, too, for what was learned 1, 3 or 30 days before, so that what the source revised since is found; and
        for derived bars that no source was asked for.
    derive
        Fold longer bars from stored shorter ones: never; gaps, where no source has them; first, before any is asked.
        [backfill] derive if left out.
    """

    symbols: str | None = None
    universe: str | None = None
    timeframes: str | None = None
    days: float | None = None
    start: str | None = None
    end: str | None = None
    source: str | None = None
    base_url: str | None = None
    max_concurrent: int | None = None
    verify: Annotated[bool, Parameter(negative="")] = False
    derive: str | None = None


COMMON = Common()
WHAT = What()


def show(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


def mapping(columns: str | None) -> dict[str, str] | None:
    """``name=Column,name=Column`` taken apart; UsageError where it is not one."""
    from gapless.errors import UsageError

    pairs = [part.partition("=") for part in split(columns) or []]
    if any(not equals for _, equals, _ in pairs):
        raise UsageError(f"--columns {columns} is not a mapping.", hint="write name=Column,name=Column")
    return {name: column for name, _, column in pairs} or None


def split(text: str | None) -> list[str] | None:
    """``A,B`` as a list; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
