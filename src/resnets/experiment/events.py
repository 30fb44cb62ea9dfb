"""A run's records as TensorBoard shows them: `tensorboard --logdir runs`."""

import importlib.util
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from resnets.core import artifacts
from resnets.core.errors import RunError

FOLDER: Final = "tensorboard"  # in a run's folder


def check() -> None:
    """Make sure that events can be written.

    Raises:
        RunError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise RunError("--tensorboard: is not installed; pip install 'resnets[tensorboard]'")


class Events:
    """The events of a run. The journal is what counts: they are made from it, and anew each time.

    Args:
        run: The run's folder.
        records: What its journal holds up to now.

    Raises:
        StorageError: They could not be written.
    """

    def __init__(self, run: Path, records: Iterable[Mapping[str, Any]]) -> None:
        # Imported here: only these runs need it.
        from tensorboard.summary import Writer

        self._folder = run / FOLDER
        with artifacts.storing(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = Writer(str(self._folder))
        for record in records:
            self._add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Write a record's numbers at its update, for all to see."""
        with artifacts.storing(self._folder):
            self._add(record)
            self._writer.flush()

    def _add(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if name != "update" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, record["update"])
