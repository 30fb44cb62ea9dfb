"""Write docs/results.md from results/*.json: `make paper`. A test fails where it is stale."""

from pathlib import Path

from resnets.experiment import results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"


def main() -> None:
    PAGE.write_text(results.page((ROOT / "results").glob("*.json")), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
