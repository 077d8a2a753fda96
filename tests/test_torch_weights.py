"""Weights in PyTorch's names and layouts, without PyTorch: every element, round trips, errors, commands."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from npsoftmax import build_model, layers, load_torch, save_torch
from npsoftmax.backend import get_backend
from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.layers import Sequential
from npsoftmax.models import Model
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.torch_weights import load_torch_tensors, torch_tensors
from npsoftmax.training import load_run

CLASSES = ClassInfo(7, counts=np.array([3, 9, 1, 4, 1, 5, 9]), coarse=np.array([0, 1, 0, 2, 1, 2, 0]))
quiet = pytest.mark.filterwarnings("ignore:Legacy", "ignore:adaptive softmax")


def small(name="tinyvgg", head="softmax", seed=0, **options):
    opts = {
        "mlp": {"hidden": (5,)},
        "tinyvgg": {"width": 3},
        "convnet": {"widths": (2,), "fc": 5},
        "resnet9": {"widths": (2, 3, 4, 5)},
        "vit": {"patch": 4, "dim": 6, "depth": 1, "heads": 2, "mlp": 5},
    }[name]
    head_opts = options.pop("head_opts", {})
    if head == "legacy_adaptive_untrained":  # it takes the features as scores
        head_opts, options = {"cutoffs": (2,)}, {"logits": 7}
    model_opts = opts | options
    return build_model(name, head, CLASSES, (8, 12, 3), seed=seed, model_opts=model_opts, head_opts=head_opts)


def assert_same(a, b):
    for tree in ("params", "buffers"):
        ours, theirs = dict(leaves(getattr(a, tree))), dict(leaves(getattr(b, tree)))
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)


# ---------------------------------------------------------------- layouts
def test_every_element_is_where_pytorch_has_it():
    model = small()
    ours, theirs = dict(leaves(model.params)), torch_tensors(model)
    w = theirs["trunk.conv1_1.weight"]
    assert w.shape == (3, 3, 3, 3)
    for f, c, i, j in np.ndindex(w.shape):
        assert w[f, c, i, j] == ours["trunk.conv1_1.w"][i, j, c, f]
    height, width, channels = 2, 3, 3
    flat = theirs["head.weight"]
    for m, c, i, j in np.ndindex(7, channels, height, width):
        assert flat[m, (c * height + i) * width + j] == ours["head.w"][(i * width + j) * channels + c, m]
    np.testing.assert_array_equal(theirs["head.bias"], ours["head.b"])


def test_only_the_first_dense_layer_after_a_flatten_is_permuted():
    model = small("convnet", logits=6)
    theirs = torch_tensors(model)
    np.testing.assert_array_equal(theirs["trunk.logits.weight"], model.params["trunk"]["logits"]["w"].T)
    np.testing.assert_array_equal(theirs["head.weight"], model.params["head"]["w"].T)
    assert not np.array_equal(theirs["trunk.fc.weight"], model.params["trunk"]["fc"]["w"].T)


def test_flat_samples_are_left_in_their_order():
    model = build_model("mlp", "softmax", 4, (6,), model_opts={"hidden": (5,)})
    np.testing.assert_array_equal(torch_tensors(model)["trunk.fc1.weight"], model.params["trunk"]["fc1"]["w"].T)


def test_batch_norms_have_pytorchs_counter():
    tensors = torch_tensors(small("resnet9"))
    counters = [a for name, a in tensors.items() if name.endswith(".num_batches_tracked")]
    assert len(counters) == 8 and all(a.shape == () and a.dtype == np.int64 for a in counters)


# ---------------------------------------------------------------- round trips
@quiet
@pytest.mark.parametrize("head", HEADS)
def test_every_head_comes_back(head, tmp_path):
    one, other = small(head=head), small(head=head, seed=1)
    replace_leaves(one.head.params, lambda _, p: p + np.float32(0.5))  # also what begins the same for every seed
    save_torch(one, tmp_path / "w.safetensors")
    load_torch(other, tmp_path / "w.safetensors")
    assert_same(one, other)


@pytest.mark.parametrize(
    ("name", "head", "options"),
    [
        ("vit", "softmax", {"position": "sinusoidal"}),
        ("vit", "adaptive", {"head_opts": {"cutoffs": (2, 4), "div_value": 1.0, "head_bias": True}}),
        ("tinyvgg", "hierarchical", {"head_opts": {"tree": "superclass"}}),
        ("tinyvgg", "hierarchical", {"head_opts": {"tree": "huffman", "bias": False}}),
        ("tinyvgg", "sampled", {"head_opts": {"bias": False}}),
        ("tinyvgg", "adaptive", {}),
        ("mlp", "cosine", {"hidden": ()}),
    ],
)
def test_options_come_back(name, head, options, tmp_path):
    one, other = small(name, head, **options), small(name, head, seed=1, **options)
    save_torch(one, tmp_path / "w.safetensors")
    load_torch(other, tmp_path / "w.safetensors")
    assert_same(one, other)


def test_a_tree_reads_the_flattened_image_in_pytorchs_order():
    """Rows times features, both as PyTorch has them, are the scores that ours has."""
    model = small(head="hierarchical")
    x = np.random.default_rng(0).standard_normal((4, 8, 12, 3)).astype(np.float32)
    h = model.features(x)
    theirs = h.reshape(4, 2, 3, 3).transpose(0, 3, 1, 2).reshape(4, -1)
    z = theirs @ torch_tensors(model)["head.weight"].T
    np.testing.assert_allclose(z, h @ model.params["head"]["w"].T, atol=1e-5)


def test_pytorch_is_not_imported(tmp_path):
    code = (
        "import sys, npsoftmax as n; m = n.build_model('mlp', model_opts={'hidden': (4,)}, input_shape=(3,));"
        f"n.save_torch(m, {str(tmp_path / 'w.safetensors')!r}); n.load_torch(m, {str(tmp_path / 'w.safetensors')!r});"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_float64_models_keep_their_precision(tmp_path):
    model = small().to(get_backend(), np.float64)
    tensors = torch_tensors(model)
    assert tensors["head.weight"].dtype == np.float64
    load_torch_tensors(model, {name: a.astype(np.float32) for name, a in tensors.items()})
    assert model.params["head"]["w"].dtype == np.float64


# ---------------------------------------------------------------- mistakes
def test_all_names_that_do_not_fit_are_listed_and_nothing_is_changed(tmp_path):
    model, before = small("resnet9"), small("resnet9")
    tensors = torch_tensors(small("resnet9", seed=1))
    del tensors["head.bias"], tensors["trunk.block1.conv.weight"]
    tensors["trunk.block2.norm.weight"] = np.zeros(9, np.float32)
    tensors["fc.weight"] = np.zeros(2, np.float32)
    tensors["head.weight"] = tensors["head.weight"].astype(np.int32)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(InputError) as caught:
        load_torch(model, tmp_path / "w.safetensors")
    said = str(caught.value)
    assert "w.safetensors does not fit Model(resnet9, softmax" in said
    assert "missing: trunk.block1.conv.weight, head.bias" in said
    assert "not expected: fc.weight" in said
    assert "of another shape: trunk.block2.norm.weight is (9,), expected (3,)" in said
    assert "no floating-point numbers: head.weight" in said
    assert_same(model, before)


def test_another_model_is_refused_with_a_short_list():
    with pytest.raises(InputError, match=r"not expected: .* and \d+ more"):
        load_torch_tensors(small("mlp"), torch_tensors(small("resnet9")))


def test_rows_of_another_tree_are_refused():
    given = torch_tensors(small(head="hierarchical", head_opts={"tree": "halving"}))
    with pytest.raises(InputError, match=r"of another tree: head\.children, head\.up"):
        load_torch_tensors(small(head="hierarchical", head_opts={"tree": "huffman"}), given)


@pytest.mark.parametrize("order", [np.zeros(7, np.int64), np.arange(6), np.arange(7.0), np.arange(7).reshape(1, 7)])
def test_an_order_that_is_no_permutation_is_refused(order):
    model = small(head="adaptive")
    with pytest.raises(InputError, match=r"head\.order is not a permutation"):
        load_torch_tensors(model, torch_tensors(model) | {"head.order": order})


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        load_torch(small(), tmp_path / "nothing.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"PK\x03\x04 a pickle in disguise")
    with pytest.raises(InputError, match="damaged"):
        load_torch(small(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"pickle.*save_file"):
        load_torch(small(), tmp_path / "w.pth")


def test_a_layer_that_pytorch_knows_otherwise_is_named():
    dense = layers.Dense(4, 4, rng=Rng(0))
    trunk = Sequential(flatten=layers.Flatten(), norm=layers.LayerNorm(12), fc=layers.Dense(12, 4, rng=Rng(0)))
    head = HEADS["softmax"](4, CLASSES, rng=Rng(0))
    with pytest.raises(InputError, match=r"trunk\.norm is a LayerNorm"):
        torch_tensors(Model("mine", "softmax", trunk, head, (2, 2, 3)))
    assert "trunk.fc.weight" in torch_tensors(Model("mine", "softmax", Sequential(fc=dense), head, (4,)))


# ---------------------------------------------------------------- the commands
SETTINGS = "--data digits --limit-train 200 --limit-test 60 --model convnet --model-opt widths=4,8 --model-opt fc=12"


def evaluated(run, capsys):
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_export_and_import_are_the_same_network_again(tmp_path, capsys):
    run, again, weights = tmp_path / "run", tmp_path / "again", tmp_path / "out" / "w.safetensors"
    assert main(["train", *SETTINGS.split(), "--epochs", "1", "--quiet", "--no-plots", "--out", str(run)]) == 0
    assert main(["export", str(run), "--torch", str(weights)]) == 0
    assert "8 tensors of convnet with softmax head" in capsys.readouterr().out
    assert main(["import", str(weights), *SETTINGS.split(), "--epochs", "1", "--out", str(again)]) == 0
    assert f"npsoftmax eval {again}" in capsys.readouterr().out
    assert evaluated(again, capsys) == evaluated(run, capsys)
    assert_same(load_run(again).model, load_run(run, "best").model)
    assert main(["train", "--resume", str(again), "--quiet", "--no-plots"]) == 0  # trains on from there
    assert (again / "summary.json").is_file()


def test_import_takes_the_settings_of_a_run(tmp_path, capsys):
    run, weights = tmp_path / "run", tmp_path / "w.safetensors"
    assert main(["train", *SETTINGS.split(), "--epochs", "1", "--quiet", "--no-plots", "--out", str(run)]) == 0
    assert main(["export", str(run), "--torch", str(weights), "--checkpoint", "last"]) == 0
    command = ["import", str(weights), "--config", str(run / "config.toml"), "--out", str(tmp_path / "again")]
    assert main(command) == 0
    assert_same(load_run(tmp_path / "again").model, load_run(run, "last").model)


def test_import_of_other_weights_makes_no_run(tmp_path, capsys):
    save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "w.safetensors")
    out = tmp_path / "run"
    assert main(["import", str(tmp_path / "w.safetensors"), *SETTINGS.split(), "--out", str(out)]) == 2
    assert "not expected: weight" in capsys.readouterr().err and not out.exists()
    assert load_file(tmp_path / "w.safetensors")["weight"].shape == (2, 2)


def test_export_needs_a_file(capsys):
    with pytest.raises(SystemExit):
        main(["export", "run"])
    assert "--torch" in capsys.readouterr().err
