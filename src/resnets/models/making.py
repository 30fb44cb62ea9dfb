"""From any network's spec to its module."""

from resnets.models.googlenet import GoogLeNet
from resnets.models.network import ResNet
from resnets.models.prelu_net import PReLUNet
from resnets.models.spec import GoogLeNetSpec, ModelSpec, PReLUNetSpec, ResNetSpec, VggSpec
from resnets.models.vgg import Vgg

# Every network has `spec`; `stages`, an nn.ModuleDict in the order they run; `features(x)`, each
# stage's output by its name; `score_map(x)`, its fully convolutional form; `head`, its last linear
# layer; and `forward(x)`, logits of (n, classes). GoogLeNet alone gives more while it trains.
Network = ResNet | Vgg | GoogLeNet | PReLUNet


def make(spec: ModelSpec) -> Network:
    """Return the network of a spec, with torch's own first weights; `he_init` draws the paper's."""
    match spec:
        case ResNetSpec():
            return ResNet(spec)
        case VggSpec():
            return Vgg(spec)
        case GoogLeNetSpec():
            return GoogLeNet(spec)
        case PReLUNetSpec():
            return PReLUNet(spec)
