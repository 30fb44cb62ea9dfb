"""The argument of the paper's introduction, for any network: deeper can always be as good."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnets.models import zoo
from resnets.models.construction import with_identity_layers
from resnets.models.network import ResNet


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 2),
    more=st.integers(0, 3),
    classes=st.integers(1, 12),
    side=st.integers(1, 12),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 2**32),
)
@torch.no_grad()
def test_layers_added_by_construction_change_no_logit(n, more, classes, side, scale, seed):
    torch.manual_seed(seed)
    shallow = ResNet(zoo.cifar(6 * n + 2, shortcut="none", classes=classes)).eval()
    for module in shallow.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0, scale)
            nn.init.normal_(module.bias, 0, scale)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    deep = with_identity_layers(shallow, 6 * (n + more) + 2)
    x = torch.randn(3, 3, side, side)
    wanted, found = shallow(x), deep(x)
    assert wanted.isfinite().all()
    atol = 1e-5 * wanted.abs().max().item()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=atol)
