"""The public lake: what `gapless.open` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

import polars as pl

from gapless.adjust import Adjust
from gapless.app import adjusting, coverage, fills
from gapless.app.runs import run_line, running, runs
from gapless.bars import EXTRAS, SCHEMA, TS, as_polars
from gapless.config import Config
from gapless.coverage.gap import Gap
from gapless.engine.valued import filled, reader
from gapless.errors import SourceError, UnknownName, UsageError
from gapless.protocols import Counts, WriteReport
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, LATEST, Span, SpanSet, Timeframe, parse_time
from gapless.stores import refusals
from gapless.stores.lake import Lake as Store
from gapless.values import check_name

if TYPE_CHECKING:
    from datetime import datetime

    from gapless.app.reconciling import Findings
    from gapless.app.scoring import Report as Quality
    from gapless.app.selecting import Universe
    from gapless.coverage.reconcile import Policy

Time = Union[str, "datetime", int, None]
_FILLS = ("none", "flat")
_GAPS: dict[str, Any] = {
    "instrument": pl.String, "timeframe": pl.String, "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC"),
    "bars": pl.Int64, "class": pl.String, "severity": pl.String, "confidence": pl.Float64,
    "evidence": pl.List(pl.String), "attempts": pl.Int64,
}  # fmt: skip


class Lake:
    """Bars, their completeness, and the features computed from them, in one directory.

    Times are ISO-8601 text, datetimes, or µs; ends are exclusive. Frames are polars.
    """

    def __init__(self, url: str | Path, *, config: Config | None = None, create: bool = True) -> None:
        text = str(url)
        if "://" in text and not text.startswith("file://"):
            raise UsageError(
                f"this version keeps lakes in directories only, not at {text}.",
                hint="give a directory: gl.open('lake')",
            )
        self.config = config or Config()
        self.store = Store(text.removeprefix("file://"), create=create, patience=self.config.lake.patience)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.store.root

    # ------------------------------------------------------------ bars

    def write(self, instrument: str, timeframe: str, frame: Any, *, source: str = "user") -> WriteReport:
        """Store bars of one instrument; polars, pandas or Arrow in.

        ``frame``: ts (with a time zone), open, high, low, close, volume and any optional columns. Bad rows are refused
        and counted, the same rows again change nothing, a changed value is kept as a revision.
        """
        name = str(Instrument.parse(instrument))
        table = as_polars(frame)
        if "instrument" in table.columns and (foreign := [n for n in table["instrument"].unique() if n != name]):
            raise UsageError(f"the table holds rows of {foreign[0]}, not of {name} only.", hint="write each by itself")
        table = table.with_columns(pl.lit(name).alias("instrument"))
        return self.store.write(Timeframe.parse(timeframe), table, source=source)

    def bars(
        self,
        instruments: Sequence[str] | str | None,
        timeframe: str,
        *,
        start: Time = None,
        end: Time = None,
        as_of: Time = None,
        fill: Literal["none", "flat"] = "none",
        adjust: Adjust = "none",
        adjust_as_of: Time = None,
        provenance: bool = False,
        values: bool = True,
    ) -> pl.DataFrame:
        """Stored bars by (instrument, ts): instrument, ts, open, high, low, close, volume, and optional columns in use.

        A bar without a funding rate or open interest of its own has the newest value known at its open
        (``values=False``: bars as they are stored).

        ``as_of``: the values as they were known at that time. ``fill="flat"`` adds the expected bars that are missing
        between the first and the last, flat at the previous close with volume 0, marked in a column ``filled``.
        ``adjust="splits"`` or ``"all"``: without the effect of splits, or of dividends too, that had taken place and
        were known at ``adjust_as_of`` (``as_of`` if left out, or now); bars are stored as traded.
        ``provenance`` adds ``source`` and ``known_at``.
        """
        if fill not in _FILLS:
            raise UnknownName("fill", fill, _FILLS)
        adjusting.check_adjust(adjust, adjust_as_of)
        chosen, bar = _instruments(instruments), Timeframe.parse(timeframe)
        known = None if as_of is None else parse_time(as_of)
        frame = self.store.bars(chosen, bar, span_of(start, end), as_of=known)
        frame = filled(frame, reader(self.store.values, as_of=known)) if values else frame
        used = [n for n in EXTRAS if frame[n].null_count() < frame.height]
        columns = [n for n in SCHEMA if n not in EXTRAS or n in used] + (["source", "known_at"] if provenance else [])
        frame = frame.select(columns)
        if adjust != "none":
            at = known if adjust_as_of is None else parse_time(adjust_as_of)
            frame = adjusting.adjust_bars(self.store, self.config, frame, bar, adjust, as_of=at)
        return frame if fill == "none" else fills.flat(frame, bar, self.config)

    def values(
        self,
        name: str,
        instruments: Sequence[str] | str | None = None,
        *,
        start: Time = None,
        end: Time = None,
        as_of: Time = None,
    ) -> pl.DataFrame:
        """Values at times, ``funding_rate`` or ``open_interest``: instrument, ts, value, source, known_at.

        ``ts``: when the venue says the value held. ``as_of``: as they were known at that time. Raises UnknownName.
        """
        chosen = _instruments(instruments)
        names = None if chosen is None else [str(i) for i in chosen]
        known = None if as_of is None else parse_time(as_of)
        return self.store.values.read(check_name(name), names, span_of(start, end), as_of=known)

    def write_values(self, name: str, instrument: str, frame: Any, *, source: str = "user") -> Counts:
        """Store values from elsewhere: ``ts`` (with a time zone) and ``value``; polars, pandas or Arrow in.

        The same again changes nothing, a changed value is kept as it was too. Returns how many were written, corrected
        and unchanged. Raises InputError for what is no value.
        """
        from gapless.app.valuing import write

        return write(self.store, name, Instrument.parse(instrument), as_polars(frame), source)

    def mark_sessions(self, frame: pl.DataFrame, timeframe: str) -> pl.DataFrame:
        """The frame with ``session``: ``regular``, or ``extended`` for bars outside regular trading hours."""
        return fills.mark_sessions(frame, Timeframe.parse(timeframe), self.config)

    def quarantine(self, timeframe: str | None = None) -> pl.DataFrame:
        """Refused rows: source, row, instrument, ts, reason, and the values (or the text) as they came."""
        return refusals.table(self.store.meta, Timeframe.parse(timeframe) if timeframe else None)

    # ------------------------------------------------------------ coverage

    def gaps(
        self,
        instruments: Sequence[str] | str | None = None,
        timeframes: Sequence[str] | str | None = None,
        *,
        start: Time = None,
        end: Time = None,
        classes: Sequence[str] = (),
    ) -> pl.DataFrame:
        """Every gap with its class and evidence, a row each; without a span, inside what was ever asked."""
        found = self.find_gaps(instruments, timeframes, start=start, end=end, classes=classes)
        rows = [g.to_dict() | {"start": g.span.start, "end": g.span.end, "evidence": list(g.evidence)} for g in found]
        return pl.DataFrame(rows, schema=_GAPS, orient="row")

    def find_gaps(
        self,
        instruments: Sequence[str] | str | None = None,
        timeframes: Sequence[str] | str | None = None,
        *,
        start: Time = None,
        end: Time = None,
        classes: Sequence[str] = (),
    ) -> list[Gap]:
        """``gaps`` as objects."""
        return coverage.gaps(
            self.store, self.config, instruments=_instruments(instruments), timeframes=self._timeframes(timeframes),
            within=span_of(start, end), classes=classes,
        )  # fmt: skip

    def coverage(self, timeframes: Sequence[str] | str | None = None) -> pl.DataFrame:
        """First, last, expected, present, coverage and freshness of every series, a row each."""
        rows = coverage.status(self.store, self.config, self._timeframes(timeframes))
        flat = [
            {k: parse_time(v) if k in ("first", "last") and v else v for k, v in row.items() if k != "days"}
            for row in rows
        ]
        frame = pl.DataFrame(flat, schema_overrides={"first": pl.Int64, "last": pl.Int64} if flat else None)
        return frame.with_columns(pl.col("first", "last").cast(TS)) if flat else frame

    def status(self, timeframes: Sequence[str] | str | None = None) -> dict[str, Any]:
        """The completeness matrix and the last run, in the shape of ``gapless status --json``."""
        last = runs(self.store, 1)
        return {
            "series": coverage.status(self.store, self.config, self._timeframes(timeframes)),
            "last_run": run_line(last[0]) if last else None,
        }

    def why(self, instrument: str, timeframe: str, time: str | datetime | int) -> dict[str, Any]:
        """Why one expected bar is present or absent: class, evidence, history."""
        return coverage.why(self.store, self.config, Series.parse(instrument, timeframe), parse_time(time))

    # ------------------------------------------------------------ trust

    def quality(
        self,
        instruments: Sequence[str] | str | None = None,
        timeframes: Sequence[str] | str | None = None,
        *,
        start: Time = None,
        end: Time = None,
        against: str | None = None,
    ) -> Quality:
        """Scores of stored bars (``.scores``), and flags beside them (``.table``, a row each); bars are not changed.

        ``against``: a witness to hear about every flag, as in ``reconcile``. The flags are kept in the lake.
        """
        from gapless.app import scoring

        bars = self._timeframes(timeframes)
        return scoring.quality(self, _instruments(instruments), bars, span=span_of(start, end), against=against)

    def reconcile(
        self,
        *against: str,
        instruments: Sequence[str] | str | None = None,
        timeframes: Sequence[str] | str | None = None,
        start: Time = None,
        end: Time = None,
        policy: Policy = "report",
        prefer: Sequence[str] = (),
    ) -> Findings:
        """Stored bars beside what others say: ``.table`` has every disagreement, ``.summaries`` a line a series.

        ``against``: sources to ask anew, a shorter timeframe to fold, other lakes. With a ``policy`` the better bar
        stands, as a correction that a run of its own notes. Raises SourceError where a witness could not be asked.
        """
        from gapless.app import reconciling

        asked = reconciling.wanted(
            self, against, symbols=_names(instruments), timeframes=_names(timeframes), span=span_of(start, end),
            policy=policy, prefer=prefer,
        )  # fmt: skip
        with running(self.store, "reconcile") as run:
            found = reconciling.reconcile(asked, run)
        if run.audit.errors:
            raise SourceError(run.audit.errors[0]["error"], hint=f"gapless audit {run.id} has all of it")
        return found

    # ------------------------------------------------------------ features

    def build(
        self, features: Mapping[str, str], instruments: Sequence[str] | str | None, timeframe: str
    ) -> dict[str, Any]:
        """Materialise features of instruments, incrementally; returns rows written per series and the set's name."""
        from gapless.app import reading
        from gapless.engine.build import build

        bars, chosen = Timeframe.parse(timeframe), _instruments(instruments)
        groups = reading.by_timeframe(features, bars)
        store = reading.view(self.store, self.config)
        reports = [build(store, group, chosen, own).to_dict() for own, group in groups.items() if group]
        return reports[0] | {"longer": reports[1:]} if len(reports) > 1 else reports[0]

    def features(
        self,
        instruments: Sequence[str] | str | None,
        timeframe: str,
        features: Mapping[str, str],
        *,
        start: Time = None,
        end: Time = None,
        as_of: Time = None,
        layout: Literal["wide", "long"] = "wide",
        members: Mapping[str, SpanSet] | None = None,
        coverage: bool = False,
        universe: str | None = None,
        adjust: Adjust = "none",
    ) -> pl.DataFrame:
        """Feature rows by (instrument, ts): stored where they are built, otherwise computed now: the same bits.

        ``instrument``, ``ts``, ``available_at`` (when the row's bar was final, and so its values could be known), and a
        column a feature; ``layout="long"``: one row a value. A feature followed by ``@ 1h`` is computed on those longer
        bars (folded from shorter ones where they are not stored) and joined without looking ahead. ``as_of``: from the
        bars as they were known at that time.

        Features that compare instruments (``rank`` …) compare those of the call, in the groups of ``[groups.NAME]`` of
        gapless.toml; with ``universe``, those of ``[universes.NAME]``, whichever of them rows are asked of.
        ``members``: when each belongs. ``coverage`` adds ``NAME_coverage``: members with a value ÷ members expected.
        ``adjust``: from bars without the effect of corporate actions; nothing of that is stored.
        """
        from gapless.app import reading
        from gapless.engine.across import Scope

        known = None if as_of is None else parse_time(as_of)
        return reading.features(
            self.store, self.config, features, _instruments(instruments), Timeframe.parse(timeframe),
            span_of(start, end), as_of=known, layout=layout, scope=Scope(self.config.groups, members, coverage),
            universe=universe, adjust=adjusting.view_of(self.store, self.config, adjust, as_of=known),
        )  # fmt: skip

    def dataset(
        self,
        features: Mapping[str, str],
        label: str,
        horizon: int,
        embargo: int = 0,
        *,
        instruments: Sequence[str] | str | None = None,
        timeframe: str = "1m",
        start: Time = None,
        end: Time = None,
        as_of: Time = None,
        split: Time = None,
        join: pl.DataFrame | None = None,
        join_columns: Sequence[str] = (),
        members: Mapping[str, SpanSet] | None = None,
        adjust: Adjust = "none",
    ) -> pl.DataFrame:
        """A training set that never looks ahead: features, the ``label`` expression ``horizon`` bars later, and times.

        ``available_at``: when the features could be known; ``label_at``: when the label could. With ``split`` a
        column ``part`` says train or test: training rows whose label is known only after the split are left out, and so
        are ``embargo`` bars after it. ``join``: another table with ``available_at``, joined as of that time.
        ``members``: when each instrument belongs to the population of features that compare them. ``adjust``: from bars
        without the effect of corporate actions. Raises LeakError where a row would see its own future.
        """
        from gapless.app import dataset, reading
        from gapless.engine.across import Scope

        at, known = (None if t is None else parse_time(t) for t in (split, as_of))
        shape = dataset.Shape(Timeframe.parse(timeframe), horizon, embargo, at)
        dataset.check_names(features)
        rows = reading.features(
            self.store, self.config, {**features, "_label": label}, _instruments(instruments), shape.timeframe,
            span_of(start, end), as_of=known, scope=Scope(self.config.groups, members),
            adjust=adjusting.view_of(self.store, self.config, adjust, as_of=known),
        )  # fmt: skip
        labels = rows.select("instrument", "ts", "available_at", "_label")
        table = dataset.assemble(rows.drop("_label"), labels, "_label", shape)
        return table if join is None else dataset.join_known(table, join, join_columns or _others(join))

    # ------------------------------------------------------------

    def alerts(self, *, start: Time = None, end: Time = None, withdrawn: bool = False) -> list[dict[str, Any]]:
        """Alerts of live runs that stand, by time; ``withdrawn``: those too that a later correction took back."""
        from gapless.app import decisions

        return decisions.alerts(self, span=span_of(start, end), withdrawn=withdrawn)

    def positions(self) -> list[dict[str, Any]]:
        """Paper positions of live runs, by the time of their signal."""
        from gapless.app import decisions

        return [position.to_dict() for position in decisions.positions(self)]

    def universe(self, name: str) -> Universe:
        """A universe of the configuration: ``.at(t)`` has its members at a time, ``.select(t)`` why."""
        from gapless.app.selecting import Universe

        return Universe(self.store, self.config, name)

    def timeframes(self) -> list[str]:
        """Timeframes the lake knows anything of."""
        return [t.name for t in self.store.timeframes()]

    def instruments(self, timeframe: str) -> list[str]:
        """Instruments with bars of a timeframe."""
        return sorted(self.store.present(Timeframe.parse(timeframe)))

    def _timeframes(self, names: Sequence[str] | str | None) -> list[Timeframe]:
        found = _names(names)
        return self.store.timeframes() if found is None else [Timeframe.parse(name) for name in found]


def _names(names: Sequence[str] | str | None) -> Sequence[str] | None:
    return [names] if isinstance(names, str) else names


def _instruments(names: Sequence[str] | str | None) -> list[Instrument] | None:
    found = _names(names)
    return None if found is None else [Instrument.parse(name) for name in found]


def span_of(start: Time, end: Time) -> Span | None:
    """A span from times that may be left out; None for all of time."""
    if start is None and end is None:
        return None
    return Span.parse(EARLIEST if start is None else start, LATEST if end is None else end)


def _others(frame: pl.DataFrame) -> list[str]:
    """The columns of a joined table that are values."""
    return [n for n in frame.columns if n not in ("instrument", "ts", "available_at")]
