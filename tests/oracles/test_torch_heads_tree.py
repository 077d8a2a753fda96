"""Tree and cluster heads against PyTorch: its adaptive softmax, and a tree written with its sparse embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.kernels import tree as kernels
from npsoftmax.params import SparseRows, leaves, replace_leaves
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import SGD

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.oracle

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def build(name, n, d, counts=None, **options):
    head = HEADS[name](d, ClassInfo(n, counts), rng=Rng(0, "head"), **options)
    replace_leaves(head.params, lambda _, x: x.astype(float))
    return head


def batch(n, d, size, seed=0):
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((size, d)), rng.integers(0, n, size)


def tensor(x):
    return torch.tensor(x.astype(float), requires_grad=True)


# ---------------------------------------------------------------- adaptive softmax
def adaptive_twin(head, **options):
    """PyTorch's adaptive softmax with our weights. Its labels are our ranks."""
    twin = torch.nn.AdaptiveLogSoftmaxWithLoss(
        head.features, head.classes.n, list(head.cutoffs), dtype=torch.float64, **options
    )
    ours = dict(leaves(head.params))
    theirs = {"head.w": twin.head.weight}
    if twin.head.bias is not None:
        theirs["head.b"] = twin.head.bias
    for g, tail in enumerate(twin.tail, 1):
        theirs |= {f"tail{g}.proj": tail[0].weight, f"tail{g}.w": tail[1].weight}
    assert {k: tuple(p.shape) for k, p in theirs.items()} == {k: p.shape for k, p in ours.items()}
    with torch.no_grad():
        for name, p in theirs.items():
            p.copy_(torch.tensor(ours[name]))
    return twin, theirs


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("n", "cutoffs", "div_value"), [(20, (5, 12), 4.0), (20, (1, 2, 19), 2.0), (2, (1,), 4.0), (300, (10, 90), 1.5)]
)
def test_adaptive_softmax(n, cutoffs, div_value, bias):
    counts = np.random.default_rng(1).permutation(n) + 1
    head = build("adaptive", n, 32, counts, cutoffs=cutoffs, div_value=div_value, head_bias=bias)
    twin, parameters = adaptive_twin(head, div_value=div_value, head_bias=bias)
    h, t = batch(n, 32, 40)
    rank = head.buffers["rank"]

    x = tensor(h)
    _, expected = twin(x, torch.tensor(rank[t]))
    expected.backward()
    value, cache = head.loss(h, t, train=True)
    dh, grads = head.backward(cache)
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    np.testing.assert_allclose(dh, x.grad.numpy(), **CLOSE)
    for name, gradient in leaves(grads):
        theirs = parameters[name].grad
        theirs = np.zeros(gradient.shape) if theirs is None else theirs.numpy()
        np.testing.assert_allclose(gradient, theirs, **CLOSE, err_msg=name)

    with torch.no_grad():
        np.testing.assert_allclose(head.log_prob(h), twin.log_prob(torch.tensor(h)).numpy()[:, rank], **CLOSE)
        best = head.buffers["order"][twin.log_prob(torch.tensor(h)).argmax(dim=1).numpy()]
        np.testing.assert_array_equal(head.predict(h)[:, 0], best)


def test_where_its_shortcut_is_right_our_prediction_is_pytorchs():
    """PyTorch opens a cluster if its logit is the largest of the head; we if it can win. Sharp heads agree."""
    head = build("adaptive", 60, 32, np.arange(60), cutoffs=(10, 30))
    replace_leaves(head.params, lambda _, p: 8 * p)
    twin, _ = adaptive_twin(head)
    h, _ = batch(60, 32, 200)
    theirs = head.buffers["order"][twin.predict(torch.tensor(h)).numpy()]
    ours = head.predict(h)[:, 0]
    assert (ours == theirs).mean() > 0.8
    log_p, rows = head.log_prob(h), np.arange(200)
    assert (log_p[rows, ours] >= log_p[rows, theirs]).all()


def test_a_cluster_that_does_not_occur():
    head = build("adaptive", 20, 16, np.arange(20)[::-1] + 1, cutoffs=(5, 12))
    twin, parameters = adaptive_twin(head)
    h, _ = batch(20, 16, 9)
    t = np.arange(9) % 5
    twin(torch.tensor(h), torch.tensor(t)).loss.backward()
    _, grads = head.backward(head.loss(h, t)[1])
    for name, gradient in leaves(grads):
        theirs = parameters[name].grad
        np.testing.assert_allclose(gradient, 0 if theirs is None else theirs.numpy(), **CLOSE)


# ---------------------------------------------------------------- a tree with sparse embeddings
def tree_loss(h, w, b, nodes, signs):
    """The same loss as a user of PyTorch would write it for many classes."""
    index, signs = torch.tensor(nodes).clamp(min=0), torch.tensor(signs)
    z = torch.bmm(F.embedding(index, w, sparse=True), h[:, :, None])[:, :, 0]
    z = z + F.embedding(index, b, sparse=True)[:, :, 0]
    return (F.softplus(-signs * z) * signs.abs()).sum(dim=1).mean()


@pytest.mark.parametrize("kind", ["balanced", "huffman", "halving"])
@pytest.mark.parametrize("n", [37, SPARSE_FROM])
def test_a_tree_step(kind, n):
    counts = np.random.default_rng(2).integers(0, 10**6, n)
    head = build("hierarchical", n, 8, counts, tree=kind)
    h, t = batch(n, 8, 30)
    nodes, signs = kernels.climb(head.buffers["up"], t, len(bin(n)) + 40, np.float64)
    x, w = tensor(h), tensor(head.params["w"])
    b = tensor(head.params["b"][:, None])
    expected = tree_loss(x, w, b, nodes, signs)
    expected.backward()
    value, cache = head.loss(h, t, train=True)
    dh, grads = head.backward(cache)
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    np.testing.assert_allclose(dh, x.grad.numpy(), **CLOSE)
    dw = w.grad.coalesce()
    if n < SPARSE_FROM:
        np.testing.assert_allclose(grads["w"], dw.to_dense().numpy(), **CLOSE)
        np.testing.assert_allclose(grads["b"], b.grad.to_dense().numpy()[:, 0], **CLOSE)
        return
    assert isinstance(grads["w"], SparseRows)
    rows = dw.indices().numpy()[0]
    np.testing.assert_array_equal(rows, grads["w"].rows)  # its padding lists node 0, which is on every path
    np.testing.assert_allclose(grads["w"].values, dw.values().numpy(), **CLOSE)
    np.testing.assert_allclose(grads["b"].to_dense(), b.grad.to_dense().numpy()[:, 0], **CLOSE)

    optimiser = torch.optim.SGD([w], lr=0.7)
    optimiser.step()
    SGD(head.params).step(head.params, grads, lr=0.7)
    np.testing.assert_allclose(head.params["w"], w.detach().numpy(), **CLOSE)


# ---------------------------------------------------------------- sampled softmax
@pytest.mark.parametrize("n", [50, SPARSE_FROM])
def test_a_sampled_step(n):
    head = build("sampled", n, 8, samples=20)
    rng = Rng(3, "noise").at(1)
    h, t = batch(n, 8, 12)
    drawn, log_expected = head.draw(rng, h)
    x, w, b = tensor(h), tensor(head.params["w"]), tensor(head.params["b"])
    labels, index = torch.tensor(t), torch.tensor(drawn)
    z_t = (x * w[labels]).sum(dim=1) + b[labels]
    z = x @ w[index].T + b[index] - torch.tensor(log_expected)
    z = z.masked_fill(index == labels[:, None], -torch.inf)
    expected = F.cross_entropy(torch.cat([z_t[:, None], z], dim=1), torch.zeros(12, dtype=torch.long))
    expected.backward()
    value, cache = head.loss(h, t, train=True, rng=rng)
    dh, grads = head.backward(cache)
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    for found, theirs in ((dh, x), (grads["w"], w), (grads["b"], b)):
        found = found.to_dense() if isinstance(found, SparseRows) else found
        np.testing.assert_allclose(found, theirs.grad.numpy(), **CLOSE)


# ---------------------------------------------------------------- drawn noise, drawn centres
def compare_rows(head, h, t, rng, expected, theirs):
    """Loss and gradients of a training step; rows, where they are."""
    expected.backward()
    value, cache = head.loss(h, t, train=True, rng=rng)
    dh, grads = head.backward(cache)
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    for name, their in theirs.items():
        found = dh if name == "h" else grads[name]
        found = found.to_dense() if isinstance(found, SparseRows) else found
        np.testing.assert_allclose(found, their.grad.numpy(), **CLOSE, err_msg=name)


@pytest.mark.parametrize("n", [50, SPARSE_FROM])
@pytest.mark.parametrize("form", ["nce", "negative_sampling"])
def test_a_step_against_noise(form, n):
    head = build("nce", n, 8, samples=20, form=form)
    rng = Rng(3, "noise").at(1)
    h, t = batch(n, 8, 12)
    drawn, times = head.draw(rng, h)
    theirs = {"h": tensor(h), "w": tensor(head.params["w"]), "b": tensor(head.params["b"])}
    z = theirs["h"] @ theirs["w"].T + theirs["b"]
    s = z - torch.tensor(head.buffers["log_kq"]) if form == "nce" else z
    labels = torch.tensor(t)
    own, noise = (
        s.gather(1, labels[:, None]),
        s[:, torch.tensor(drawn)].repeat_interleave(torch.tensor(times).long(), dim=1),
    )
    yes = torch.cat([torch.ones_like(own), torch.zeros_like(noise)], dim=1)
    both = torch.cat([own, noise], dim=1)
    expected = F.binary_cross_entropy_with_logits(both, yes, reduction="none").sum(dim=1).mean()
    compare_rows(head, h, t, rng, expected, theirs)


@pytest.mark.parametrize("n", [50, SPARSE_FROM])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_step_with_an_angular_margin(share, n):
    """cos(arccos(c) + m) by PyTorch's own functions, and its backward."""
    head = build("arcface", n, 8, share=share, margin=0.4, scale=6.0)
    rng = Rng(3, "noise").at(1)
    h, t = batch(n, 8, 12)
    theirs = {"h": tensor(h), "w": tensor(head.params["w"])}
    units, centres = (v / (v.square().sum(dim=1, keepdim=True) + 1e-6).sqrt() for v in theirs.values())
    c = units @ centres.T
    theta = torch.arccos(c)
    lowered = torch.where(theta < torch.pi - 0.4, torch.cos(theta + 0.4), c + np.cos(0.4) - 1)
    labels, listed = torch.tensor(t), torch.zeros(n, dtype=torch.bool)
    listed[torch.tensor(head.draw(rng, h))] = True
    own = F.one_hot(labels, n).bool()
    others = torch.where(listed, 6 * c + np.log(n / head.drawn), torch.tensor(-torch.inf, dtype=c.dtype))
    expected = F.cross_entropy(torch.where(own, 6 * lowered, others), labels)
    compare_rows(head, h, t, rng, expected, theirs)
