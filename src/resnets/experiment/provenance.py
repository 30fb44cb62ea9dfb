"""What a run must say about where it came from."""

import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "numpy", "safetensors", "pillow")


def collect() -> dict[str, str | dict[str, str] | None]:
    """Return versions, the source's commit where there is one, the command and the time (UTC)."""
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "resnets": version("resnets"),
        "commit": commit(),
        "python": sys.version.split()[0],
        "packages": versions,
        "command": shlex.join(sys.orig_argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def version(package: str) -> str:
    """Return the version of an installed package; "unknown" where it was not installed.

    So it is with ours where Python was only told where the source lies.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str | None:
    """Return the commit of a source checkout, "+changes" where it was edited; else None."""
    here = Path(__file__).parent
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # installed from a wheel, perhaps inside somebody else's checkout
    found = _git(here, "rev-parse", "HEAD")
    if found is None:
        return None
    return found + ("+changes" if _git(here.parent, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *words: str) -> str | None:
    try:
        ran = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
