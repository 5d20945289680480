"""The embedded lake: Delta tables for history, SQLite for the recent tail and the metadata.

Layout, below the lake's directory:

    bars/<timeframe>/        Delta: one file = one instrument × one period, sorted by ts
    revisions/<timeframe>/   Delta, only ever added to: values that were superseded, with known_from and known_to
    features/<set>/<tf>/     Delta: instrument, ts, version, columns
    tail.sqlite              rows not folded into Parquet yet
    values.sqlite            funding rates and open interest: values at times, what was believed before, their ledger
    meta.sqlite              ledger, coverage index, listings, runs, refused rows, feature sets, checkpoints
    audit/<run>.json         one document a run
    underway/<run>           a file that a run holds locked while its process lives
    writer.lock              held for the length of one write

A write: check → compare with what stands → refuse bad rows → keep new and corrected rows (and the values they
supersede) either as one chunk of the tail or, when there are many, as Parquet files in one commit. Readers take the
tail first, then the newest snapshot, and of equal keys the row known last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from gapless.bars import STORED, check_bars, conform
from gapless.errors import LakeError, LakeFull, LakeLocked, UsageError
from gapless.protocols import Answer, Clock, Counts, Facts, Segment, ValueAnswer, WriteReport
from gapless.segments import Piece
from gapless.series import Instrument, Series
from gapless.spans import EARLIEST, HOUR, Span, SpanSet, Timeframe
from gapless.stores import compare, noted, parquet, refusals
from gapless.stores.delta import Change, DeltaLog, LiveFile
from gapless.stores.fold import Folder
from gapless.stores.lock import WriterLock
from gapless.stores.meta import Meta
from gapless.stores.presence import Presence
from gapless.stores.rows import newest, one_per_version, touches, within
from gapless.stores.tail import Tail
from gapless.stores.underway import Underway
from gapless.stores.values import Values

Columns = Mapping[str, pl.DataType]
REVISIONS: dict[str, pl.DataType] = {
    **{name: kind for name, kind in STORED.items() if name != "known_at"},
    "known_from": STORED["known_at"],
    "known_to": STORED["known_at"],
}
DIRECT_ROWS = 20_000  # a write of more rows goes to Parquet at once
FOLD_ROWS = 400_000  # the tail is folded when it holds more


def wall_clock() -> int:
    """Now, in µs."""
    return time.time_ns() // 1000


class Lake:
    """A lake in a directory; see the module's text. Opening makes the directory if ``create``."""

    def __init__(
        self, root: str | Path, *, create: bool = True, clock: Clock = wall_clock, patience: float = 60.0
    ) -> None:
        self.root = Path(root)
        if not create and not (self.root / "meta.sqlite").exists():
            raise LakeError(
                f"there is no lake at {self.root}.", hint="import or backfill something first, or give --lake DIR"
            )
        with no_space(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self.meta = Meta(self.root / "meta.sqlite")
            self.tail = Tail(self.root / "tail.sqlite")
        self.values = Values(self.root / "values.sqlite")
        self.clock = clock
        self.lock = WriterLock(self.root / "writer.lock", patience)
        self.underway = Underway(self.root / "underway")
        self.folder = Folder(self)
        self._logs: dict[str, DeltaLog] = {}
        self._present: dict[Timeframe, Presence] = {}

    def close(self) -> None:
        """Close the SQLite files."""
        self.values.close()
        self.meta.database.close()
        self.tail.database.close()

    def log(self, kind: str, timeframe: Timeframe) -> DeltaLog:
        """The log of ``bars`` or ``revisions`` of a timeframe."""
        key = f"{kind}/{timeframe.name}"
        if key not in self._logs:
            self._logs[key] = DeltaLog(self.root / key, STORED if kind == "bars" else REVISIONS)
        return self._logs[key]

    def timeframes(self) -> list[Timeframe]:
        """Timeframes with bars or ledger lines."""
        known = {r[0] for r in self.meta.database.rows("SELECT DISTINCT timeframe FROM answered")}
        known |= {r[0] for r in self.meta.database.rows("SELECT DISTINCT timeframe FROM failure")}
        known |= {p.name for p in (self.root / "bars").glob("*") if p.name in Timeframe.ALL}
        known |= {t.name for t in self.tail.timeframes()}
        return sorted(Timeframe.parse(name) for name in known)

    # ------------------------------------------------------------ writing

    def write(
        self, timeframe: Timeframe, frame: pl.DataFrame, *, source: str, run: str = "", whole: bool = False
    ) -> WriteReport:
        """Check, compare, keep what is new, revise what differs; durable on return.

        ``whole``: these rows stand as they are; what they do not say is not kept of the rows they replace.

        Raises LakeFull, LakeLocked; InputError or UsageError, and keeps nothing, for a frame that is not bars.
        """
        frame = conform(frame)
        _check_names(frame)
        with self.writing("write"):
            now = self.clock()
            checked = check_bars(frame, timeframe, now=now)
            refused = refusals.keep(self.meta, timeframe, checked.quarantined, source=source, run=run, now=now)
            stored = self._stored_counterpart(timeframe, checked.clean)
            stamp = self._stamp(now, stored)
            verdict = compare.compare(checked.clean, stored, source=source, known_at=stamp, whole=whole)
            self._keep(timeframe, verdict)
        return compare.report(frame, checked, verdict, timeframe, refused)

    def _stored_counterpart(self, timeframe: Timeframe, clean: pl.DataFrame) -> pl.DataFrame | None:
        """Stored rows at the keys' instruments and times; None when nothing can coincide."""
        present = self.present(timeframe)
        touched = [name for name, ts in compare.spans(clean) if (s := present.get(name)) and s.mask(ts).any()]
        if not touched:
            return None
        ts = clean["ts"].to_physical()
        return self.rows(timeframe, touched, Span(int(ts.min()), int(ts.max()) + 1))  # type: ignore[arg-type]

    @staticmethod
    def _stamp(now: int, stored: pl.DataFrame | None) -> int:
        """known_at of this write: later than that of any row it may replace."""
        if stored is None or not stored.height:
            return now
        return max(now, int(stored["known_at"].to_physical().max()) + 1)  # type: ignore[arg-type]

    def _keep(self, timeframe: Timeframe, verdict: compare.Verdict) -> None:
        if verdict.keep.height > DIRECT_ROWS:
            if verdict.superseded.height:  # first: a revision without its correction is harmless, the reverse is not
                self.tail.append(timeframe, [("revisions", verdict.superseded)])
            self.folder.upsert(timeframe, verdict.keep)
        elif verdict.keep.height:
            self.tail.append(timeframe, [("bars", verdict.keep), ("revisions", verdict.superseded)])
            if self.tail.rows(timeframe) > FOLD_ROWS:
                self.folder.fold(timeframe)

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """The writer's lock, and a full disk told clearly."""
        with no_space(self.root), self.lock.hold(what):
            yield

    def record(self, answers: Iterable[Answer]) -> None:
        """Append to the ledger; durable on return."""
        with self.writing("record"):
            self.meta.record(answers)

    def refuse_values(self, name: str, rows: pl.DataFrame, *, source: str, run: str) -> dict[str, int]:
        """Keep rows of values that are none (instrument, ts, row, raw, reason); how many for each reason."""
        with self.writing("refuse values"):
            return refusals.keep(self.meta, name, rows, source=source, run=run, now=self.clock())

    def keep_values(self, answer: ValueAnswer, frame: pl.DataFrame) -> Counts:
        """Store values (``ts``, ``value``) with the answer they came in, known from now on; durable on return."""
        with self.writing("store values"):
            return self.values.keep(replace(answer, known_at=self.clock()), frame)

    # ------------------------------------------------------------ reading

    def bars(
        self,
        instruments: Sequence[Instrument] | None,
        timeframe: Timeframe,
        span: Span | None = None,
        *,
        as_of: int | None = None,
    ) -> pl.DataFrame:
        """Stored rows by (instrument, ts); with ``as_of`` the values as they were known at that time."""
        names = None if instruments is None else sorted({str(i) for i in instruments})
        frame = self.rows(timeframe, names, span)
        return frame if as_of is None else self._as_of(frame, timeframe, names, span, as_of)

    def rows(
        self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        """Current rows of instruments given by name, sorted by key; only some ``columns`` where that is enough."""
        tail = self.tail.read(timeframe, "bars", STORED, instruments=names, span=span)
        files = self._files("bars", timeframe, names, span)
        wanted = sorted({*columns, "instrument", "ts", "known_at"}) if columns and tail.height else columns
        history = parquet.read([self.root / "bars" / timeframe.name / f.path for f in files], STORED, wanted)
        if any(span is not None and (f.first < span.start or f.last >= span.end) for f in files):
            history = within(history, span)
        found = newest(history, tail) if tail.height else history
        return found.select(columns) if columns else found

    def _files(self, kind: str, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None) -> list[LiveFile]:
        log = self.log(kind, timeframe)
        live = log.live() if names is None else [f for name in sorted(set(names)) for f in log.of(name)]
        return [f for f in live if touches(f, span)]

    def revisions(self, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None) -> pl.DataFrame:
        """Superseded rows, with ``known_from`` and ``known_to``, oldest first."""
        tail = self.tail.read(timeframe, "revisions", REVISIONS, instruments=names, span=span)
        files = self._files("revisions", timeframe, names, span)
        history = parquet.read([self.root / "revisions" / timeframe.name / f.path for f in files], REVISIONS)
        return one_per_version(within(pl.concat([history, tail]), span))

    def learned(self, timeframe: Timeframe, names: Sequence[str], since: int, made: float, upto: int) -> int | None:
        """The oldest bar that opens by ``upto`` and was stored or corrected after ``since`` (``known_at``, µs).

        ``made``: the host's time of ``since``, seconds; files that were written before it are not opened, unless the
        host's clock was set back since.
        """
        tail = self.tail.read(timeframe, "bars", STORED, instruments=names)
        files = self._files("bars", timeframe, names, Span(EARLIEST, upto + 1))
        paths = [self.root / "bars" / timeframe.name / f.path for f in files]
        fresh = [path for path in paths if made > time.time() or path.stat().st_mtime >= made - 1]
        rows = pl.concat([parquet.read(fresh, STORED, ["ts", "known_at"]), tail.select("ts", "known_at")])
        ts, known = rows["ts"].to_physical(), rows["known_at"].to_physical()
        return ts.filter((known > since) & (ts <= upto)).min()  # type: ignore[return-value]

    def _as_of(
        self, frame: pl.DataFrame, timeframe: Timeframe, names: Sequence[str] | None, span: Span | None, as_of: int
    ) -> pl.DataFrame:
        known = frame.filter(pl.col("known_at").to_physical() <= as_of)
        old = self.revisions(timeframe, names, span).filter(
            (pl.col("known_from").to_physical() <= as_of) & (pl.col("known_to").to_physical() > as_of)
        )
        return newest(known, old.rename({"known_from": "known_at"}).select(*STORED))

    # ------------------------------------------------------------ coverage

    def present(self, timeframe: Timeframe) -> dict[str, SpanSet]:
        """The bars held per instrument, from content; costs what changed since the last look."""
        if timeframe not in self._present:
            self._present[timeframe] = Presence(self, timeframe)
        return self._present[timeframe].now()

    def facts(self, timeframe: Timeframe, instruments: Sequence[Instrument] | None = None) -> list[Facts]:
        """What coverage needs, of every stored or asked series (or of these instruments, known or not)."""
        present, answered = self.present(timeframe), self.meta.answered(timeframe)
        confirmed = self.meta.confirmed(timeframe)
        failures, provisional = self.meta.failures(timeframe), self.meta.provisional(timeframe, self.clock())
        refused, listings = self.meta.refused_times(timeframe), self.meta.listings()
        everything = present.keys() | answered.keys() | failures.keys()
        names = sorted(everything if instruments is None else {str(i) for i in instruments})
        nothing = SpanSet.of()
        return [
            Facts(
                series=Series(Instrument.parse(name), timeframe),
                present=present.get(name, nothing),
                answered=answered.get(name, nothing),
                confirmed=confirmed.get(name, nothing),
                failed=tuple(failures.get(name, ())),
                listed_at=listings.get(name, (None, None, ""))[0],
                delisted_at=listings.get(name, (None, None, ""))[1],
                listed_by=listings.get(name, (None, None, ""))[2],
                provisional=provisional.get(name, nothing),
                refused=SpanSet.of(*((t, t + timeframe.micros) for t in refused.get(name, ()))),
            )
            for name in names
        ]

    # ------------------------------------------------------------ features

    def pieces(self, timeframe: Timeframe, name: str, columns: Collection[str] = ()) -> list[Piece]:
        """What an instrument's bars are made of, whichever of their columns are read."""
        return noted.pieces_of(self, timeframe, name)

    def state(self, name: str, series: Series, period: str) -> bytes | None:
        """The state after a segment, where it is kept."""
        return self.meta.state(name, series, period)

    def segments(self, name: str, series: Series) -> dict[str, Segment]:
        """Built segments of a feature set, by period; what has no file any more, for whatever reason, is not built."""
        found = self.meta.segments(name, series)
        if not found:
            return found
        log = self.feature_log(name, series.timeframe, {})  # only files are looked at, whatever they hold
        kept = {file.period for file in log.of(str(series.instrument))}
        return {period: segment for period, segment in found.items() if period in kept}

    def remember_set(self, name: str, timeframe: Timeframe, features: Mapping[str, tuple[str, str]]) -> None:
        """Note which (expression, version) each column of a set is, and that it is built now."""
        now = self.clock()
        known = self.meta.feature_set(name, timeframe) == dict(features)
        if not known or self.meta.feature_builds().get((name, timeframe.name), 0) < now - HOUR:  # to the hour will do
            with self.writing("remember a feature set"):
                self.meta.store_feature_set(name, timeframe, features, now)

    def feature_sets(self, timeframe: Timeframe) -> dict[str, dict[str, tuple[str, str]]]:
        """The (expression, version) of each column of every set that was built and not given up since."""
        found: dict[str, dict[str, tuple[str, str]]] = {}
        for name, bars, feature, expression, version in self.meta.feature_sets():
            if bars == timeframe.name:
                found.setdefault(name, {})[feature] = (expression, version)
        return found

    def forget_set(self, name: str, timeframe: str) -> None:
        """A set is no more; its files are the caller's to delete."""
        self.meta.forget_feature_set(name, timeframe)
        for key in [key for key in self._logs if key.startswith(f"features/{name}/{timeframe}/")]:
            del self._logs[key]

    def feature_log(self, name: str, timeframe: Timeframe, columns: Columns) -> DeltaLog:
        """The log of a feature set with these columns."""
        kinds = {"instrument": STORED["instrument"], "ts": STORED["ts"], **columns}
        key = f"features/{name}/{timeframe.name}/{','.join(f'{n}:{k}' for n, k in columns.items())}"
        if key not in self._logs:
            self._logs[key] = DeltaLog(self.root / "features" / name / timeframe.name, kinds)
        return self._logs[key]

    def stage_features(
        self, name: str, series: Series, segment: Segment, frame: pl.DataFrame, columns: Columns
    ) -> parquet.DataFile:
        """Write one segment's rows durably; nobody sees them before ``commit_features``. Raises LakeFull."""
        log = self.feature_log(name, series.timeframe, columns)
        with no_space(self.root):
            rows = frame.select(*log.schema)
            return parquet.stage(log.prepare(), rows, period=segment.period, timeframe=series.timeframe, feature=True)

    def commit_features(
        self,
        name: str,
        timeframe: Timeframe,
        staged: Sequence[tuple[Series, Segment, parquet.DataFile]],
        columns: Columns,
    ) -> None:
        """Put staged segments in the place of whatever covered their time, in one commit, and remember them."""
        with self.writing("build features"):
            log = self.feature_log(name, timeframe, columns)
            adds = [file for _, _, file in staged]
            log.commit(lambda live: Change(adds, _covered(live, adds)))
            self.meta.store_segments(name, timeframe, [(series, s, f.first) for series, s, f in staged])

    def read_features(
        self, name: str, timeframe: Timeframe, instrument: str, span: Span | None, columns: Columns
    ) -> pl.DataFrame:
        """Some columns of stored feature rows, by ts."""
        log = self.feature_log(name, timeframe, {})
        kinds = pl.Schema({"instrument": STORED["instrument"], "ts": STORED["ts"], **columns})
        files = [f for f in log.of(instrument) if touches(f, span)]
        found = [parquet.read_features(log.directory / f.path, ["ts", *columns]) for f in files]
        rows = pl.concat(found) if found else pl.DataFrame(schema={"ts": STORED["ts"], **columns})
        return within(rows.select(pl.lit(instrument).alias("instrument"), pl.all()).cast(kinds), span)


def _check_names(frame: pl.DataFrame) -> None:
    """A name that is no instrument must not get in, where it would break every later look."""
    for name in frame["instrument"].rle().struct.field("value").unique().drop_nulls():
        if str(Instrument.parse(name)) != name:
            raise UsageError(f"'{name}' is not an instrument.", hint=f"write '{Instrument.parse(name)}'")


def _covered(live: Sequence[LiveFile], adds: Sequence[parquet.DataFile]) -> list[LiveFile]:
    """Live files whose time one of the added files takes over."""
    new: dict[str, list[parquet.DataFile]] = {}
    for file in adds:
        new.setdefault(file.instrument, []).append(file)
    return [f for f in live if any(f.first <= a.last and a.first <= f.last for a in new.get(f.instrument, ()))]


@contextmanager
def no_space(root: Path) -> Iterator[None]:
    """Tell a full disk, a database somebody else holds, or no permission in one clear sentence, whoever noticed."""
    import sqlite3

    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise LakeLocked(
                f"another program holds a database of the lake at {root}.", hint="close it, then run this again"
            ) from error
        full = getattr(error, "errno", None) in (28, 122) or "disk is full" in str(error) or "disk I/O" in str(error)
        if not full and "No space left" not in str(error):
            raise LakeError(
                f"the lake at {root} cannot be used: {getattr(error, 'strerror', None) or error}.",
                hint="is it a directory, and may you write there?",
            ) from error
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize if root.exists() else 0
        raise LakeFull(
            f"no space left for the lake at {root} ({free / 1e6:.1f} MB free).",
            hint="free some space and run the same command again: what was stored stays, nothing is half-written",
        ) from error
