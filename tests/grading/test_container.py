"""docs/teaching/container.md: its commands, run as they stand there; by a stand-in where no container engine is."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import folders
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "teaching" / "container.md"
STAND_IN = f"""\
#!{sys.executable}
import os, shutil, subprocess, sys, tempfile
command, *words = sys.argv[1:]
if command == "build":
    assert "ENTRYPOINT" in open("Dockerfile").read() and words == ["--tag", "npsoftmax-grader", "."]
    sys.exit(0)
assert command == "run"
image = words.index("npsoftmax-grader")
options, words = words[:image], words[image + 1 :]
for needed in ("--network none", "--read-only", "--memory 2g", "--pids-limit 128", "--cap-drop ALL"):
    assert needed in " ".join(options), needed
source, place, how = options[options.index("--volume") + 1].rsplit(":", 2)
assert (place, how) == ("/submission", "ro")
work = tempfile.mkdtemp() + "/work"
shutil.copytree(source, work)  # the entry point, but for the place
words = [work if word == "/tmp/work" else word for word in words]
sys.exit(subprocess.run([sys.executable, "-m", "npsoftmax.cli.main", "grade", *words]).returncode)
"""


def commands() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def engine() -> str | None:
    """The container engine of this machine that answers."""
    for name in ("podman", "docker"):
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True).returncode:
            return name
    return None


@pytest.fixture
def course(tmp_path):
    """Two students: one has everything right, one kills the grader."""
    (tmp_path / "submissions").mkdir()
    folders.write(tmp_path / "submissions" / "Ada Byron", {}, ("a1",))
    keeper = "open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1]"
    body = f"import os, signal\nos.kill(int({keeper}), signal.SIGKILL)"
    folders.write(
        tmp_path / "submissions" / "Max", {"softmax_forward": folders.function("softmax_forward", body)}, ("a1",)
    )
    return tmp_path


def table(folder: Path) -> list[dict[str, str]]:
    """The two rows; Ada's is always the same."""
    with (folder / "marks.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["student"] == "Ada Byron" and first["points"] == first["of"] != "0"
    assert second["student"] == "Max" and int(second["points"]) < int(first["points"])
    return [first, second]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc and a POSIX shell")
def test_the_commands_of_the_page(course):
    place = course / "bin" / "podman"
    place.parent.mkdir()
    place.write_text(STAND_IN, encoding="utf-8")
    place.chmod(0o755)
    paths = os.pathsep.join([str(place.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in commands():
        done = subprocess.run(["sh", "-eu", "-c", command], cwd=course, env=os.environ | {"PATH": paths}, text=True)
        assert done.returncode == 0
    assert table(course)[1]["flags"].endswith("it ended early: see the log")  # the grader itself was killed


@pytest.mark.slow
def test_the_commands_of_the_page_in_a_container(course):
    name = engine()
    if name is None:
        pytest.skip("no container engine answers")
    for command in commands():
        done = subprocess.run(["sh", "-eu", "-c", command.replace("podman", name)], cwd=course, text=True)
        assert done.returncode == 0
    assert "os.kill" in table(course)[1]["flags"]  # in its container the grader is process 1, which is not killed
