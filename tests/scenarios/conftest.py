"""The real command line in a directory of its own, a simulated venue, and the means to break both."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gapless.cli import main
from gapless.sim import Market, Running, SimConfig, running
from gapless.spans import Span, SpanSet, Timeframe
from gapless.stores.lake import Lake as Store
from gapless.stores.maintain import logs, verify

M1 = Timeframe.parse("1m")
KEY = ["instrument", "ts"]
HANGS = 900.0  # s; nothing has to be quick: after so long a command is not going to end
SEEN = [*KEY, "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def told(self) -> str:
        """All that a person would read."""
        return self.out + self.err


@dataclass
class Shell:
    """``gapless …`` as a user types it, in ``home``, with a lake at ``lake``."""

    home: Path
    lake: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """A command under way, in a process group of its own."""
        line = [sys.executable, "-m", "gapless", *map(str, words)]
        return subprocess.Popen(
            line, cwd=self.home, env=os.environ | {"GAPLESS_LAKE": str(self.lake)} | self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: object, code: int | None = None, timeout: float = HANGS) -> Done:
        """A command, to its end; with ``code`` the end it must have."""
        return self.end(self.start(*words), code=code, timeout=timeout)

    def end(self, process: subprocess.Popen[str], *, code: int | None = None, timeout: float = HANGS) -> Done:
        """Wait for a command that was started."""
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            kill(process)
        done = Done(process.returncode, out, err)
        assert "Traceback" not in done.told, done.told
        assert code is None or done.code == code, done
        return done

    def here(self, *words: object, code: int | None = None) -> Done:
        """A command in this process: for what only looks, again and again, and need not be a process of its own."""
        out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        os.environ.update({"GAPLESS_LAKE": str(self.lake)} | self.env)
        try:
            with chdir(self.home), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
                main([*map(str, words)])
        finally:
            os.environ.clear()
            os.environ.update(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        done = Done(int(left.value.code or 0), out.getvalue(), err.getvalue())
        assert code is None or done.code == code, done
        return done

    @contextmanager
    def store(self) -> Iterator[Store]:
        """A fresh reader."""
        store = Store(self.lake, create=False)
        try:
            yield store
        finally:
            store.close()

    def rows(self, timeframe: Timeframe = M1) -> pl.DataFrame:
        """All bars, as a fresh reader sees them; no rows when there is no lake yet."""
        if not (self.lake / "meta.sqlite").exists():
            return pl.DataFrame(schema=dict.fromkeys(SEEN, pl.Null))
        with self.store() as store:
            return store.rows(timeframe, None, None).select(SEEN)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process group without a chance to say goodbye."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass
class Killer:
    """Kills at an instant drawn from (seed): some time into the run, or just after something touched the disk.

    ``events`` are patterns below the lake; the count of files that match one, or the size of one file, must change.
    """

    chance: random.Random
    seconds: float
    events: Sequence[str] = ()

    def strike(self, process: subprocess.Popen[str], lake: Path) -> bool:
        """Kill it; False when it had ended by itself before."""
        event = self.chance.choice([None, *self.events])
        if event is None:
            self._sleep(process, self.chance.uniform(0.0, self.seconds))
        else:
            self._until(process, lake, event, self.chance.choice([1, 1, 1, 2, 3, 5, 8]))
            self._sleep(process, self.chance.choice([0.0, 0.0, 0.001, 0.003, 0.01, 0.03]))
        alive = process.poll() is None
        kill(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return alive

    @staticmethod
    def _sleep(process: subprocess.Popen[str], seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)

    @staticmethod
    def _until(process: subprocess.Popen[str], lake: Path, pattern: str, times: int) -> None:
        before = _look(lake, pattern)
        while times and process.poll() is None:
            now = _look(lake, pattern)
            times -= now != before
            before = now
            time.sleep(0.0005)


def _look(lake: Path, pattern: str) -> tuple[tuple[str, int], ...]:
    """Names and sizes of what matches; a file that vanishes meanwhile counts as gone."""
    found = []
    for path in lake.glob(pattern):
        with suppress(FileNotFoundError):
            found.append((path.name, path.stat().st_size))
    return tuple(sorted(found))


def whole(store: Store, truth: pl.DataFrame, timeframe: Timeframe = M1) -> pl.DataFrame:
    """Assert that a lake is whole and that every bar in it is true; the bars."""
    assert verify(store) == []
    for log in logs(store):
        if log.directory.parent.name == "bars":
            for before, after in pairwise(log.live()):
                assert before.instrument != after.instrument or before.last < after.first, (before, after)
    rows = store.rows(timeframe, None, None).select(SEEN)
    assert not rows.select(KEY).is_duplicated().any()
    assert rows.join(truth, on=SEEN, how="anti").height == 0, "a stored bar is not what the venue says"
    honest(store, truth, timeframe)
    return rows


def honest(store: Store, truth: pl.DataFrame, timeframe: Timeframe) -> None:
    """Assert that no true bar is absent where the ledger claims to have been told everything."""
    true = {name: part["ts"].to_physical().to_numpy() for (name,), part in truth.group_by("instrument")}
    for fact in store.facts(timeframe):
        ts = true.get(str(fact.series.instrument))
        if ts is not None:
            bars = SpanSet.from_bars(ts, timeframe)
            assert not (bars & fact.answered) - fact.present, f"{fact.series} lacks bars it claims to have"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, tmp_path / "lake")


@pytest.fixture
def shells(tmp_path: Path) -> Callable[[str], Shell]:
    """A shell by name: each with its own lake."""

    def make(name: str) -> Shell:
        home = tmp_path / name
        home.mkdir()
        return Shell(home, home / "lake")

    return make


@pytest.fixture
def killer() -> Callable[..., Killer]:
    """``killer(seed, seconds, *events)``."""
    return lambda seed, seconds, *events: Killer(random.Random(seed), seconds, events)


@pytest.fixture
def check() -> Callable[..., pl.DataFrame]:
    return whole


@pytest.fixture(scope="session")
def market() -> Market:
    """A made market of three symbols that trade without interruption."""
    return Market(5, 3, "2022-01-01", "2024-07-01", listed_late=0, delisted=0, outages_per_month=0, halts_per_month=0)


@pytest.fixture(scope="session")
def truth_of(market: Market) -> Callable[..., pl.DataFrame]:
    """``truth_of(start, end, symbols)``: the bars of the made market, as a lake must show them."""

    def make(start: str, end: str, symbols: Sequence[str] = ()) -> pl.DataFrame:
        span = Span.parse(start, end)
        frames = [market.truth(s, "1m", span) for s in symbols or market.symbols]
        return pl.concat(frames).select(SEEN).sort(KEY)

    return make


def write_files(directory: Path, frame: pl.DataFrame, *, every: str = "1mo") -> list[Path]:
    """Bars as files a vendor might send: one for each symbol and period, CSV and Parquet by turns."""
    directory.mkdir()
    paths = []
    parts = frame.with_columns(pl.col("ts").dt.truncate(every).alias("_period")).partition_by(
        ["instrument", "_period"], as_dict=True, include_key=True, maintain_order=True
    )
    for number, ((name, period), part) in enumerate(parts.items()):
        path = directory / f"{str(name).partition(':')[2]}-1m-{period:%Y-%m-%d}"
        table = part.drop("instrument", "_period")
        if number % 2:
            table.write_csv(path := path.with_suffix(".csv"))
        else:
            table.write_parquet(path := path.with_suffix(".parquet"))
        paths.append(path)
    return paths


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path]]:
    """``files(name, frame)``: bars written to files below a new directory."""
    return lambda name, frame, **how: write_files(tmp_path / name, frame, **how)


@dataclass
class Venue:
    """A simulated venue, a span to ask for, and the words that ask for it."""

    sim: Running
    span: Span
    start: str
    end: str

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.sim.market.symbols

    def words(self, verb: str = "backfill", *, timeframes: str = "1m", symbols: Sequence[str] = ()) -> tuple[str, ...]:
        names = ",".join(f"BINANCE:{s}" for s in symbols or self.symbols)
        return (
            verb, "--symbols", names, "--timeframes", timeframes, "--start", self.start, "--end", self.end,
            "--base-url", self.sim.url, "--json",
        )  # fmt: skip

    def when_asked(self, times: int, do: Callable[[], object]) -> None:
        """Do something before so manieth a request from now is answered."""
        handle, left = self.sim.exchange.handle, iter(range(times - 1, -1, -1))

        def handled(*words: Any) -> Any:
            if next(left, -1) == 0:
                do()
            return handle(*words)

        self.sim.exchange.handle = handled  # type: ignore[method-assign]

    def truth(self, symbols: Sequence[str] = (), timeframe: Timeframe = M1) -> pl.DataFrame:
        """What the lake must hold in the end."""
        frames = [self.sim.market.truth(s, timeframe, self.span) for s in symbols or self.symbols]
        return pl.concat(frames).select(SEEN).sort(KEY)


@pytest.fixture
def venue() -> Iterator[Callable[..., Any]]:
    """``with venue(symbols=8, start=…, end=…) as v``: its clock stands still at the end of 2024-06-03 12:34."""

    @contextmanager
    def make(start: str = "2024-05-31", end: str = "2024-06-03", **options: Any) -> Iterator[Venue]:
        usual: dict[str, Any] = {
            "symbols": 8, "start": "2023-06-01", "now": "2024-06-03T12:34:20Z", "speed": 0.0, "weight_limit": 0,
            "seed": 3,
        }  # fmt: skip
        with running(SimConfig(**(usual | options))) as sim:
            yield Venue(sim, Span.parse(start, end), start, end)

    return make  # type: ignore[return-value]
