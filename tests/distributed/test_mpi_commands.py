"""mpiexec -n 2 npsoftmax train … --distributed, and compare --engine mpi: files, resuming, deaths, mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from everyday import slow
from processes import ended, start

from npsoftmax.cli.main import main
from npsoftmax.training.checkpoint import load_arrays, load_state

COMMAND = ("-m", "npsoftmax.cli.main")
TINY = [
    "--data=digits", "--limit-train=120", "--limit-test=100", "--model=mlp", "--model-opt=hidden=16", "--lr=0.05",
    "--optimizer=sgd", "--batch-size=20", "--epochs=4", "--log-every=1", "--augment=standard", "--no-plots",
]  # fmt: skip
ENDLESS = ["--epochs=100000", "--checkpoint-every=1"]
RESNET = [
    "--data=digits", "--model=resnet9", "--model-opt=widths=8,8,16,16", "--model-opt=dropout=0.1", "--epochs=3",
    "--batch-size=64", "--lr=0.01", "--no-plots",
]  # fmt: skip


def train(n, *words, **options):
    return start(n, *COMMAND, "train", "--distributed", *words, **options)


def train_alone(*words):
    assert main(["train", *words, "--quiet"]) == 0


def arrays(run, name="last"):
    return load_arrays(run / "checkpoints" / f"{name}.safetensors")


def assert_close(run, other):
    """The same parameters and moments, but for the rounding of single precision."""
    a, b = arrays(run), arrays(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)


def losses(run):
    with open(run / "steps.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    return [float(row["loss"]) for row in rows]


def accuracy_of(run):
    return json.loads((run / "summary.json").read_text())["test"]["accuracy"]


def wait_for_step(run, step, process):
    file = run / "checkpoints" / "state.json"
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        if file.exists() and json.loads(file.read_text())["step"] >= step:
            return
        time.sleep(0.1)
    pytest.fail("it does not train")


def processes_of(run):
    """Numbers of the processes that train in a directory, that of mpiexec not among them."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            words = open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0") if entry.isdecimal() else []  # noqa: SIM115
        except OSError:
            continue
        if words[0:1] == [sys.executable.encode()] and str(run).encode() in words:
            found.append(int(entry))
    return found


# ---------------------------------------------------------------- what a run leaves
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run by one process."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_alone(*TINY, "--out", str(run))
    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The same run by two, and what they said."""
    run = tmp_path_factory.mktemp("shared") / "run"
    code, out, error = ended(train(2, *TINY, "--out", run))
    assert code == 0, error
    return run, out


def test_a_run_of_two_is_the_run_of_one(whole, shared):
    run, _ = shared
    assert_close(run, whole)
    np.testing.assert_allclose(losses(run), losses(whole), rtol=1e-4)
    assert {path.name for path in run.rglob("*")} == {path.name for path in whole.rglob("*")}
    for name in ("confusion.csv", "config.toml", "classes.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_one_process_speaks_and_says_how_many_there_are(shared):
    run, out = shared
    assert out.count("train loss") == 1 and out.count("everything is in") == 1 and "by 2 processes" in out
    environment = json.loads((run / "env.json").read_text())
    assert environment["processes"] == 2 and environment["threads_of_each"] == [1, 1] and environment["mpi"]
    assert json.loads((run / "summary.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_batch_norm_of_each_part_ends_in_the_same_accuracy_band(tmp_path):
    train_alone(*RESNET, "--out", str(tmp_path / "whole"))
    accuracy = accuracy_of(tmp_path / "whole")
    assert accuracy > 0.9
    for words in ([], ["--sync-batch-norm"]):
        run = tmp_path / f"shared{len(words)}"
        code, _, error = ended(train(2, *RESNET, *words, "--out", run))
        assert code == 0, error
        assert abs(accuracy_of(run) - accuracy) < 0.04


@pytest.mark.slow
def test_averages_of_batch_norm_are_those_of_all_processes(tmp_path):
    """One step: the mean over the whole batch is the mean of the means over its halves."""
    words = [*RESNET, "--limit-train=60", "--val-split=0", "--epochs=1"]  # 60 images to train, so one step
    train_alone(*words, "--out", str(tmp_path / "whole"))
    assert ended(train(2, *words, "--out", tmp_path / "shared"))[0] == 0
    expected = arrays(tmp_path / "whole")
    (name,) = [key for key in expected if key.startswith("trunk.block1.") and key.endswith(".mean")]
    assert np.abs(expected[name]).max() > 1e-3
    np.testing.assert_allclose(arrays(tmp_path / "shared")[name], expected[name], rtol=1e-4, atol=1e-7)


# ---------------------------------------------------------------- ends before the end
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_job_and_fewer_go_on(tmp_path, whole, victim):
    run = tmp_path / "run"
    # Long at first; what is learned until the end of the second epoch does not depend on how long the run was meant.
    process = train(2, *TINY, "--schedule=constant", "--checkpoint-every=1", "--epochs=3000", "--out", run)
    wait_for_step(run, 5, process)
    numbers = sorted(processes_of(run))
    assert len(numbers) == 2
    os.kill(numbers[victim], signal.SIGKILL)
    code, _, _ = ended(process, 30)
    assert code != 0
    for _ in range(50):
        if not processes_of(run):
            break
        time.sleep(0.1)
    assert not processes_of(run)
    step = load_state(run / "checkpoints" / "last.safetensors")["step"]
    epochs = step // 6 + 2
    train_alone("--resume", str(run), "--stop-after", str(epochs), "--no-plots")
    straight = tmp_path / "straight"
    train_alone(*TINY, "--schedule=constant", "--epochs=3000", "--stop-after", str(epochs), "--out", str(straight))
    np.testing.assert_allclose(losses(run), losses(straight), rtol=2e-3)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_with_two(tmp_path, whole):
    run = tmp_path / "run"
    train_alone(*TINY, "--stop-after=2", "--out", str(run))
    code, out, error = ended(train(2, "--resume", run, "--no-plots"))
    assert code == 0, error
    assert out.count("resumed") == 1
    assert_close(run, whole)


@pytest.mark.slow
def test_ctrl_c_stops_all_after_the_same_step(tmp_path):
    run = tmp_path / "run"
    process = train(2, *TINY, *ENDLESS, "--out", run)
    wait_for_step(run, 5, process)
    process.send_signal(signal.SIGINT)  # as the terminal does; mpiexec tells the others
    code, out, error = ended(process)
    assert code != 0, error
    assert "interrupted: saved at step" in out
    assert json.loads((run / "summary.json").read_text())["interrupted"]


FAILING = """
import sys
from npsoftmax.cli import main
from npsoftmax.errors import InputError
from npsoftmax.training import trainer
from mpi4py import MPI
step = trainer.Trainer._step
def failing(self, *batch):
    if MPI.COMM_WORLD.Get_rank() == 1 and self.state.step == 3:
        raise {error}("one of them fails")
    return step(self, *batch)
trainer.Trainer._step = failing
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [("InputError", 2), ("ZeroDivisionError", 1)])
def test_an_error_in_one_process_ends_all_and_is_told(tmp_path, error, code):
    words = ["train", "--distributed", *TINY, "--out", tmp_path / "run"]
    found, _, told = ended(start(2, "-c", FAILING.format(error=error), *words), 60)
    assert found == code
    assert "process 1: " in told and "one of them fails" in told
    assert ("Traceback" in told) == (error != "InputError")


BUSY = """
import os, subprocess, time
from npsoftmax.cli._processes import ending_together
from npsoftmax.distributed import join
from npsoftmax.errors import InputError
group, parent = join("train"), os.getppid()  # the parent, a part of mpiexec, reads what this process says
if group.is_first:
    subprocess.Popen(["sh", "-c", f"kill -STOP {parent}; sleep 0.8; kill -CONT {parent}"])
    time.sleep(0.3)
with ending_together(group):
    raise InputError("all of them fail")
"""


@pytest.mark.slow
@pytest.mark.parametrize("again", [0, *slow((1, 2))])  # what mpiexec reads first is a matter of luck
def test_an_error_is_told_though_mpiexec_is_busy_when_it_comes(again):
    code, _, error = ended(start(2, "-c", BUSY))
    assert code == 2 and error.count("all of them fail") == 1


# ---------------------------------------------------------------- mistakes
@pytest.mark.slow
def test_a_mistake_that_all_make_is_told_once(tmp_path):
    code, _, error = ended(train(2, "--model=nothing", "--out", tmp_path / "run"))
    assert code == 2 and error.count("npsoftmax: error: unknown model 'nothing'") == 1
    assert not (tmp_path / "run").exists()


def test_a_head_that_mixes_samples_is_refused(tmp_path):
    code, _, error = ended(train(2, *TINY, "--head=legacy_batch_axis_softmax", "--out", tmp_path / "run"))
    assert code == 2 and "Train it in one process" in error


def alone(*words, **environment):
    """The command without mpiexec, in a process of its own."""
    command = [
        sys.executable,
        "-c",
        "import sys; {}\nfrom npsoftmax.cli.main import main; sys.exit(main(sys.argv[1:]))",
    ]
    command[2] = command[2].format(environment.pop("first", ""))
    return subprocess.run([*command, *map(str, words)], env=os.environ | environment, capture_output=True, text=True)


def test_without_mpi4py_it_says_what_to_install(tmp_path):
    done = alone("train", "--distributed", *TINY, "--out", tmp_path / "run", first="sys.modules['mpi4py'] = None")
    assert done.returncode == 2 and 'pip install "npsoftmax[mpi]"' in done.stderr
    assert "mpiexec -n 2 npsoftmax train" in done.stderr


def test_one_process_trains_and_says_how_there_would_be_two(tmp_path, whole):
    done = alone("train", "--distributed", *TINY, "--out", tmp_path / "run")
    assert done.returncode == 0 and "mpiexec -n 2 npsoftmax train" in done.stdout
    assert_close(tmp_path / "run", whole)


def test_the_mpiexec_of_another_mpi_is_noticed(tmp_path):
    words = ("train", "--distributed", *TINY, "--out", tmp_path / "run")
    done = alone(
        *words, OMPI_COMM_WORLD_SIZE="2"
    )  # as the launcher of Open MPI would say; this MPI knows nothing of it
    assert done.returncode == 2 and "belong to different MPIs" in done.stderr
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- comparisons
COMPARE = ["compare", "--engine=mpi", "--heads=softmax,hierarchical", *TINY[:8], "--epochs=2"]


@pytest.mark.slow
def test_a_comparison_over_processes(tmp_path):
    out = tmp_path / "comparison"
    code, said, error = ended(start(3, *COMMAND, *COMPARE, "--out", out))
    assert code == 0, error
    assert error.count("started") == error.count("finished") == 2 and "(2/2 done)" in error
    assert said.count("report.html") == 1
    assert len(list(out.glob("*/seed-0/summary.json"))) == 2
    code, _, error = ended(start(2, *COMMAND, *COMPARE, "--out", out))
    assert code == 0 and "2 of 2 runs are finished already" in error and "started" not in error


@pytest.mark.slow
def test_a_run_that_fails_takes_nothing_with_it(tmp_path):
    words = [*COMPARE, "--heads=softmax", "--optimizer=sgd", "--vary", "lr=1e30,0.1", "--out", tmp_path / "comparison"]
    code, _, error = ended(start(2, *COMMAND, *words))
    assert code == 1
    assert "failed softmax lr=1e+30" in error and "Lower --lr" in error
    assert "finished softmax lr=0.1" in error


@pytest.mark.slow
def test_ctrl_c_ends_a_comparison_after_the_steps_under_way(tmp_path):
    out = tmp_path / "comparison"
    words = [*COMPARE[:-1], "--epochs=60000", "--checkpoint-every=50", "--out", out]
    process = start(2, *COMMAND, *words)
    wait_for_step(out / "softmax" / "seed-0", 1, process)
    process.send_signal(signal.SIGINT)
    code, _, error = ended(process)
    assert code == 130 and "type the same command again to go on" in error and "error:" not in error
    assert "stopped softmax, seed 0" in error and "started hierarchical" not in error
    assert json.loads((out / "softmax" / "seed-0" / "summary.json").read_text())["interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"), [(["--jobs=2"], "--jobs is for --engine local"), (["--seeds=0"], "--seeds")]
)
def test_mistakes_in_a_comparison(tmp_path, words, told):
    code, _, error = ended(start(2, *COMMAND, *COMPARE, *words, "--out", tmp_path / "comparison"))
    assert code == 2 and told in error and error.count("npsoftmax: error") == 1


def test_a_comparison_needs_a_second_process(tmp_path):
    done = alone(*COMPARE, "--out", tmp_path / "comparison")
    assert done.returncode == 2 and "mpiexec -n 3 npsoftmax compare" in done.stderr
