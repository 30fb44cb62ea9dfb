import contextlib
import os
import re
import sys
import time

import pytest

from resnets.core import progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (8.2, "8 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (60, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86_400 + 60, "24 h 1 min"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds, words):
    assert progress.duration(seconds) == words


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0, "0"), (0.0042, "0.0042"), (0.55, "0.55"), (1, "1"), (2.53, "2.5"), (10.4, "10"),
     (1234.5, "1,234")],
)  # fmt: skip
def test_a_slow_rate_is_not_said_to_be_none(rate, words):
    assert progress.per_second(rate) == words


def test_where_stderr_is_not_a_terminal_short_work_prints_nothing(capsys):
    with progress.reporting("training", total=2, unit="images") as bar:
        bar.advance(1)
        bar.advance(1, "loss 2.3")
    assert capsys.readouterr() == ("", "")


def test_where_stderr_is_not_a_terminal_there_is_a_line_each_interval(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.05)
    with progress.reporting("training", total=3000, unit="images") as bar:
        bar.advance(500)
        assert capsys.readouterr().err == ""
        time.sleep(0.06)
        bar.advance(1000, "loss 2.3")
        first = capsys.readouterr()
        bar.advance(1)
        assert capsys.readouterr().err == ""
        time.sleep(0.06)
        bar.advance(99)
        second = capsys.readouterr()
    assert (first.out, second.out) == ("", "")
    assert re.fullmatch(
        r"training: 1,500 of 3,000 images, [\d,]+ a second, \d+ s left; loss 2\.3\n", first.err
    )
    assert re.fullmatch(
        r"training: 1,600 of 3,000 images, [\d,]+ a second, \d+ s left\n", second.err
    )


def test_work_done_before_counts_in_the_sum_and_not_in_the_rate(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.05)
    with progress.reporting("packing", total=10**9, unit="bytes", done=10**9 - 20) as bar:
        time.sleep(0.06)
        bar.advance(10)
    found = re.fullmatch(
        r"packing: 999,999,990 of 1,000,000,000 bytes, (\d+) a second, 0 s left\n",
        capsys.readouterr().err,
    )
    assert found
    assert int(found[1]) <= 10 / 0.06 + 1


def test_where_nothing_was_done_the_time_left_is_unknown(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.01)
    with progress.reporting("fetching", total=10, unit="bytes") as bar:
        time.sleep(0.02)
        bar.advance(0)
    assert capsys.readouterr().err == "fetching: 0 of 10 bytes, 0 a second, unknown time left\n"


def test_a_line_of_its_own_goes_to_stderr_as_it_is(capsys):
    with progress.reporting("training", total=2, unit="images") as bar:
        bar.say("saved [runs/a] to /tmp/[x]")
    assert capsys.readouterr() == ("", "saved [runs/a] to /tmp/[x]\n")


def test_an_exception_inside_goes_through_the_bar():
    with pytest.raises(ZeroDivisionError), progress.reporting("x", total=1, unit="images"):
        raise ZeroDivisionError


@contextlib.contextmanager
def terminal(monkeypatch):
    """Make a real terminal stderr; yield a list that holds at the end what it showed."""
    if not hasattr(os, "openpty"):
        pytest.skip("needs pseudo-terminals")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    shown = []
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        yield shown
    content = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while part := os.read(ours, 2**16):
            content += part
    os.close(ours)
    shown.append(re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", content.decode()))


def test_on_a_terminal_there_is_a_bar_with_the_share_the_rate_and_a_note(monkeypatch):
    with (
        terminal(monkeypatch) as shown,
        progress.reporting("training", total=4, unit="images", done=1) as bar,
    ):
        bar.advance(2, "loss 2.3")
        bar.say("a line of its own [not markup]")
    assert re.search(r"training .* 75 % +[\d,]+ images/s .*loss 2\.3", shown[0])
    assert "a line of its own [not markup]" in shown[0]


def test_on_a_terminal_brackets_in_a_note_are_shown_as_they_are(monkeypatch):
    with (
        terminal(monkeypatch) as shown,
        progress.reporting("training [a]", total=4, unit="images") as bar,
    ):
        bar.advance(1, "to [run]")
    assert "training [a]" in shown[0]
    assert "to [run]" in shown[0]
