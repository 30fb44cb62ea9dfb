"""docs/lecture.ipynb: what is stored in it, and that every cell of it runs."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "lecture.ipynb"
LARGEST_BYTES = 600_000
# The lecture itself with other parameters: every cell runs, in seconds instead of minutes.
SHORT = 'UPDATES = 2\nDATA = "synthetic"'
# In a process of its own: nbclient's event loop and sockets, which it leaves for the garbage
# collector to close, are no matter of this package's, and its warnings stay out of these tests.
EXECUTE = """
import sys, nbformat, nbclient
notebook = nbformat.read("lecture.ipynb", as_version=4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False).execute()
nbformat.write(notebook, "executed.ipynb")
"""
MACHINE_PATH = re.compile(r"/(?:home|root|work|tmp|usr|opt|Users|var|mnt)/|[A-Z]:\\\\")


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(stored, tmp_path_factory):
    """The notebook as it is after all of its cells ran with the parameters of SHORT."""
    folder = tmp_path_factory.mktemp("lecture")
    short = copy.deepcopy(stored)
    (parameters,) = (c for c in short.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source = SHORT
    for cell in code(short):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(short, folder / "lecture.ipynb")
    ran = subprocess.run(
        [sys.executable, "-c", EXECUTE],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stderr
    return nbformat.read(folder / "executed.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell put out: "stream stdout", "display_data image/png", ..."""
    return [
        f"{out.output_type} {' '.join(sorted(out.data)) if 'data' in out else out.get('name', '')}"
        for out in cell.outputs
    ]


def texts(value):
    """Yield every text within an output, pictures left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key != "image/png":
                yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def test_every_cell_runs_and_puts_out_what_is_stored(stored, executed):
    assert [kinds(cell) for cell in code(executed)] == [kinds(cell) for cell in code(stored)]


def test_it_was_stored_after_one_run_from_top_to_bottom(stored):
    counts = [cell.execution_count for cell in code(stored)]
    assert counts == list(range(1, len(counts) + 1))


def test_what_is_stored_has_no_errors_and_no_noise(stored):
    outputs = [out for cell in code(stored) for out in cell.outputs]
    assert {out.output_type for out in outputs} <= {"stream", "display_data", "execute_result"}
    assert {out.name for out in outputs if out.output_type == "stream"} <= {"stdout"}
    assert not [t for out in outputs for t in texts(out) if "Traceback" in t or "Warning" in t]


def test_what_is_stored_tells_no_path_of_a_machine(stored):
    outputs = [out for cell in code(stored) for out in cell.outputs]
    assert not [t for out in outputs for t in texts(out) if MACHINE_PATH.search(t)]


def test_what_is_stored_is_small_and_names_only_a_kernel(stored):
    assert NOTEBOOK.stat().st_size < LARGEST_BYTES
    assert set(stored.metadata) == {"kernelspec"}
    assert stored.metadata.kernelspec.name == "python3"
    extra = [set(cell.metadata) - {"tags"} for cell in stored.cells]
    assert not any(extra)
