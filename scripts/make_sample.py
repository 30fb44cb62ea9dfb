"""Make src/resnets/data/cifar10-sample.zip from the whole of CIFAR-10.

    .venv/bin/python scripts/make_sample.py [FOLDER]

FOLDER holds CIFAR-10; without it the cached copy is used, or fetched. The same bytes come out
every time with the same Pillow; the content hash comes out the same with any.
"""

import sys
from pathlib import Path

from resnets.data import opening, sample


def main() -> None:
    where = sys.argv[1] if len(sys.argv) > 1 else "cifar10"
    whole = opening.in_memory(opening.open_data(where))
    content = sample.encode(whole)
    target = Path(__file__).parents[1] / "src/resnets/data" / sample.FILE
    target.write_bytes(content)
    print(f"{target}: {len(content):,} bytes")
    print(f"CONTENT_SHA256 = {sample.decode(content).digest!r}")


if __name__ == "__main__":
    main()
