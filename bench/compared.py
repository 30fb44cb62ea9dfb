"""What both benchmarks report of the rates of contestants that took turns."""

import statistics
from typing import Any


def rows(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return a row for each contestant.

    Args:
        rates: Images per second in each round: first the usual loop's, then the tuned loop's.
    """
    usual, tuned, *_ = rates.values()
    return [
        {
            "loop": name,
            "images_per_second": spread(values),
            "times_the_usual_loop": spread([a / b for a, b in zip(values, usual, strict=True)]),
            "times_the_tuned_loop": spread([a / b for a, b in zip(values, tuned, strict=True)]),
        }
        for name, values in rates.items()
    ]


def spread(values: list[float]) -> dict[str, float]:
    """Return the middle and both ends of what was measured."""
    return {
        "median": round(statistics.median(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }
