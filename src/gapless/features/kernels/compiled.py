"""How kernels are compiled, called and cached.

Every operator is compiled on its own, the first time a program uses it, and called by its address: the drivers know
operators by number only, and a table says where the code of each stands. So a first run compiles what it needs and no
more, batch and live share what they both use, and nothing is optimised a second time inside its callers.

Numba's disk cache looks only at the file of the function it compiles: a kernel whose primitive was edited in another
file would be served stale. Here every kernel's stamp is a digest of all the kernels' files, so that an edit in any of
them compiles everything anew.
"""

from __future__ import annotations

import gc
import hashlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

F = TypeVar("F", bound=Callable[..., Any])
Lane = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]
Table = npt.NDArray[np.int64]

HERE = Path(__file__).parent
FILES = (HERE.parent / "ops.py", HERE.parent / "operators.py", *sorted(HERE.glob("*.py")))

_LANE, _ROWS = types.Array(types.float64, 1, "C"), types.Array(types.float64, 2, "C")
_LIST, _TABLE = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
Signature = tuple[Any, ...]
# The ways to call an operator: on lanes; along time with its state; four recursions at once; for many symbols.
OF_LANES: Signature = (_LANE,) * 5
OF_TIME: Signature = (_LANE,) * 6
OF_FOUR: Signature = (_TABLE, _ROWS, _ROWS, _LIST, _LANE, *(types.int64,) * 4)
OF_SYMBOLS: Signature = (*(_LANE,) * 4, _ROWS, types.int64, _LIST, types.boolean, _LANE)
BATCH, LIVE = 0, 1
KERNELS: dict[tuple[int, int], tuple[Callable[..., None], Signature]] = {}  # by operator and driver


def stamp() -> bytes:
    """A digest over every file that kernels are made of."""
    found = hashlib.sha256()
    for path in FILES:
        found.update(path.read_bytes())
    return found.digest()


_STAMP = stamp()
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_lock = threading.Lock()
_told = False


def compiled(function: F) -> F:
    """A part of kernels, which is compiled into each: without the interpreter's lock, with IEEE division."""
    return cast(F, numba.njit(no_cpython_wrapper=True, **_OPTIONS)(function))


def kernel(signature: Signature, *operators: int, drivers: Iterable[int] = (BATCH, LIVE)) -> Callable[[F], F]:
    """The code of some operators for some drivers; the function stays what it is until a program needs it."""

    def register(function: F) -> F:
        KERNELS.update(((op, driver), (function, signature)) for op in operators for driver in drivers)
        return function

    return register


def driver(function: F) -> F:
    """A function that Python calls, with all its parts in it, cached on disk where that is possible."""
    return cast(F, _cached(numba.njit(**_OPTIONS)(function)))


def _cached(dispatcher: Any) -> Any:
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # neither beside the file nor in the user's directory can anything be written
        return dispatcher
    dispatcher._cache._cache_file._source_stamp = _STAMP  # numba offers no other way to name more than one file
    return dispatcher


class Addresses:
    """Where the machine code of each operator stands, by (operator, driver); 0 until it has been asked for."""

    def __init__(self) -> None:
        self.table: Table = np.zeros((1 + max(op for op, _ in KERNELS), 2), dtype=np.int64)
        self._dispatchers: dict[Callable[..., None], tuple[Any, int]] = {}  # code lives as long as its dispatcher

    def of(self, operators: Iterable[int], driver: int) -> Table:
        """The table, complete for these operators under this driver."""
        for op in operators:
            if not self.table[op, driver]:
                with _lock:
                    self.table[op, driver] = self._address(*KERNELS[op, driver])
        return self.table

    def _address(self, function: Callable[..., None], signature: Signature) -> int:
        if function not in self._dispatchers:
            dispatcher = _cached(numba.njit(no_cpython_wrapper=True, **_OPTIONS)(function))
            announce(dispatcher)
            with _no_collection():
                dispatcher.compile(signature)
            found = dispatcher.overloads[signature]
            address = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
            self._dispatchers[function] = dispatcher, address
        return self._dispatchers[function][1]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Compiling makes very many objects that live on: looking for garbage among them takes a tenth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def caller(signature: Signature) -> Any:
    """A function for drivers: (address, arguments…) runs the code at the address."""

    @cast(Callable[[F], F], intrinsic)
    def call(_: Any, address: Any, *arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature_: Any, values: Any) -> Any:
            pointer = context.call_conv.get_function_type(types.none, signature).as_pointer()
            code = builder.inttoptr(values[0], pointer)
            given = [builder.extract_value(values[1], i) for i in range(len(signature))]
            context.call_conv.call_function(builder, code, types.none, signature, given)
            return context.get_dummy_value()

        return types.void(types.int64, types.StarArgTuple(signature)), generate

    return call


@cast(Callable[[Callable[..., Any]], Callable[[Rows, int, int], Lane]], intrinsic)
def flat(_: Any, rows: Any, start: Any, count: Any) -> Any:
    """``count`` numbers from the place ``start`` of the table on, row after row, as a lane that does not own them.

    Slices do the same, but count who holds the table, and look for negative places: more than a short lane's work.
    """

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        table = arrayobj.make_array(_ROWS)(context, builder, values[0])
        lane = arrayobj.make_array(_LANE)(context, builder)
        size = context.get_constant(types.intp, 8)
        place = builder.gep(table.data, [values[1]])
        arrayobj.populate_array(lane, place, [values[2]], [size], size, None)
        return lane._getvalue()

    return _LANE(_ROWS, types.int64, types.int64), generate


def call_driver(dispatcher: Any, *arguments: Any) -> None:
    """Run a driver; the first time it is compiled."""
    if dispatcher.signatures:
        dispatcher(*arguments)
        return
    announce(dispatcher)
    with _no_collection():
        dispatcher(*arguments)


def announce(dispatcher: Any) -> None:
    """Say on stderr, once, that compiling begins: the first run after an installation takes seconds."""
    global _told
    if not _told and not _stored(dispatcher):
        _told = True
        print("gapless: compiling the feature kernels, once; this takes some seconds", file=sys.stderr, flush=True)


def _stored(dispatcher: Any) -> bool:
    """Does the disk cache hold this kernel?"""
    file = getattr(dispatcher._cache, "_cache_file", None)
    return file is not None and bool(file._load_index())
