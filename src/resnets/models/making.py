"""From any network's spec to its module."""

from resnets.models.network import ResNet
from resnets.models.spec import ModelSpec, ResNetSpec

# Every network has `spec`; `stages`, an nn.ModuleDict in the order they run; `features(x)`, each
# stage's output by its name; `score_map(x)`, its fully convolutional form; and `forward(x)`,
# logits of (n, classes).
Network = ResNet


def make(spec: ModelSpec) -> Network:
    """Return the network of a spec, with torch's own first weights; `he_init` draws the paper's."""
    assert isinstance(spec, ResNetSpec)
    return ResNet(spec)
