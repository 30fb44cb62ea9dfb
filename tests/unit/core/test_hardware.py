import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch

from resnets.core import hardware
from resnets.core.errors import ResNetsError

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "CPU", "", "tpu", "cpu:0"])
def test_a_device_that_is_not_here_is_refused_naming_what_is(name):
    with pytest.raises(ResNetsError) as caught:
        hardware.device(name)
    message = str(caught.value)
    assert message.startswith(f"--device {name}: this machine has cpu")
    assert caught.value.exit_status == 2
    assert ("cuda:0" in message) == torch.cuda.is_available()


def test_a_named_device_is_that_device_and_none_named_is_the_best_there_is():
    assert hardware.device("cpu") == CPU
    assert hardware.device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert torch.zeros(1, device=hardware.device()).sum() == 0


def test_precision_is_bfloat16_exactly_where_a_unit_for_it_is_named_in_the_reason():
    chosen = hardware.precision(CPU)
    units = hardware.bfloat16_units()
    assert chosen.value == ("bfloat16" if units else "float32")
    assert units in chosen.reason
    assert chosen.reason.startswith("this processor ")
    assert chosen.value in hardware.DTYPES


def test_the_dtypes_are_those_of_their_names():
    for name, dtype in hardware.DTYPES.items():
        assert str(dtype) == f"torch.{name}"


def test_short_work_stays_eager_without_trying_to_compile(monkeypatch):
    monkeypatch.setattr(hardware, "missing_for_compiling", None)  # asking it would fail
    short = hardware.compilation(CPU, 1e9)
    assert short.value == "eager"
    assert "1.0e+09 multiply-adds: under 3e+13" in short.reason


def long_work(tmp_path, **environment):
    """Ask in a process of its own, because the answer is kept."""
    program = (
        "import torch\n"
        "from resnets.core import hardware\n"
        "chosen = hardware.compilation(torch.device('cpu'), 1e18)\n"
        "print(chosen.value, chosen.reason, sep='|')\n"
    )
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **environment}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split("|", 1)


def test_long_work_is_compiled_where_a_compiler_is_found_to_work(tmp_path):
    value, reason = long_work(tmp_path)
    if shutil.which("g++"):
        assert value == "compiled"
        assert reason.startswith("1.0e+18 multiply-adds: over 3e+13")
    else:
        assert (value, reason[:26]) == ("eager", "compiling does not work here"[:26])


def test_long_work_stays_eager_where_compiling_fails_and_the_reason_is_given(tmp_path):
    value, reason = long_work(tmp_path, CXX=str(tmp_path / "no-such-compiler"))
    assert value == "eager"
    assert reason.startswith("compiling does not work here: ")
    assert len(reason) > 40


def test_keeping_memory_can_be_asked_for_twice_and_says_the_same():
    could = hardware.keep_memory()
    assert hardware.keep_memory() is could
    assert could == (sys.platform == "linux" and platform.libc_ver()[0] == "glibc")


def test_a_description_names_the_processor_its_cores_and_the_device():
    found = hardware.describe(CPU)
    assert found["device"] == "cpu"
    assert found["processor"] == hardware.processor_name() != ""
    assert found["cores"] >= 1
    assert found["threads"] == torch.get_num_threads()
    assert found["bfloat16"] == (hardware.bfloat16_units() or "none")
    assert "gpu" not in found


def test_to_ask_for_a_device_settles_that_convolutions_are_the_same_every_time(monkeypatch):
    cudnn = torch.backends.cudnn
    for name, left in (("deterministic", False), ("benchmark", True), ("allow_tf32", True)):
        monkeypatch.setattr(cudnn, name, left)
    hardware.device("cpu")
    assert (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32) == (True, False, False)
