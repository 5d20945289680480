"""How kernels are compiled and cached.

Numba's disk cache looks only at the file of the function it compiles: a driver whose primitive was edited in another
file would be served stale. Here every kernel's stamp is a digest of all the kernels' files, so that an edit in any of
them compiles everything anew.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
Lane = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]
Table = npt.NDArray[np.int64]

HERE = Path(__file__).parent
FILES = (HERE.parent / "ops.py", HERE.parent / "operators.py", *sorted(HERE.glob("*.py")))


def stamp() -> bytes:
    """A digest over every file that kernels are made of."""
    found = hashlib.sha256()
    for path in FILES:
        found.update(path.read_bytes())
    return found.digest()


_STAMP = stamp()
_told = False


def compiled(function: F) -> F:
    """A part of a driver: compiled without the interpreter's lock, with IEEE division; callable from kernels only.

    Leaving out what Python would need to call it halves the time of the first run.
    """
    kernel = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return cast(F, kernel)


def driver(function: F) -> F:
    """A kernel that Python calls: with all its parts in it, cached on disk where that is possible."""
    kernel = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    try:
        kernel.enable_caching()
    except RuntimeError:  # neither beside the file nor in the user's directory can anything be written
        return cast(F, kernel)
    kernel._cache._cache_file._source_stamp = _STAMP  # numba offers no other way to name more than one file
    return cast(F, kernel)


def announced(kernel: F) -> F:
    """The kernel, with a line on stderr before it is compiled: the first run after an installation takes seconds."""

    def run(*arguments: Any) -> Any:
        global _told
        if not _told and not kernel.signatures:  # type: ignore[attr-defined]
            _told = True
            if not _stored(kernel):
                print("gapless: compiling the feature kernels, once; this takes some seconds", file=sys.stderr)
        return kernel(*arguments)

    return cast(F, run)


def _stored(kernel: Any) -> bool:
    """Does the disk cache hold this kernel?"""
    file = getattr(kernel._cache, "_cache_file", None)
    return file is not None and bool(file._load_index())
