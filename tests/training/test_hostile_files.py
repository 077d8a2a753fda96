"""Files of a run from anywhere: any bytes give a result or an InputError, and no file fills the memory."""

from __future__ import annotations

import copy
import json
import os
import shutil
import struct
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import little_memory
from resuming import begin, go_on
from safetensors.numpy import save

from npsoftmax.cli.main import main
from npsoftmax.compare import Comparison, collect
from npsoftmax.compare.plan import Row
from npsoftmax.compare.runner import finished, progress_of
from npsoftmax.errors import InputError
from npsoftmax.files import MOST_JSON, read_at_most, read_json
from npsoftmax.plots import read_run
from npsoftmax.training import TrainConfig, finish_run, prepare
from npsoftmax.training.checkpoint import Saved, _checksum, load_saved
from npsoftmax.training.config import MOST_TEXT
from npsoftmax.training.state import State

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

# Values of every kind that JSON and TOML know, many of them at the edge of something.
numbers = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, 2**64, 10**308, 10**400, -(10**400), 0.0, -1.5, 1e308, float("inf"), float("nan")]),
    st.floats(),
)
words = st.sampled_from(
    ["", "a", "..", "/", "none", "digits", "mlp", "softmax", "numpy", "epoch", "\ud7ff", "e1/log_softmax", "x" * 3000]
)
leaf = st.one_of(numbers, words, st.booleans())
values = st.recursive(leaf, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner)))
nulls = st.one_of(values, st.none())


def mixed(good, keys, others=nulls):
    """A dict that has some entries of `good`, and others that are anything."""
    change = st.dictionaries(st.sampled_from([*keys, "another"]), others, max_size=4)
    gone = st.sets(st.sampled_from(list(good)), max_size=2)
    return st.tuples(change, gone).map(lambda p: {k: v for k, v in (good | p[0]).items() if k not in p[1]})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    trainer = begin(tmp_path_factory.mktemp("run") / "run", epochs=2, early_stop=5)
    finish_run(trainer.session, trainer.run, trainer.fit())
    return trainer.run


# ---------------------------------------------------------------- checkpoints
def read_or_refuse(path):
    try:
        saved = load_saved(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None
    assert isinstance(saved, Saved) and all(isinstance(a, np.ndarray) for a in saved.arrays.values())
    return saved


types = st.sampled_from(
    ["F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "C64", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "f32", ""]
)
lengths = st.sampled_from([0, 1, 2, 3, 4, 8, 2**31, 2**40, 2**62, 2**63, 2**64, -1, 1.5, "4", None])
entries = st.fixed_dictionaries(
    {"dtype": types, "shape": st.lists(lengths, max_size=4), "data_offsets": st.lists(lengths, min_size=2, max_size=2)}
)
headers = st.dictionaries(st.one_of(words, st.just("__metadata__")), st.one_of(entries, nulls), max_size=4)


@same_folder
@given(content=st.binary(max_size=100))
def test_any_bytes_for_a_checkpoint(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    read_or_refuse(tmp_path / "x.safetensors")


@settings(max_examples=50, parent=same_folder)
@given(header=headers, data=st.binary(max_size=64), length=st.one_of(st.none(), st.sampled_from([0, 7, 2**40, 2**63])))
def test_any_header_of_a_checkpoint(tmp_path, header, data, length):
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + data
    (tmp_path / "x.safetensors").write_bytes(content)
    with little_memory():
        read_or_refuse(tmp_path / "x.safetensors")


@settings(max_examples=30, parent=same_folder)
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=3), data=st.data())
def test_a_damaged_checkpoint_is_refused_or_is_what_it_was(tmp_path, run, places, data):
    """One, two or three bytes changed anywhere; the checksum sees what the format does not."""
    file = run.checkpoint_file("last")
    good, content = load_saved(file), bytearray(file.read_bytes())
    ends = {"header": 8 + struct.unpack("<Q", content[:8])[0], "all": len(content)}
    end = ends[data.draw(st.sampled_from(sorted(ends)))]
    for place, change in places:
        content[min(int(place * end), end - 1)] ^= change
    (tmp_path / "x.safetensors").write_bytes(content)
    found = read_or_refuse(tmp_path / "x.safetensors")
    if found is not None:
        assert found.arrays.keys() == good.arrays.keys() and found.state == good.state
        for name, array in good.arrays.items():
            assert found.arrays[name].tobytes() == array.tobytes()


def test_a_checksum_whose_name_is_damaged_still_counts(tmp_path, run):
    content = bytearray(run.checkpoint_file("last").read_bytes())
    content[content.index(b"sha256")] ^= 1
    content[-1] ^= 1
    (tmp_path / "x.safetensors").write_bytes(content)
    assert read_or_refuse(tmp_path / "x.safetensors") is None


@same_folder
@given(part=st.floats(0, 0.999))
def test_a_cut_checkpoint_is_always_refused(tmp_path, run, part):
    content = run.checkpoint_file("last").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(content[: int(part * len(content))])
    assert read_or_refuse(tmp_path / "x.safetensors") is None


@pytest.mark.parametrize(
    "metadata", [{"state": "[" * 100_000}, {"state": "9" * 5000}, {"state": "{"}, {"state": ""}, {"sha256": "ff"}]
)
def test_odd_metadata(tmp_path, metadata):
    (tmp_path / "x.safetensors").write_bytes(save({"a": np.zeros(3)}, metadata=metadata))
    assert read_or_refuse(tmp_path / "x.safetensors") is None


GOOD_STATE = {"epoch": 1, "step": 4, "optimizer_steps": 4, "early_stopping": {"best": 0.5, "waited": 1}}
STATE_FIELDS = list(State.__dataclass_fields__)


@settings(max_examples=50)
@given(st.one_of(mixed(GOOD_STATE, STATE_FIELDS), nulls))
def test_any_state_is_one_or_an_InputError(values):
    try:
        state = State.of(values, Path("x"))
        state.check_place(4, Path("x"))
    except InputError:
        return
    assert state.step == state.epoch * 4 + state.step_in_epoch == state.optimizer_steps


@pytest.fixture(scope="module")
def copied(run, tmp_path_factory):
    """The finished run in a folder that tests may spoil."""
    folder = tmp_path_factory.mktemp("copied") / "run"
    shutil.copytree(run.path, folder)
    return folder


ODD_NAMES = ["trunk.fc1.w", "head.b", "optimizer.m", "optimizer.m.head.b", "optimizer." + "a." * 5000 + "a", "x"]
odd_arrays = st.one_of(
    st.just(None),
    st.sampled_from(
        [np.zeros(()), np.zeros((2, 0)), np.ones(3, np.complex64), np.ones((64, 10), bool), np.ones((64, 10))]
    ),
)


@settings(max_examples=20, parent=same_folder)
@given(state=mixed(GOOD_STATE, STATE_FIELDS), odd=st.dictionaries(st.sampled_from(ODD_NAMES), odd_arrays, max_size=2))
def test_a_checkpoint_with_a_right_checksum_and_anything_in_it(run, copied, state, odd):
    """What a stranger may make: resuming from it works, or says why not."""
    arrays = load_saved(run.checkpoint_file("last")).arrays
    arrays = {n: a for n, a in (arrays | odd).items() if a is not None}
    text = json.dumps(state)
    content = save(arrays, metadata={"state": text, "sha256": _checksum(arrays, text)})
    (copied / "checkpoints" / "last.safetensors").write_bytes(content)
    try:
        trainer = go_on(copied)
    except InputError:
        return
    assert 0 <= trainer.state.step == trainer.optimizer.steps


# ---------------------------------------------------------------- settings
GOOD_CONFIG = {
    "data": "digits", "limit_train": 60, "limit_test": 20, "model": "mlp", "model_opts": {"hidden": [4]}, "epochs": 1,
    "head": "softmax", "schedule": "cosine",
}  # fmt: skip
SETTINGS = list(TrainConfig.__dataclass_fields__)
toml = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda t: t.encode()),
    mixed(GOOD_CONFIG, SETTINGS, values).map(lambda table: tomli_w.dumps(table).encode()),
    st.sampled_from([
        b"a = " + b"[" * 20_000, b"a = " + b"{a=" * 9_000, b"[" + b"a." * 5000 + b"a]", b"epochs = " + b"9" * 5000,
        b"lr = 1" + b"0" * 400, b"epochs = 2020-01-01", b"val_split = 12:00:00", b"\xff\xfe", b"\x00",
        b'title = "x"\n[published]\naccuracy = 3\n[train]\nepochs = 1', b"model_opts = {hidden = 2020-01-01}",
    ]),
)  # fmt: skip


@settings(max_examples=50, parent=same_folder)
@given(content=toml)
def test_any_bytes_for_a_configuration(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    try:
        config = TrainConfig.load(path)
    except InputError as error:
        assert str(path) in str(error) or str(error).startswith(("--", "unknown --"))
        return
    config.save(path)  # and what was read can be written
    assert repr(TrainConfig.load(path)) == repr(config)  # NaN is not equal to itself


CHEAP = [name for name in SETTINGS if name not in ("limit_train", "limit_test", "data_dir", "threads", "epochs")]
few = st.one_of(st.integers(-1, 5), st.lists(st.integers(-1, 5), max_size=3), st.floats(), words, st.booleans())
options = st.dictionaries(
    st.sampled_from(["hidden", "init", "logits", "temperature", "label_smoothing", "bias", "floor", "warmup"]), few
)


@settings(max_examples=30)
@given(mixed(GOOD_CONFIG, CHEAP, st.one_of(leaf, options)))
def test_a_run_of_any_settings_is_prepared_or_says_what_is_wrong(table):
    """The options of model and head may be anything too; what they allocate is the user's own wish, and small here."""
    from npsoftmax.training.session import make_optimizer, run_schedule

    try:
        small = {"data": "digits", "model": "mlp", **table, "limit_train": 60, "limit_test": 20}
        config = TrainConfig.of(tomllib.loads(tomli_w.dumps(small)), "config.toml")
        session = prepare(config)
        make_optimizer(config, session.model)
        run_schedule(session)
    except InputError:
        return
    assert session.train_images > 0


# ---------------------------------------------------------------- comparisons and tables
GOOD_ROW = {"name": "a", "seeds": [0, 1], "varied": {}, "train": {"epochs": 1}}
comparisons = st.one_of(
    st.binary(max_size=100),
    nulls.map(lambda v: json.dumps(v).encode()),
    st.lists(st.one_of(mixed(GOOD_ROW, GOOD_ROW), nulls), max_size=3).map(
        lambda rows: json.dumps({"rows": rows}).encode()
    ),
    nulls.map(lambda v: json.dumps({"rows": [GOOD_ROW], "commands": v}).encode()),
    st.sampled_from([b"[" * 200_000, b'{"rows": ' + b"[" * 200_000, b"9" * 10_000, b"\xff\xfe\x00"]),
)


@settings(max_examples=50, parent=same_folder)
@given(content=comparisons)
def test_any_bytes_for_a_comparison(tmp_path, content):
    (tmp_path / "comparison.json").write_bytes(content)
    try:
        comparison = Comparison(tmp_path)
    except InputError:
        return
    for job in comparison.jobs():
        assert job.config.seed >= 0
        assert job.folder.resolve().is_relative_to(tmp_path.resolve() / job.row.folder)
        assert job.row.folder not in ("", ".", "..")


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "/etc", "a/../..", "\\..\\"])
def test_no_row_of_a_comparison_leaves_its_folder(tmp_path, name):
    """A folder of a row that has no checkpoint is emptied before the row begins."""
    row = Row(name, TrainConfig(), (0,))
    assert (tmp_path / row.folder / "seed-0").resolve().parent.parent == tmp_path.resolve()


GOOD_SUMMARY = {"epochs": 2, "planned_epochs": 2, "interrupted": False, "classes": 10, "test": {"accuracy": 0.5}}
SMALL_FIELDS = [*GOOD_SUMMARY, "step", "epoch", "names", "coarse", "coarse_names"]


@settings(max_examples=30, parent=same_folder)
@given(
    file=st.sampled_from(
        ["summary.json", "checkpoints/state.json", "classes.json", "metrics.csv", "steps.csv", "confusion.csv"]
    ),
    content=st.one_of(
        st.binary(max_size=60),
        st.text(st.sampled_from('0123456789,."\n\r-einfa \x00'), max_size=60).map(str.encode),
        mixed(GOOD_SUMMARY, SMALL_FIELDS).map(lambda values: json.dumps(values).encode()),
        st.just(b"[" * 200_000),
    ),
)
def test_any_bytes_in_the_small_files_of_a_run(tmp_path, run, file, content):
    """What compare and the plots read of a run: they get on, or say what is wrong."""
    folder = tmp_path / "a" / "seed-0"
    if not folder.exists():
        shutil.copytree(run.path, folder)
    good = (folder / file).read_bytes()
    (folder / file).write_bytes(content)
    comparison = Comparison(tmp_path / "none")
    comparison.path = tmp_path
    comparison.add([Row("a", TrainConfig(epochs=2), (0,))])
    (job,) = comparison.jobs()
    try:
        assert finished(job) in (True, False) and progress_of(job) >= 0
        try:
            read_run(folder)
            collect(comparison)
        except InputError as error:
            assert str(folder) in str(error)
    finally:
        (folder / file).write_bytes(good)


# ---------------------------------------------------------------- size
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.toml", TrainConfig.load),
        ("comparison.json", lambda path: Comparison(path.parent)),
        ("summary.json", read_json),
        ("x.safetensors", load_saved),
    ],
)
def test_a_file_of_a_terabyte_is_refused(tmp_path, name, read):
    path = tmp_path / name
    path.touch()
    try:
        os.truncate(path, 2**40)
    except OSError:
        pytest.skip("this file system has no files with holes")
    with pytest.raises(InputError, match=name):
        read(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device without an end")
def test_a_device_without_an_end_is_refused(capsys):
    with little_memory(), pytest.raises(InputError, match="longer than"):
        read_json(Path("/dev/zero"))
    with pytest.raises(InputError, match="longer than"):
        read_at_most(Path("/dev/zero"), MOST_TEXT)
    assert main(["train", "--config", "/dev/zero"]) == 2
    assert "/dev/zero" in capsys.readouterr().err and MOST_JSON > MOST_TEXT


def test_settings_are_not_changed_by_looking_at_them():
    """`mixed` hands out parts of one table."""
    before = copy.deepcopy(GOOD_CONFIG)
    TrainConfig.of(GOOD_CONFIG, "x")
    assert before == GOOD_CONFIG
