"""The figure of benchmarks/head_scaling.py, from given measurements."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    """The script as a module, its neighbours beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("head_scaling")
    for name in ("head_scaling", "common"):
        sys.modules.pop(name, None)


def measured(rounds):
    """Two sides of one model at two numbers of classes."""
    return [
        {"side": side, "classes": classes, "rounds": ms, "median": np.median(ms), "min": min(ms), "max": max(ms)}
        for side, factor in (("softmax", 1), ("torch softmax", 2))
        for classes, ms in ((100, [factor * r for r in rounds]), (1000, [9 * factor * r for r in rounds]))
    ]


def test_several_rounds_have_bars_from_the_fastest_to_the_slowest(script):
    ax = script.figure_of(measured([1.0, 2.0, 4.0]), 2).axes[0]
    reach = [segment[:, 1].tolist() for bars in ax.collections for segment in bars.get_segments()]
    assert reach == [pytest.approx(ends) for ends in ([1, 4], [9, 36], [2, 8], [18, 72])]
    assert "Median of the rounds; bars: the fastest to the slowest." in ax.get_title(loc="left")
    ours, theirs = ax.lines[0], next(line for line in ax.lines if line.get_label() == "torch softmax")
    assert ours.get_color() == theirs.get_color() and ours.get_linestyle() == "-" and theirs.get_linestyle() == "--"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1  torch softmax", "2  softmax"]


def test_one_round_has_none(script):
    ax = script.figure_of(measured([3.0]), 1).axes[0]
    assert not ax.collections and "1 thread. One round, so no error bars." in ax.get_title(loc="left")


def test_stored_measurements_are_drawn_again_and_nothing_is_measured(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "take_turns", None)
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps({"milliseconds": measured([3.0]), "settings": {"threads": 1}}))
    assert script.main(["--redraw", str(stored), "--plot", str(tmp_path / "p.svg")]) == 0
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("words", [["--plot", "p.jpg"], ["--redraw", "x.json"], ["--plot", "plot"]])
def test_what_cannot_be_drawn_is_refused(script, words, capsys):
    with pytest.raises(SystemExit):
        script.main(words)
    assert "--plot" in capsys.readouterr().err
