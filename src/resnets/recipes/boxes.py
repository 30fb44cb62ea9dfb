"""What the recipes of a detector and of a localizer have in common."""

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.detection.spec import FasterRCNNSpec, LocalizerSpec
from resnets.recipes.schedule import Plateau
from resnets.recipes.schema import Experiment


@spec
class Pretrained:
    """The classification network that a detector begins with.

    BN keeps its averages, its scales and its shifts.

    Args:
        weights: A name of `resnets weights list`; of weights that have none, "sha256:" and the
            digest of their tensors, which `--weights` fills in.
        frozen_stages: The stem and so many stages keep their weights.

    Source: He et al. 2015, appendix A.
    """

    weights: str
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        if self.frozen_stages < 0:
            raise RecipeError(
                f"transfer.frozen_stages: must not be negative, got {self.frozen_stages}"
            )


@spec
class SplitsSpec:
    """Which data set with boxes, and which of its splits.

    Args:
        name: The data set.
        train: The splits that are trained on, together.
        test: What is evaluated on while training goes on.
        held_out_share: Hold out that share of the images to train on and evaluate on them instead
            of on `test`.
    """

    name: str
    train: tuple[str, ...] = ("train",)
    test: str = "validation"
    held_out_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.train or len(set(self.train)) < len(self.train):
            raise RecipeError(f"data.train: needs names of splits, each once, got {self.train}")
        if not 0 <= self.held_out_share < 1:
            raise RecipeError(f"data.held_out_share: must be in [0, 1), got {self.held_out_share}")
        if self.test in self.train and not self.held_out_share:
            raise RecipeError(f"data.test: {self.test} is trained on; name another split")


@spec
class BoxRecipe(Experiment):
    """One experiment with boxes; `keep` "best" is by the task's own measure."""

    model: FasterRCNNSpec | LocalizerSpec
    data: SplitsSpec
    transfer: Pretrained

    def __post_init__(self) -> None:
        Experiment.__post_init__(self)
        if isinstance(self.schedule, Plateau):
            raise RecipeError("schedule: a plateau is of the top-1 error; a detector has none")

    @property
    def true_averages(self) -> bool:
        """Never: BN keeps those of its weights."""
        return False
