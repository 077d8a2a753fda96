"""Runs that are killed, fill the disk, or lose the right to write: nothing written is lost, and they can be gone on."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from resuming import TINY, assert_same_end, begin, go_on, table

from npsoftmax import files
from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare
from npsoftmax.training.checkpoint import load_state

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

KILLS = 50
LONGER = [
    "--data=digits", "--limit-train=400", "--limit-test=100", "--model=mlp", "--model-opt=hidden=32", "--batch-size=32",
    "--epochs=8", "--augment=standard", "--mixup=0.3", "--head=hierarchical", "--optimizer=adamw", "--log-every=1",
    "--checkpoint-every=2", "--early-stop=7",
]  # fmt: skip
SHORT = ["--data=digits", "--limit-train=120", "--limit-test=50", "--model=mlp", "--batch-size=32", "--epochs=2"]
SHORT += ["--checkpoint-every=3", "--log-every=1"]


# ---------------------------------------------------------------- processes
def start(function, log):
    """The number of a child that is this process, warm as it is, and runs `function`; its words go to `log`."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115 (until it dies)
        code = function()
    finally:
        os._exit(code)


def train(*words):
    return lambda: main(["train", *words, "--no-plots", "--quiet"])


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(path, log, words):
    """Go on with a run that has died; one that was never begun is begun by its command again."""
    if (path / "config.toml").exists():
        code = wait(start(train("--resume", str(path)), log))
    else:
        code = wait(start(train(*words, "--out", str(path)), log))
    assert code == 0, log.read_text()


def assert_same_run(one, other):
    """Parameters, tables and all that was measured on the test set."""
    assert_same_end(one, other)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    for name in ("test", "validation", "checkpoint", "checkpoint_epoch", "epochs"):
        assert summaries[0][name] == summaries[1][name], name
    for name in ("confusion.csv", "reliability.csv", "classes.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Everything is imported, so that a child begins to train at once."""
    assert train(*SHORT, "--out", str(tmp_path_factory.mktemp("warm") / "run"))() == 0


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_as_if_they_had_not_been(tmp_path, warm):
    began = time.perf_counter()
    assert wait(start(train(*LONGER, "--out", str(tmp_path / "whole")), tmp_path / "log")) == 0
    seconds = time.perf_counter() - began
    draw, equal, writing, killed = random.Random(9), 0, 0, 0
    while killed < KILLS:
        run, log = tmp_path / f"run-{killed}", tmp_path / f"log-{killed}"
        child = start(train(*LONGER, "--out", str(run)), log)
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        if wait(child) != -signal.SIGKILL:  # it was faster than that: another one
            shutil.rmtree(run)
            continue
        killed += 1
        writing += any(run.glob("**/*.part"))
        finish(run, log, LONGER)
        assert_same_run(tmp_path / "whole", run)
        assert not any(run.glob("**/*.part"))
        equal += 1
        shutil.rmtree(run)
    print(f"{equal} of {killed} killed runs ended as the undisturbed one; {writing} were killed while writing a file")
    assert equal == KILLS


@pytest.mark.slow
def test_a_run_killed_again_and_again_comes_to_the_same_end(tmp_path, warm):
    began = time.perf_counter()
    assert wait(start(train(*LONGER, "--out", str(tmp_path / "whole")), tmp_path / "log")) == 0
    seconds = time.perf_counter() - began
    run, draw, deaths, code = tmp_path / "run", random.Random(4), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        begun = (run / "config.toml").exists()
        words = ["--resume", str(run)] if begun else [*LONGER, "--out", str(run)]
        child = start(train(*words), tmp_path / "log")
        time.sleep(draw.uniform(0.2, 0.6) * seconds)
        os.kill(child, signal.SIGKILL)
        code = wait(child)
        deaths += code == -signal.SIGKILL
    assert code == 0 and deaths >= 2
    assert_same_run(tmp_path / "whole", run)


# ---------------------------------------------------------------- every single thing that is done to a file
class Failing:
    """The operating system as `files` knows it, in which something happens at call number `at` that changes a file."""

    CHANGES = ("open", "write", "fsync", "replace", "link", "unlink", "ftruncate")

    def __init__(self, at, happens):
        self.at, self.happens, self.calls = at, happens, 0

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self.CHANGES:
            return real

        def call(*args, **options):
            self.calls += 1
            if self.calls == self.at:
                self.happens(name, real, args)
            return real(*args, **options)

        return call


def die(name, real, args):
    if name == "write":  # in the middle of it
        real(args[0], bytes(args[1])[: len(args[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def no_space(name, real, args):
    if name == "write":
        real(args[0], bytes(args[1])[: len(args[1]) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def calls_of(whole, monkeypatch):
    """How many calls the undisturbed run made, which is written to `whole`."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "os", counting := Failing(-1, None))
        assert train(*SHORT, "--out", str(whole))() == 0
    assert counting.calls > 100
    return counting.calls


def assert_nothing_is_lost(whole, run):
    """The whole rows in the tables of a run that has failed are the first of those that they would have held."""
    for name in ("metrics.csv", "steps.csv"):
        if (run / name).exists():
            whole_rows = (run / name).read_bytes().count(b"\n") - 1
            assert table(run / name)[: max(whole_rows, 0)] == table(whole / name)[: max(whole_rows, 0)]
    for name in ("last", "previous", "best"):
        file = run / "checkpoints" / f"{name}.safetensors"
        if file.exists():
            assert load_state(file)["epoch"] >= 0


def killed_at(numbers, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    calls = calls_of(whole, monkeypatch)
    for number in numbers(calls):
        run, log = tmp_path / f"run-{number}", tmp_path / f"log-{number}"

        def dying(number=number, run=run):
            files.os = Failing(number, die)
            return train(*SHORT, "--out", str(run))()

        assert wait(start(dying, log)) == -signal.SIGKILL
        assert_nothing_is_lost(whole, run)
        finish(run, log, SHORT)
        assert_same_run(whole, run)
        assert not any(run.glob("**/*.part"))


def full_at(numbers, tmp_path, monkeypatch, capsys):
    whole = tmp_path / "whole"
    calls = calls_of(whole, monkeypatch)
    failed = 0
    for number in numbers(calls):
        run = tmp_path / f"run-{number}"
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", Failing(number, no_space))
            code = train(*SHORT, "--out", str(run))()
        error = capsys.readouterr().err
        assert_nothing_is_lost(whole, run)
        assert not any(run.glob("**/*.part"))
        if code == 0:  # something that a run can do without
            assert error == ""
        else:
            failed += 1
            assert code == 2 and error.startswith("npsoftmax: error: cannot write ") and error.count("\n") == 1
            assert "No space left on device" in error and str(run) in error and "is kept" in error
            begun = (run / "config.toml").exists()
            assert (f"npsoftmax train --resume {run}" in error) == begun
            again = ["--resume", str(run)] if begun else [*SHORT, "--out", str(run)]
            assert train(*again)() == 0
        assert_same_run(whole, run)
    assert failed


@pytest.mark.slow
def test_a_run_killed_at_each_thing_it_does_to_a_file(tmp_path, monkeypatch, warm):
    killed_at(lambda calls: range(1, calls + 1), tmp_path, monkeypatch)


def test_a_run_killed_at_some_things_it_does_to_a_file(tmp_path, monkeypatch, warm):
    killed_at(lambda calls: range(8, calls + 1, calls // 4), tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment(tmp_path, monkeypatch, capsys):
    full_at(lambda calls: range(1, calls + 1), tmp_path, monkeypatch, capsys)


def test_a_disk_that_is_full_at_some_moments(tmp_path, monkeypatch, capsys):
    full_at(lambda calls: range(6, calls + 1, calls // 4), tmp_path, monkeypatch, capsys)


# ---------------------------------------------------------------- limits of the system itself
class At(Progress):
    """Does something after a number of steps of the first epoch that it sees."""

    def __init__(self, images, action):
        super().__init__(1, quiet=True)
        self.images, self.action = images, action

    def update(self, seen, loss, accuracy):
        if seen >= self.images:
            self.images = float("inf")
            self.action()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    begin(path).fit()
    return path


@pytest.mark.parametrize("most", [0, 10, 100, 1000, 2000, 4000])
def test_a_limit_on_the_size_of_files_in_the_middle_of_a_run(tmp_path, undisturbed, most):
    """The system takes a part of what is written, as a disk does that fills up just then."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def limited():
        trainer = begin(tmp_path / "run", At(64, limit), checkpoint_every=1, log_every=1)
        try:
            trainer.fit()
        except InputError as error:
            said.write_text(str(error)[:most])  # the limit is for this file too
            return 2 if "File too large" in str(error) and "--resume" in str(error) else 1
        return 0

    said = tmp_path / "said"
    assert wait(start(limited, tmp_path / "log")) == 2
    state = load_state(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert state["step"] in (1, 2)
    assert [row["step"] for row in table(tmp_path / "run" / "steps.csv")] in (["1"], ["1", "2"])
    go_on(tmp_path / "run").fit()
    log_every_step = undisturbed.parent / "every-step"
    if not log_every_step.exists():
        begin(log_every_step, log_every=1).fit()
    assert_same_end(log_every_step, tmp_path / "run")


NOBODY = 65534


def test_a_folder_that_becomes_read_only_in_the_middle_of_a_run(undisturbed):
    """A process without the rights of root, where the tests run with them."""
    root = os.geteuid() == 0
    place = Path(tempfile.mkdtemp(prefix="npsoftmax-test-"))
    run = place / "run"
    try:
        if root:
            os.chown(place, NOBODY, NOBODY)

        def close():
            for folder in (run / "checkpoints", run):
                folder.chmod(0o555)

        def locked_out():
            # The data may lie in an environment that nobody else may read: it is loaded before the rights are given up.
            session = prepare(TrainConfig(**{**TINY, "checkpoint_every": 2}))
            if root:
                os.setegid(NOBODY)
                os.seteuid(NOBODY)
            directory = RunDirectory.plan(session.config, session.dataset.name, str(run))
            trainer = Trainer(session, directory, At(96, close))
            directory.describe(session.config, session.dataset, session.train.normalize, session.backend)
            try:
                trainer.fit()
            except InputError as error:
                print(error, flush=True)
                return 2
            return 0

        os.close(os.open(place / "log", os.O_CREAT | os.O_WRONLY))
        assert wait(start(locked_out, place / "log")) == 2, (place / "log").read_text()
        said = (place / "log").read_text()
        assert said.startswith(f"cannot write {run / 'checkpoints'}/") and said.count("\n") == 1
        assert "Permission denied" in said and f"npsoftmax train --resume {run}" in said
        assert load_state(run / "checkpoints" / "last.safetensors")["step"] == 2
        for folder in (run, run / "checkpoints"):
            folder.chmod(0o755)
        go_on(run).fit()
        assert_same_end(undisturbed, run)
    finally:
        shutil.rmtree(place)


def test_a_run_that_cannot_be_locked_says_so(tmp_path, monkeypatch, capsys):
    trainer = begin(tmp_path / "run", stop_after=1)
    trainer.fit()

    def read_only(path, flags, *rest):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest)

    real = os.open
    monkeypatch.setattr(os, "open", read_only)
    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 2
    assert "Read-only file system" in capsys.readouterr().err


@pytest.mark.slow
def test_tables_and_plots_are_replaced_whole(tmp_path, monkeypatch, capsys):
    """The second end of a run, on a full disk, leaves the first one's files."""
    run = tmp_path / "run"
    words = ["train", *SHORT, "--quiet", "--out", str(run)]
    assert main([*words, "--stop-after", "1"]) == 0
    ended = [run / name for name in ("summary.json", "confusion.csv", "reliability.csv", "plots/loss.png")]
    before = [file.read_bytes() for file in ended]
    codes = []
    for number in range(2, 50, 12):
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", Failing(number, no_space))
            codes.append(main(["train", "--resume", str(run), "--stop-after", "1", "--quiet"]))
        assert codes[-1] == 0 or "No space left on device" in capsys.readouterr().err
        assert [file.read_bytes() for file in ended[1:3]] == before[1:3]
        assert json.loads((run / "summary.json").read_text())["epochs"] == 1
        picture = ended[3].read_bytes()
        assert picture.startswith(b"\x89PNG") and b"IEND" in picture[-12:]
    assert 2 in codes
