"""Files are what was given, whichever way they went to disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gapless.stores import durable

SIZES = (durable.SMALL, durable.SMALL + 1, durable.SMALL + durable.BLOCK, 2 * durable.CHUNK - 1, 2 * durable.CHUNK + 77)


@pytest.mark.parametrize("size", [0, 1, 4096, *SIZES])
def test_every_size_arrives_whole(tmp_path: Path, size: int) -> None:
    """Blocks filled up for the disk are cut off again; both ways give the same bytes."""
    data = os.urandom(size)
    for past_cache in (False, True):
        path = tmp_path / f"{past_cache}"
        durable.write(path, memoryview(data), past_cache=past_cache)
        assert path.read_bytes() == data


def test_a_file_system_without_direct_writes_takes_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it says so when the file is opened, when it is written, or the platform has no such flag."""
    data, real = os.urandom(SIZES[1]), os.open

    def refused(path: object, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no such thing here")
        return real(path, flags, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        durable.write(tmp_path / "opened", memoryview(data), past_cache=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: 0)
        durable.write(tmp_path / "written", memoryview(data), past_cache=True)
    with monkeypatch.context() as patch:
        patch.delattr(os, "O_DIRECT")
        durable.write(tmp_path / "flagless", memoryview(data), past_cache=True)
    for name in ("opened", "written", "flagless"):
        assert (tmp_path / name).read_bytes() == data


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's own error comes out, and the file is gone."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OSError, match="full"):
        durable.write(tmp_path / "x", memoryview(os.urandom(SIZES[0])), past_cache=True)
    assert list(tmp_path.iterdir()) == []
