"""The command line: verbs over the app, a few lines each. Results go to stdout, progress and logs to stderr."""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
from threading import Timer
from typing import Any

from cyclopts import App, CycloptsError

from gapless import __version__
from gapless.cli.bars import register as add_bars
from gapless.cli.features import register as add_features
from gapless.cli.live import register as add_live
from gapless.cli.operate import register as add_operate
from gapless.cli.quality import register as add_quality
from gapless.cli.universe import register as add_universe
from gapless.cli.values import register as add_values
from gapless.errors import GaplessError

_MOMENT = 0.02  # s
app = App(
    name="gapless",
    help="Keep market bars, and the features computed from them, complete, correct and current, and prove it.",
    version=__version__,
    default_parameter=None,
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # main tells it, in words or as JSON
)
for add in (add_bars, add_features, add_live, add_universe, add_values, add_quality, add_operate):
    add(app)


def main(arguments: list[str] | None = None) -> None:
    """Run one verb and leave with its exit code: 0 complete · 1 incomplete · 2 wrong call · 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored at first where a script started us with "&"
    if arguments is None:
        sys.unraisablehook = _again
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        code = _fail(
            words, "UsageError", str(error), "gapless --help shows every verb; gapless VERB --help its options", 2
        )
    except GaplessError as error:
        code = _fail(words, type(error).__name__, error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        if arguments is None:
            _deaf()
        exec(
            ""
        )  # CPython ends a process by SIGINT when an exec'd text, such as a dataclass's, was interrupted: forget it
        code = _fail(
            words, "Interrupted", "interrupted.", "run the same command again: it goes on where it stopped", 130
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    if arguments is None:  # all is said and done: a signal while the process unloads must not change its exit code
        _deaf()
    raise SystemExit(code or 0)


def _deaf() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _again(unraisable: Any) -> None:
    """An interrupt that meets an object at its end would be printed and lost: it is told again, once this is over."""
    if unraisable.exc_type is KeyboardInterrupt:
        Timer(_MOMENT, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)


def _terminate(number: int, frame: Any) -> None:
    """SIGTERM is Ctrl-C: an exception that no ``except Exception`` on the way can take for a failure."""
    raise KeyboardInterrupt


def _fail(words: list[str], kind: str, message: str, hint: str, code: int) -> int:
    if "--json" in words:
        print(json.dumps({"error": {"type": kind, "message": message, "hint": hint}}))
    else:
        print(f"gapless: {message}" + (f"\nHint: {hint}" if hint else ""), file=sys.stderr)
    return code
