"""The runs that reproductions share: each is trained once, and continued where it was stopped."""

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from resnets.core import artifacts, hardware, progress
from resnets.core.errors import BusyError, DivergedError, InterruptedRunError, RunError
from resnets.data.opening import Data
from resnets.experiment import build, journal, manifests, run, tasks
from resnets.experiment.transfer import Weights
from resnets.inference.checkpoints import FINISHED, MANIFEST
from resnets.recipes import codec
from resnets.recipes.detector import AnyRecipe

FOLDER: Final = Path("runs") / "reproduce"


@dataclass(frozen=True, slots=True)
class Training:
    """One network to train with one seed.

    Args:
        label: What tables and figures call it: "ResNet-20".
        name: Its recipe's name.
        recipe: The recipe.
        seed: Of everything random.
        before: What is trained first, for its weights: a classifier, for a detector of it.
        weights: What it begins with, where its recipe does so.
    """

    label: str
    name: str
    recipe: AnyRecipe
    seed: int
    before: "Training | None" = None
    weights: Weights | None = None


@dataclass(frozen=True)
class Trained:
    """A finished training: what it measured, from its run's folder."""

    training: Training
    folder: Path

    @property
    def before(self) -> "Trained | None":
        """The training whose weights it began with, if it is one of these."""
        training = self.training
        if training.before is None or training.weights is None or training.weights.where is None:
            return None
        return Trained(training.before, Path(training.weights.where))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The journal's lines."""
        return artifacts.read_lines(self.folder / journal.JOURNAL)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the run is."""
        return manifests.read(self.folder)

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Return updates and values of everything journalled under a key."""
        return journal.curve(self.records, key)

    @property
    def split(self) -> str:
        """Which split it was evaluated on: "test" or "validation"."""
        keys = {key for record in self.records for key in record}
        return "test" if "test_top1_error_percent" in keys else "validation"

    @property
    def last_error_percent(self) -> float:
        """The error on the split, after the last update."""
        errors = self.curve(f"{self.split}_top1_error_percent")[1]
        if not errors:
            raise RunError(f"{self.folder}: its journal holds no result; remove it to train again")
        return errors[-1]

    def last_train_error_percent(self, images: int) -> float:
        """Return the mean error of the training batches over the last epoch.

        Of a run of less than five epochs: over the last fifth of it.

        Batches are augmented and BN uses their own statistics, as in the paper's dashed curves.

        Args:
            images: In an epoch.
        """
        recipe = self.training.recipe
        length = min(math.ceil(images / recipe.batch_images), math.ceil(recipe.total_steps / 5))
        updates, errors = self.curve("train_error_percent")
        last = [e for u, e in zip(updates, errors, strict=True) if u > recipe.total_steps - length]
        return math.fsum(last) / len(last)

    @property
    def minutes(self) -> float:
        """Time spent in updates, evaluations and saving left out."""
        return journal.training_s(self.records, self.training.recipe.batch_images) / 60

    def describe(self) -> dict[str, Any]:
        """Return what a published number says of the run behind it."""
        made = self.manifest
        return {
            "label": self.training.label,
            "recipe": self.training.name,
            "recipe_digest": made["recipe_digest"],
            "seed": self.training.seed,
            "updates": self.training.recipe.total_steps,
            "data_digest": made["data"]["digest"],
            "precision": made["runtime"]["precision"]["value"],
            "threads": made["runtime"]["threads"],
            "processor": hardware.device_name(made["hardware"]),
            "device": made["hardware"]["device"],
            "commit": made["provenance"]["commit"],
            "minutes": round(self.minutes, 1),
        }


def train(wanted: Sequence[Training], data: Data, device: str | None) -> list[Trained]:
    """Train what is not trained yet, continue what was stopped, and return all of it.

    A run is known by its recipe's digest, its seed and its data, so studies share runs. What
    another process is training comes last, so that several commands share the work.

    Raises:
        InterruptedRunError: It was told to stop; the same command continues.
        DivergedError: Some did, which is said after all others are trained.
    """
    digest, where = data.digest, hardware.device(device)  # of a large set a digest takes a while
    made = [_placed(training, data, digest, where) for training in wanted]
    todo = deque(each for each in made if not (each.folder / FINISHED).exists())
    before = len(made) - len(todo)
    clock = _Clock({e.folder: tasks.multiply_adds(e.training.recipe, data) for e in todo})
    elsewhere: set[Path] = set()  # what another process was training when its turn came
    diverged: list[str] = []
    while todo:
        each = todo.popleft()
        training = each.training
        sys.stderr.write(
            f"\n{training.label}, seed {training.seed}: {len(todo) + 1} of {len(made)} trainings "
            f"to do, {before} were done before{clock.left([each, *todo])}\n"
        )
        try:
            with clock.timing(each):
                _train(each, data, device)
        except BusyError:
            if each.folder in elsewhere:
                sys.stderr.write(f"{each.folder}: waiting for the other process\n")
                with artifacts.alone(each.folder, wait=True):
                    pass
            elsewhere.add(each.folder)
            todo.append(each)
        except DivergedError as err:
            sys.stderr.write(f"{err}\n")
            diverged.append(f"{training.label}, seed {training.seed}")
        except InterruptedRunError as err:
            raise InterruptedRunError(
                f"stopped and saved in {each.folder}; the same command continues",
                err.exit_status - 128,
            ) from err
    if diverged:
        raise DivergedError(
            f"diverged: {'; '.join(diverged)}; the others are trained; a lower rate is another "
            "experiment: --set optim.learning_rate=X"
        )
    return made


@dataclass(slots=True)
class _Clock:
    """Guesses the time left from what finished trainings took per multiply-add."""

    costs: Mapping[Path, float]  # by the run's folder
    cost: float = 0.0
    seconds: float = 0.0

    @contextlib.contextmanager
    def timing(self, each: Trained) -> Iterator[None]:
        anew, begun = not (each.folder / MANIFEST).exists(), time.monotonic()
        yield
        if not anew:
            return  # part of it was done before, or elsewhere
        self.cost += self.costs[each.folder]
        self.seconds += time.monotonic() - begun

    def left(self, todo: Iterable[Trained]) -> str:
        if not self.cost:
            return ""
        cost = math.fsum(self.costs[each.folder] for each in todo)
        return f"; about {progress.duration(cost * self.seconds / self.cost)} left in all"


def _placed(training: Training, data: Data, digest: str, device: torch.device) -> Trained:
    """Return the training with its run's folder: named by what it is on this machine and data."""
    fitted = tasks.fitted(training.recipe, data)
    resolved, _ = build.resolved(fitted, device)
    name = f"{training.name}-{codec.digest(resolved)}-{digest[:8]}-seed{training.seed}"
    return Trained(replace(training, recipe=fitted), FOLDER / name)


def _train(each: Trained, data: Data, device: str | None) -> None:
    if (each.folder / MANIFEST).exists():
        run.resume(each.folder, data, device=device)
        return
    training = each.training
    try:
        run.start(
            training.recipe,
            data,
            name=training.name,
            out=each.folder,
            seed=training.seed,
            device=device,
            weights=training.weights,
        )
    except BusyError:
        raise
    except RunError:
        if not (each.folder / MANIFEST).exists():
            raise
        run.resume(each.folder, data, device=device)  # another command began it a moment ago
