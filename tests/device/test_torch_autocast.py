"""What bfloat16 costs in digits, here and under PyTorch's autocast: how far loss and gradients are from float32's."""

from __future__ import annotations

import numpy as np
import parity
import pytest

from npsoftmax.backend import get_backend
from npsoftmax.heads import ClassInfo
from npsoftmax.models import build_model
from npsoftmax.params import leaves

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

NETWORKS = {
    "resnet9": {"widths": (16, 16, 24, 24), "dropout": 0.0},
    "convnet": {"widths": (16, 24), "fc": 24},
    "vit_small": {"dim": 24, "depth": 2, "heads": 3, "mlp": 32},
}
N, SHAPE, CLASSES = 16, (16, 16, 3), 7


def distance(found, full):
    """Of all gradients together, relative."""
    a, b = (np.concatenate([np.asarray(g[name], np.float64).ravel() for name in full]) for g in (found, full))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def ours(name, x, t, precision):
    backend = get_backend("cupy", precision=precision)
    model = build_model(name, "softmax", ClassInfo(CLASSES), SHAPE, model_opts=NETWORKS[name]).to(backend)
    loss, cache = model.loss(backend.asarray(x), backend.asarray(t), train=True)
    return float(loss), {path: g.get() for path, g in leaves(model.backward(cache))}


def theirs(name, x, t, narrow):
    twins = parity.tests_in("oracles/torch_twins.py")
    model = build_model(name, "softmax", ClassInfo(CLASSES), SHAPE, model_opts=NETWORKS[name])
    trunk = twins.make_twin(model.trunk, SHAPE).module.float().train()
    head = twins.make_twin(model.head.map, (model.head.features,)).module.float()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
        scores = head(trunk(twins.tensor(x).float()))
        loss = torch.nn.functional.cross_entropy(scores.float(), torch.tensor(t))
    loss.backward()
    parts = [*trunk.named_parameters(prefix="trunk"), *head.named_parameters(prefix="head")]
    return loss.item(), {path: p.grad.numpy() for path, p in parts}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_further_from_float32_than_autocast_is(name, strict, monkeypatch):
    monkeypatch.syspath_prepend(str(parity.TESTS / "oracles"))
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((N, *SHAPE)).astype(np.float32), rng.integers(0, CLASSES, N)
    (loss, grads), (full_loss, full_grads) = (ours(name, x, t, precision) for precision in ("bf16", "fp32"))
    (their_loss, their_grads), (their_full, their_full_grads) = (theirs(name, x, t, narrow) for narrow in (True, False))
    assert full_loss == pytest.approx(their_full, rel=1e-5)
    found, expected = distance(grads, full_grads), distance(their_grads, their_full_grads)
    print(f"{name}: {loss / full_loss - 1:.5f} {their_loss / their_full - 1:.5f}, gradients {found:.4f} {expected:.4f}")
    assert found < 1.5 * expected
