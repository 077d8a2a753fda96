"""The documentation as a site (mkdocs.yml): a strict build, its formulas, reference, search and links."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

for needed in ("mkdocs", "material", "mkdocstrings", "math_core"):
    pytest.importorskip(needed, reason='pip install -e ".[docs]"')

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "theme" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def failure(hooks):
    return hooks.PluginError


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def html(site, page):
    return (site / page / "index.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- the built site
def test_every_formula_became_mathml(site):
    text = (ROOT / "docs" / "mappings.md").read_text(encoding="utf-8")
    displayed = len(re.findall(r"^```math$", text, re.MULTILINE))
    page = html(site, "mappings")
    assert page.count('<div class="formula"') == displayed > 10
    assert page.count("<math") > 10 * displayed and "<mfrac>" in page
    assert [p for p in site.rglob("*.html") if "arithmatex" in p.read_text(encoding="utf-8")] == []


def test_every_module_of_the_reference_has_a_page(site, hooks):
    pages = hooks.walk(hooks.reference_pages())
    assert len(pages) > 50
    missing = [page for page in pages if not (site / page.removesuffix("index.md").removesuffix(".md")).is_dir()]
    assert missing == []
    page = html(site, "reference/functional/softmax")
    assert 'id="npsoftmax.functional.softmax.softmax_backward"' in page and "the Jacobian times dy" in page


def test_search_finds_pages_and_functions_but_no_copies_of_files(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    found = {entry["location"]: entry["title"] for entry in index}
    assert (
        "concept/" in found and "reference/functional/softmax/#npsoftmax.functional.softmax.softmax_backward" in found
    )
    assert not [location for location in found if location.startswith("source/")]


def test_pages_of_the_repository_lead_to_each_other(site):
    home = html(site, "")
    for link in ("concept/", "source/examples/minimal.py/", "assignments/", "results/", "benchmarks/"):
        assert f'href="{link}"' in home
    assert 'href="../source/npsoftmax/random.py/"' in html(site, "concept")
    assert "examples/minimal.py" in html(site, "source/examples/minimal.py")
    assert (site / "assignments" / "a1_softmax" / "shares.svg").exists()


# ---------------------------------------------------------------- what fails a build
def rewritten(hooks, markdown):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="gpu.md"), meta={})
    return hooks.on_page_markdown(markdown, page, None, None)


def test_links_of_the_repository_become_links_of_the_site(hooks):
    assert rewritten(hooks, "[a](concept.md#x) [b](../README.md)") == "[a](concept.md#x) [b](index.md)"
    assert rewritten(hooks, "[c](results/)") == "[c](results/README.md)"
    assert rewritten(hooks, "[d](../npsoftmax/random.py)") == "[d](source/npsoftmax/random.py.md)"
    code = "```text\n[e](nothing)\n```\n[f](https://arxiv.org) [g](#here)"
    assert rewritten(hooks, code) == code


def test_a_link_to_nothing_fails(hooks, failure):
    with pytest.raises(failure, match=r"docs/gpu.md links to ../nothing.py"):
        rewritten(hooks, "[a](../nothing.py)")


def test_a_page_named_in_a_docstring_must_exist(hooks, failure):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="reference/x.md"), url="reference/x/")
    files = SimpleNamespace(get_file_from_path={"gpu.md": SimpleNamespace(url="gpu/")}.get)
    shown = hooks.on_page_content("see docs/gpu.md.", page, None, files)
    assert shown == 'see <a href="../../gpu/">docs/gpu.md</a>.'
    with pytest.raises(failure, match=r"nothing\.md"):
        hooks.on_page_content("see docs/nothing.md.", page, None, files)


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/a.js">',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img alt="" src="http://example.org/a.png">',
    ],
)
def test_whatever_is_loaded_from_the_web_fails(hooks, failure, tmp_path, tag):
    (tmp_path / "a.html").write_text('<a href="https://arxiv.org"></a><script src="assets/a.js"></script>')
    hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    (tmp_path / "b.html").write_text(tag)
    with pytest.raises(failure, match="loads something from the web"):
        hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
