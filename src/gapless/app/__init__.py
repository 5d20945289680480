"""Names → objects: the public Python API, and what each verb of the command line does."""

from __future__ import annotations

from pathlib import Path

from gapless.app.lake import Lake
from gapless.config import Config, load


def open(  # noqa: A001 - `gapless.open` is the name users type
    url: str | Path | None = None, *, config: Config | str | Path | None = None, create: bool = True
) -> Lake:
    """Open a lake (a directory), making it if need be.

    ``url`` defaults to ``[lake] url`` of the configuration. ``config``: a Config, or the path of a gapless.toml.
    Raises LakeError when there is none and ``create`` is false, UsageError for an address this version cannot open.

    >>> import tempfile
    >>> lake = open(tempfile.mkdtemp())
    >>> lake.bars(["BINANCE:BTCUSDT"], "1m").height
    0
    """
    settings = config if isinstance(config, Config) else load(config)
    return Lake(url if url is not None else settings.lake.url, config=settings, create=create)


__all__ = ["Lake", "open"]
