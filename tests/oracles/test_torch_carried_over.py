"""Weights carried over, with PyTorch on the other side: the same logits in float32, in both directions."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch_plain import CASES, Net  # noqa: E402

import npsoftmax  # noqa: E402
from npsoftmax.backend import get_backend  # noqa: E402
from npsoftmax.bench.twins import TWINS  # noqa: E402
from npsoftmax.heads import ClassInfo  # noqa: E402
from npsoftmax.models import MODELS, OF_TOKENS, build_model  # noqa: E402
from npsoftmax.random import Rng  # noqa: E402
from npsoftmax.torch_weights import load_torch, load_torch_tensors, save_torch, torch_tensors  # noqa: E402

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

CLASSES = ClassInfo(11, counts=np.array([3, 90, 1, 40, 1, 5, 9, 2, 60, 5, 33]))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
PAGE = Path(npsoftmax.__file__).parents[1] / "docs" / "pytorch.md"


def pair(case, head="softmax", seed=0, classes=CLASSES, **head_opts):
    """Our model, trained for a few steps, so that nothing is at its start; PyTorch's with other weights; images."""
    name, builder, both, ours, shape = CASES[case]
    torch.manual_seed(seed)
    trunk, features = builder(shape, **both)
    if head == "adaptive":
        their_head = nn.AdaptiveLogSoftmaxWithLoss(features, classes.n, list(head_opts["cutoffs"]), **ADAPTIVE)
    else:
        their_head = nn.Linear(features, classes.n)
    model = build_model(name, head, classes, shape, seed=seed, model_opts=both | ours, head_opts=head_opts)
    model.to(get_backend())
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 19, (6, *shape)) if name in OF_TOKENS else rng.standard_normal((6, *shape)).astype(np.float32)
    for step in range(3):
        _, cache = model.loss(x, rng.integers(0, classes.n, 6), train=True, rng=Rng(seed).at(step))
        shrink(model.params, model.backward(cache))
    net = Net(trunk, their_head)
    net.train()
    with torch.no_grad():
        net.trunk(first(x + 1))  # running statistics of its own
    return model, net.eval(), x


ADAPTIVE = {"div_value": 2.0, "head_bias": True}


def shrink(params, grads):
    for name, p in params.items():
        if isinstance(p, dict):
            shrink(p, grads[name])
        else:
            p -= 0.05 * grads[name]


def first(x):
    """Images with the channels first; words as they are."""
    if x.ndim == 2:
        return torch.from_numpy(x)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def agree(model, net, x):
    ours, _ = model.head.scores(model.features(x))
    with torch.inference_mode():
        theirs = net(first(x)).numpy()
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, **CLOSE)


def differ(model, net, x):
    with torch.inference_mode():
        assert np.abs(model.head.scores(model.features(x))[0] - net(first(x)).numpy()).max() > 0.01


def test_every_model_is_carried_over():
    assert {name for name, *_ in CASES.values()} == set(MODELS)


# ---------------------------------------------------------------- both directions
@pytest.mark.parametrize("case", CASES)
def test_to_pytorch(case, tmp_path):
    model, net, x = pair(case)
    differ(model, net, x)
    save_torch(model, tmp_path / "weights.safetensors")
    net.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    agree(model, net, x)


@pytest.mark.parametrize("case", CASES)
def test_from_pytorch(case, tmp_path):
    model, net, x = pair(case, seed=1)
    differ(model, net, x)
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    load_torch(model, tmp_path / "weights.safetensors")
    agree(model, net, x)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_the_same_to_the_last_bit(case, tmp_path):
    model, net, _ = pair(case, seed=2)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in torch_tensors(model).items()}, strict=True)
    other, *_ = pair(case, seed=3)
    load_torch_tensors(other, net.state_dict())
    after, before = torch_tensors(other), torch_tensors(model)
    assert after.keys() == before.keys()
    for name, a in before.items():
        np.testing.assert_array_equal(after[name], a, err_msg=name)
        assert net.state_dict()[name].shape == a.shape


@pytest.mark.parametrize("name", ["mlp", "convnet", "tinyvgg", "resnet9", "speednet"])
def test_the_twins_of_the_benchmark_take_the_file_of_the_full_model(name):
    twin, model = TWINS[name](), build_model(name)
    twin.load_state_dict({n: torch.from_numpy(a) for n, a in torch_tensors(model).items()}, strict=True)
    x = np.random.default_rng(0).standard_normal((3, 32, 32, 3)).astype(np.float32)
    agree(model, twin.eval(), x)


# ---------------------------------------------------------------- the adaptive head
@pytest.mark.parametrize("case", ["convnet", "tinyvgg"])
@pytest.mark.parametrize("direction", ["to", "from"])
def test_the_adaptive_head_whose_classes_are_ranks_in_pytorch(case, direction, tmp_path):
    model, net, x = pair(case, "adaptive", cutoffs=(3, 6), **ADAPTIVE)
    path = tmp_path / "weights.safetensors"
    order = model.head.buffers["order"].copy()  # the class of each rank
    assert (order != np.arange(11)).any()
    if direction == "to":
        save_torch(model, path)
        tensors = load_file(path)
        order = tensors.pop("head.order").numpy()
        net.load_state_dict(tensors, strict=True)
    else:
        save_file(net.state_dict() | {"head.order": torch.from_numpy(order)}, path)
        load_torch(model, path)
    with torch.inference_mode():
        theirs = net.head.log_prob(net.trunk(first(x))).numpy()  # (N, ranks)
    np.testing.assert_allclose(model.log_prob(x)[:, order], theirs, **CLOSE)
    np.testing.assert_array_equal(model.predict(x)[:, 0], order[theirs.argmax(axis=1)])


@pytest.mark.filterwarnings("ignore:adaptive softmax")
def test_an_adaptive_head_of_equal_classes_is_pytorchs_module_as_it_is(tmp_path):
    model, net, x = pair("convnet", "adaptive", classes=ClassInfo(11), cutoffs=(4,), **ADAPTIVE)
    save_torch(model, tmp_path / "w.safetensors")
    net.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    with torch.inference_mode():
        np.testing.assert_allclose(model.log_prob(x), net.head.log_prob(net.trunk(first(x))).numpy(), **CLOSE)


def test_weights_of_pytorch_whose_labels_are_ranks_make_ours_ranks_too():
    model, net, x = pair("convnet", "adaptive", cutoffs=(3, 6), **ADAPTIVE)
    load_torch_tensors(model, net.state_dict())
    np.testing.assert_array_equal(model.head.buffers["order"], np.arange(11))
    np.testing.assert_array_equal(model.head.buffers["rank"], np.arange(11))
    with torch.inference_mode():
        np.testing.assert_allclose(model.log_prob(x), net.head.log_prob(net.trunk(first(x))).numpy(), **CLOSE)


# ---------------------------------------------------------------- what a file may hold
def test_half_precision_is_read_and_float32_stays(tmp_path):
    model, net, x = pair("convnet")
    save_file(net.half().state_dict(), tmp_path / "w.safetensors")
    load_torch(model, tmp_path / "w.safetensors")
    agree(model, net.float(), x)
    assert model.params["head"]["w"].dtype == np.float32


def test_a_file_of_bfloat16_is_read_or_refused_by_name(tmp_path):
    model, net, x = pair("convnet")
    save_file(net.bfloat16().state_dict(), tmp_path / "w.safetensors")
    try:
        load_torch(model, tmp_path / "w.safetensors")
    except npsoftmax.InputError as error:
        assert "w.safetensors" in str(error) and "bfloat16" in str(error).lower()
    else:
        agree(model, net.float(), x)


# ---------------------------------------------------------------- the page
def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    if not PAGE.exists():
        pytest.skip("the page is in docs/ of a source checkout")
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    monkeypatch.setitem(sys.modules, "page", type(sys)("page"))
    for part in code:
        exec(part, names)
    assert len(code) >= 3 and "largest difference" in capsys.readouterr().out
