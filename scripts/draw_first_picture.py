"""Draw docs/plain-against-residual.png from two finished runs on the built-in sample.

.venv/bin/python scripts/draw_first_picture.py runs/sample.plain20 runs/sample.resnet20
"""

import sys
from pathlib import Path

from resnets.core import artifacts
from resnets.experiment import report, run


def main() -> None:
    plain, residual = (artifacts.read_lines(Path(arg) / run.JOURNAL) for arg in sys.argv[1:3])
    target = Path(__file__).parents[1] / "docs/plain-against-residual.png"
    runs = {"plain, 20 layers": plain, "residual, 20 layers": residual}
    report.compare(runs, target, top_percent=80)
    print(target)


if __name__ == "__main__":
    main()
