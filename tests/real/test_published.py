"""The authors' ResNet-50, as the npm package has it."""

import pytest
import torch

from resnets.core import artifacts
from resnets.inference import foreign_files, published

pytestmark = pytest.mark.real


def test_the_authors_resnet_50_can_be_had_and_is_theirs(fetched):
    found = foreign_files.read(fetched)
    if found.format == "tfjs":  # not Keras' own file, which has the same numbers
        assert found.sha256 == published.named("msra/resnet50").npm.sha256
        assert found.layers["res3a_branch2a"]["strides"] == [2, 2]  # the stride is on the 1x1
        assert found.layers["res3a_branch2b"]["strides"] == [1, 1]
        assert found.layers["bn_conv1"]["epsilon"] == 0.001
    assert len(found.tensors) == 320
    assert sum(t.numel() for t in found.tensors.values()) == 25_636_712
    assert found.tensors["conv1/kernel"].shape == (7, 7, 3, 64)
    assert found.tensors["fc1000/kernel"].shape == (2048, 1000)
    first = found.tensors["conv1/kernel"].flatten()[:3]
    assert torch.allclose(first, torch.tensor([0.0283, -0.0119, 0.0015]), atol=1e-4)
    assert float(found.tensors["bn_conv1/moving_variance"][0]) == pytest.approx(5458.6733)
    digest = "b7896603447ae36eeb2ec9024602742f4cb31f702090d217a72447c9112c45f2"
    assert artifacts.sha256_of(found.tensors) == digest


def test_what_was_fetched_is_found_again_without_any_network(fetched, surroundings, monkeypatch):
    before = fetched.stat().st_mtime_ns
    monkeypatch.setenv("XDG_CACHE_HOME", surroundings["XDG_CACHE_HOME"])
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert published.fetch("msra/resnet50") == fetched
    assert fetched.stat().st_mtime_ns == before
