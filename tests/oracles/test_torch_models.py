"""Whole models in training against PyTorch: loss, every gradient, running statistics and steps, to 1e-10."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402
from torch_twins import FixedDropout, agree, make_twin, tensor  # noqa: E402

from npsoftmax.backend import get_backend  # noqa: E402
from npsoftmax.models import MODELS, OF_TOKENS, build_model  # noqa: E402
from npsoftmax.params import leaves  # noqa: E402
from npsoftmax.random import Rng  # noqa: E402

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)

# name -> model, its options, size of the batch
CASES = {
    "mlp": ("mlp", {}, 8),
    "convnet": ("convnet", {}, 6),
    "convnet with dropout": ("convnet", {"dropout": 0.3}, 4),
    "convnet with logits": ("convnet", {"widths": (6, 8, 10), "fc": 200, "logits": 30, "relu_logits": True}, 4),
    "tinyvgg": ("tinyvgg", {}, 5),
    "tinyvgg without padding": ("tinyvgg", {"pad": 0, "width": 7}, 4),
    "vit": ("vit", {"dim": 12, "depth": 2, "heads": 3, "mlp": 10, "pool": "mean", "norm": "post"}, 3),
    "vit_small, narrow": ("vit_small", {"dim": 12, "depth": 3, "mlp": 10}, 3),
    "vit_e4, narrow": ("vit_e4", {"dim": 20, "mlp": 30, "dropout": 0.0}, 3),
    "resnet9": ("resnet9", {"widths": (16, 24, 32, 40)}, 6),
    "resnet9 without dropout": ("resnet9", {"widths": (8, 16, 24, 32), "dropout": 0.0}, 4),
    "resnet9 in full": ("resnet9", {}, 4),
    "speednet": ("speednet", {"widths": (16, 24, 32)}, 6),
    "whitened_resnet": ("whitened_resnet", {"widths": (16, 24, 32), "inner": (12, 16, 20)}, 4),
    "whitened_resnet without its ingredients": (
        "whitened_resnet",
        {"widths": (16, 24, 32), "whiten": False, "activation": "relu", "pool": "mean", "init": "he"},
        4,
    ),
    "token_mlp": ("token_mlp", {"words": 20, "embedding": 5, "hidden": (16, 12), "dropout": 0.3}, 6),
}


def build(case, seed):
    """Model, its twins (trunk, head) and a batch of 32x32 images."""
    name, options, n = CASES[case]
    shape = (8,) if name in OF_TOKENS else (32, 32, 3)
    model = build_model(name, input_shape=shape, seed=seed, model_opts=options).to(get_backend("numpy"), np.float64)
    trunk = make_twin(model.trunk, model.input_shape)
    head = make_twin(model.head.map, (model.head.features,), trunk.image)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, options["words"], (n, 8)) if name in OF_TOKENS else rng.standard_normal((n, *shape))
    return model, trunk, head, x, rng.integers(0, 100, n)


def their_loss(trunk, head, x, t, rng=None):
    """Cross entropy in PyTorch; with an rng in training, and with the masks that our dropout layers draw."""
    trunk.module.train(rng is not None)
    for name, module in trunk.module.named_children():
        if isinstance(module, FixedDropout) and rng is not None:
            place = rng.child("trunk").child(name)
            module.draw = lambda shape, place=place, keep=1 - module.p: place.keep_mask(shape, keep)
    return F.cross_entropy(head.module(trunk.module(tensor(x))), torch.tensor(t))


def test_every_model_is_compared():
    assert {name for name, _, _ in CASES.values()} == set(MODELS)


@pytest.mark.parametrize("case", CASES)
def test_training(case):
    """Two steps of plain gradient descent, taken by both on their own."""
    model, trunk, head, x, t = build(case, seed=len(case))
    tensors = {f"trunk.{n}": v for n, v in trunk.tensors.items()} | {f"head.{n}": v for n, v in head.tensors.items()}
    for step in range(1 if case == "resnet9 in full" else 2):
        rng = Rng(7).at(step)
        value, cache = model.loss(x, t, train=True, rng=rng)
        loss = their_loss(trunk, head, x, t, rng)
        agree(value, loss)
        trunk.module.zero_grad(), head.module.zero_grad()
        loss.backward()
        grads = model.backward(cache)
        trunk.check_gradients(grads["trunk"])
        head.check_gradients(grads["head"])
        trunk.check_buffers(model.buffers["trunk"])
        ours = dict(leaves(grads))
        for name, p in leaves(model.params):
            p -= 0.05 * ours[name]
            with torch.no_grad():
                tensors[name] -= 0.05 * tensors[name].grad
    agree(model.loss(x, t)[0], their_loss(trunk, head, x, t))
    z = head.module(trunk.module(tensor(x)))
    agree(model.log_prob(x), F.log_softmax(z, dim=1))
