"""The repository itself: its weight, its workflows and the pages that others read first."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from npsoftmax._version import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CLONE = 30 * 2**20  # bytes: what a clone may take


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git repository")
    return done.stdout


def test_a_clone_is_light():
    files = sum((ROOT / name).stat().st_size for name in git("ls-files", "-z").split("\0") if (ROOT / name).is_file())
    packed = subprocess.run(
        ["git", "-C", ROOT, "pack-objects", "--stdout", "--revs", "--quiet"], input=b"HEAD", capture_output=True
    )
    assert len(packed.stdout) > 2**20 and files + len(packed.stdout) < CLONE


def test_no_file_of_the_repository_is_heavy():
    heavy = [n for n in git("ls-files", "-z").split("\0") if n and (ROOT / n).stat().st_size > 256 * 1024]
    assert heavy == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(workflow):
    text = workflow.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in uses)
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    assert set(re.findall(r"^ {6}([\w-]+): (?:write|read)", text, re.MULTILINE)) <= {"contents", "id-token"}
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")
    assert "${{ secrets." not in text


def test_there_are_workflows_for_tests_and_release():
    assert {path.stem for path in WORKFLOWS} == {"tests", "release"}


def test_the_version_to_cite_is_the_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["fault.yml", "teaching.yml"])
def test_who_reports_a_fault_is_asked_for_what_is_installed(form):
    assert "npsoftmax info" in (ROOT / ".github" / "ISSUE_TEMPLATE" / form).read_text(encoding="utf-8")
