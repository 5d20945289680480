"""Pin every dependency by hash, with no index address: requirements/{run,test,dev}.lock."""

from __future__ import annotations

import subprocess
from pathlib import Path

GROUPS = {"dev": ["build", "test", "check", "bench"], "test": ["build", "test"], "run": ["build"]}
EXTRAS = ["notify"]
HOW = "--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate"


def main() -> None:
    """The widest first; the others are kept to the same versions."""
    folder = Path("requirements")
    for name, groups in GROUPS.items():
        target = folder / f"{name}.lock"
        words = ["uv", "pip", "compile", "pyproject.toml", *HOW.split(), "--no-header", "-q", "-o", str(target)]
        words += [w for g in groups for w in ("--group", g)]
        words += [w for extra in EXTRAS for w in ("--extra", extra)]
        if name != "dev":
            words += ["-c", str(folder / "dev.lock")]
        else:
            target.unlink(missing_ok=True)
        subprocess.run(words, check=True)
        print(f"{target}: {target.read_text().count('==')} packages")


if __name__ == "__main__":
    main()
