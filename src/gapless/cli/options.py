"""Options that many verbs share, and how answers are printed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from gapless.app import Lake


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

    def existing(self) -> Lake | None:
        """The lake these options name, if it is there."""
        from gapless.errors import LakeError

        try:
            return self.open(create=False)
        except LakeError:
            return None

    def open(self, *, create: bool = True) -> Lake:
        """The lake these options name."""
        import os

        from gapless import app
        from gapless.config import load

        config = load(self.config)
        return app.open(self.lake or os.environ.get("GAPLESS_LAKE") or config.lake.url, config=config, create=create)


@Parameter(name="*")
@dataclass(frozen=True)
class What:
    """Which series, over which span, from where.

    Parameters
    ----------
    symbols
        VENUE:SYMBOL,… (a bare symbol needs --source).
    universe
        A list named in gapless.toml.
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
        Requests under way at once.
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


COMMON = Common()
WHAT = What()


def show(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


def split(text: str | None) -> list[str] | None:
    """``A,B`` as a list; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
