"""The pictures of benchmarks/page_figures.py: the pages show every one of them, small, and each can be drawn."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "page_figures.py"
if not SCRIPT.exists():
    pytest.skip("the script is in a source checkout", allow_module_level=True)
pytest.importorskip("matplotlib")

sys.path.insert(0, str(SCRIPT.parent))
import page_figures  # noqa: E402

sys.path.pop(0)
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}


def test_every_figure_stands_on_the_page_of_its_name_and_no_page_lacks_one():
    shown = {name for name, text in PAGES.items() if f"](images/{name}.png)" in text}
    assert shown == set(page_figures.FIGURES)


@pytest.mark.parametrize("name", page_figures.FIGURES)
def test_a_figure_is_a_small_file(name):
    path = ROOT / "docs" / "images" / f"{name}.png"
    assert 5_000 < path.stat().st_size < 60_000


def test_an_unknown_figure_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        page_figures.main(["tailor"])
    assert "taylor" in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_draws_every_figure(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.iterdir()} == set(page_figures.FIGURES)
    for path in tmp_path.iterdir():
        width = struct.unpack(">I", path.read_bytes()[16:20])[0]
        assert width == round(page_figures.WIDTH * page_figures.DPI)


@pytest.mark.slow
@pytest.mark.parametrize("name", page_figures.FIGURES)
def test_no_text_is_smaller_than_8_points(name):
    from matplotlib.text import Text

    figure = page_figures.FIGURES[name]()
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert sizes and min(sizes) >= page_figures.LEAST_TEXT == 8
