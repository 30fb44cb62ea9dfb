import json

import torch

from resnets.experiment import doctor


def test_the_doctor_says_what_is_here_and_what_would_be_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = json.loads(json.dumps(doctor.examine()))
    assert {
        "resnets",
        "torch",
        "processor",
        "cores",
        "gpus",
        "bfloat16",
        "compiling",
        "npm",
        "cache",
        "cifar10",
        "will_use_device",
        "will_use_precision",
        "will_use_threads",
        "will_compile_short_run",
        "will_compile_long_run",
    } <= set(told)
    assert told["torch"] == torch.__version__
    assert told["cache"] == str(tmp_path / "resnets")
    assert told["cifar10"] == "not fetched yet"
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_sees_what_was_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "resnets").mkdir()
    (tmp_path / "resnets" / "cifar10.safetensors").write_bytes(b"")
    assert doctor.examine()["cifar10"] == "in the cache"
