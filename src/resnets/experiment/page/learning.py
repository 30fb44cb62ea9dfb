"""How the error fell, or losses and average precision went, against updates; the rate beneath."""

from typing import Final
from xml.etree.ElementTree import Element

from resnets.experiment import journal
from resnets.experiment.page import markup, plots
from resnets.experiment.page.detector_story import DetectorStory
from resnets.experiment.page.markup import element
from resnets.experiment.page.plots import Line
from resnets.experiment.page.story import Story, Told, percent

_SPLITS: Final = ("validation", "test")
# What a detector's run journals; the last one is drawn on top.
_LOSSES: Final = {
    "proposal_class_loss": "proposals: object or not",
    "proposal_box_loss": "proposals: boxes",
    "region_class_loss": "regions: classes",
    "region_box_loss": "regions: boxes",
    "loss": "all together",
}


def section(story: Story) -> Element:
    """Return the curves, as the paper draws them: training thin, evaluation bold.

    Source: He et al. 2015, Fig. 6.
    """
    training = journal.curve(story.records, "train_error_percent")
    measured = {
        split: found
        for split in _SPLITS
        if (found := journal.curve(story.records, f"{split}_top1_error_percent"))[0]
    }
    along = _updates(story)
    every = [*training[1], *(y for _, errors in measured.values() for y in errors)]
    up = plots.axis("error, %", min(100.0, max(every, default=100.0)))
    curves = [Line("training", *plots.thinned(*training))]
    curves += [Line("evaluation", *found, dots=True) for found in measured.values()]
    ends = [f"training {percent(training[1][-1])}"] if training[1] else []
    ends += [f"{split} {percent(errors[-1])}" for split, (_, errors) in measured.items()]
    said = "; ".join(ends)
    keys = [_key("training", "training")] if training[0] else []
    keys += [_key("evaluation", split) for split in measured]
    rates = journal.curve(story.records, "learning_rate")
    return markup.section(
        "curves",
        "Learning curves",
        element("p", keys, element("span", f"At the end: {said}."), class_="keys"),
        plots.lines(curves, along, up, alt=f"Error against updates. At the end: {said}."),
        _rate(rates, along) if rates[0] else None,
    )


def of_detector(story: DetectorStory) -> Element:
    """Return how average precision rose and losses fell, and the rate."""
    split = journal.split(story.records)
    x, y = journal.curve(story.records, f"{split}_{journal.PRECISION}")
    along = _updates(story)
    said = f"{split} {percent(y[-1])}" if y else "not measured"
    up = plots.axis("average precision, %", max([*y, 1.0]))
    rates = journal.curve(story.records, "learning_rate")
    return markup.section(
        "curves",
        "Learning curves",
        element("p", _key("evaluation", split), f"At the end: {said}.", class_="keys"),
        plots.lines(
            [Line("evaluation", x, y, dots=True)],
            along,
            up,
            alt=f"Average precision against updates. At the end: {said}.",
        ),
        *_losses(story, along),
        _rate(rates, along) if rates[0] else None,
    )


def _losses(story: DetectorStory, along: plots.Axis) -> list[Element]:
    """Return the keys and the plot of all losses: colours tell of what, dashes the boxes'."""
    curves = {
        key: plots.thinned(*found)
        for key in _LOSSES
        if (found := journal.curve(story.records, key))[0]
    }
    if not curves:
        return []
    ends = "; ".join(f"{_LOSSES[key]} {values[-1]:.3g}" for key, (_, values) in curves.items())
    up = plots.axis("loss", max(value for _, values in curves.values() for value in values))
    lines = [Line(key.replace("_", "-"), *found) for key, found in curves.items()]
    keys = [_key(key.replace("_", "-"), _LOSSES[key]) for key in curves]
    alt = f"Losses against updates. At the end: {ends}."
    return [element("p", keys, class_="keys"), plots.lines(lines, along, up, alt=alt)]


def _updates(story: Told) -> plots.Axis:
    last = max((r["update"] for r in story.records), default=1)
    along = plots.axis("updates", last)
    return plots.Axis(along.name, 0.0, last, tuple(m for m in along.marks if m[0] <= last))


def _rate(rates: tuple[list[int], list[float]], along: plots.Axis) -> Element:
    highest = max(rates[1])
    up = plots.axis("learning rate", highest, about=2)
    line = Line("rate", *plots.thinned(*rates))
    alt = f"Learning rate against updates: at most {highest:g}, at the end {rates[1][-1]:g}."
    return plots.lines([line], along, up, alt=alt, size="low")


def _key(kind: str, text: str) -> Element:
    return element("span", element("i", class_=f"swatch {kind}"), text, class_="key")
