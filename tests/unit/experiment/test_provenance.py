import json
import re
import sys
from datetime import UTC, datetime, timedelta

from resnets.experiment import provenance


def test_provenance_says_the_versions_the_command_and_the_time(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["resnets", "train", "--out", "my run"])
    told = json.loads(json.dumps(provenance.collect()))
    assert set(told) == {"resnets", "commit", "python", "packages", "command", "started"}
    assert told["command"] == "resnets train --out 'my run'"
    assert set(told["packages"]) == {"torch", "numpy", "safetensors", "pillow"}
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    started = datetime.fromisoformat(told["started"])
    assert timedelta(0) <= datetime.now(UTC) - started < timedelta(minutes=1)


def test_a_package_that_was_not_installed_has_no_version_and_is_no_error():
    """As this one where only PYTHONPATH tells of it."""
    assert provenance.version("torch") != "unknown"
    assert provenance.version("no-such-package-anywhere") == "unknown"


def test_the_commit_is_a_hash_marked_where_the_source_was_edited_or_nothing():
    found = provenance.commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found)


def test_without_git_there_is_no_commit_and_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None
