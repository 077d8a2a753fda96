"""Weights, a label to ignore and soft targets against PyTorch's CrossEntropyLoss, which has all of them at once.

Two definitions differ, and the factor between them is said here: PyTorch divides by the weights of the labels that
count, and not by N; and of a smoothed label it weighs each class, where a head weighs the sample by its label.
"""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.oracle

N, D, C, IGNORED = 9, 5, 7, -100
W = np.array([1.0, 0.2, 3.0, 0.5, 1.0, 2.0, 0.1])
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
ROUTES = ["softmax", "log_softmax"]


def build(name, **options):
    head = HEADS[name](D, ClassInfo(C), rng=Rng(0, "head"), **options)
    replace_leaves(head.params, lambda _, x: x.astype(float))
    return head


def batch():
    rng = np.random.default_rng(0)
    t = rng.integers(0, C, N)
    q = rng.random((N, C)) * (rng.random((N, C)) < 0.7)
    return rng.standard_normal((N, D)) * 2, t, q / q.sum(axis=1, keepdims=True)


def agree(head, h, targets, their_loss, factor=1.0, weights=None):
    """Loss and all gradients of a head, times `factor`, are PyTorch's of the scores h @ w + b."""
    theirs = {name: torch.tensor(x, requires_grad=True) for name, x in {"h": h, **dict(leaves(head.params))}.items()}
    expected = their_loss(theirs["h"] @ theirs["w"] + theirs["b"], torch.tensor(targets))
    expected.backward()
    value, cache = head.loss(h, targets, weights=weights, train=True)
    dh, grads = head.backward(cache, factor)
    np.testing.assert_allclose(value * factor, expected.item(), **CLOSE)
    for name, gradient in {"h": dh, **dict(leaves(grads))}.items():
        np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), **CLOSE, err_msg=name)


@pytest.mark.parametrize("name", ROUTES)
def test_class_weights_and_a_label_to_ignore(name):
    h, t, _ = batch()
    t[[1, 4]] = IGNORED
    kept = t != IGNORED
    their = torch.nn.CrossEntropyLoss(weight=torch.tensor(W), ignore_index=IGNORED)
    agree(build(name, class_weight=W, ignore_label=IGNORED), h, t, their, N / W[t[kept]].sum())
    summed = torch.nn.CrossEntropyLoss(weight=torch.tensor(W), ignore_index=IGNORED, reduction="sum")
    agree(build(name, class_weight=W, ignore_label=IGNORED), h, t, lambda z, t: summed(z, t) / N)


@pytest.mark.parametrize("name", ROUTES)
def test_a_label_to_ignore_with_smoothing(name):
    h, t, _ = batch()
    t[[0, 8]] = IGNORED
    their = torch.nn.CrossEntropyLoss(ignore_index=IGNORED, label_smoothing=0.1)
    agree(build(name, ignore_label=IGNORED, label_smoothing=0.1), h, t, their, N / (N - 2))


@pytest.mark.parametrize("name", ROUTES)
def test_soft_targets(name):
    """With soft targets PyTorch divides by N too, whatever the weights."""
    h, _, q = batch()
    agree(build(name), h, q, torch.nn.CrossEntropyLoss())
    agree(build(name), h, 3 * q, torch.nn.CrossEntropyLoss())
    agree(build(name, class_weight=W), h, q, torch.nn.CrossEntropyLoss(weight=torch.tensor(W)))
    agree(build(name, label_smoothing=0.2), h, q, torch.nn.CrossEntropyLoss(label_smoothing=0.2))


@pytest.mark.parametrize("name", ROUTES)
def test_class_weights_with_smoothing(name):
    """A smoothed label is a soft target; PyTorch weighs that. A head weighs the loss of the sample by its label."""
    h, t, q = batch()
    weight = torch.tensor(W)
    smoothed = 0.9 * np.eye(C)[t] + 0.1 / C
    theirs = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1, reduction="sum")
    agree(build(name, class_weight=W), h, smoothed, lambda z, _: theirs(z, torch.tensor(t)) / N)
    each = torch.nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")
    agree(build(name, class_weight=W, label_smoothing=0.1), h, t, lambda z, t: (weight[t] * each(z, t)).mean())
    theirs = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)
    agree(build(name, class_weight=W), h, 0.9 * q + 0.1 / C, lambda z, _: theirs(z, torch.tensor(q)))


@pytest.mark.parametrize("name", ROUTES)
def test_weights_of_samples_and_every_samples_loss(name):
    (h, t, q), w = batch(), np.linspace(0, 2, N)
    none = torch.nn.CrossEntropyLoss(weight=torch.tensor(W), reduction="none")
    head = build(name, class_weight=W)
    for targets in (t, q):
        agree(head, h, targets, lambda z, t: (torch.tensor(w) * none(z, t)).mean(), weights=w)
    plain = torch.nn.CrossEntropyLoss(reduction="none")
    z = torch.tensor(head.scores(h)[0])
    for targets in (t, q):
        np.testing.assert_allclose(head.losses(h, targets), plain(z, torch.tensor(targets)).numpy(), **CLOSE)


def test_distillation_with_a_temperature():
    """T² · KL(q ‖ softmax(z / T)) has the gradient of the cross entropy with q, T² of it."""
    (h, _, _), temperature = batch(), 3.0
    teacher = np.random.default_rng(1).standard_normal((N, C)) * 4
    q = torch.softmax(torch.tensor(teacher) / temperature, dim=1)
    entropy = -(q * q.log()).sum(dim=1).mean()

    def their(z, q):
        divergence = F.kl_div(F.log_softmax(z / temperature, dim=1), q, reduction="batchmean")
        return temperature**2 * (divergence + entropy)

    agree(build("softmax", temperature=temperature), h, q.numpy(), their, weights=np.full(N, temperature**2))


@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_class_weights_of_fenchel_young_losses(name):
    entmax = pytest.importorskip("entmax")
    (h, t, _), w = batch(), np.linspace(0, 2, N)
    loss = {"sparsemax": entmax.SparsemaxLoss, "entmax15": entmax.Entmax15Loss}[name](reduction="none")
    weight = torch.tensor(w) * torch.tensor(W)[t]
    agree(build(name, class_weight=W), h, t, lambda z, t: (weight * loss(z, t)).mean(), weights=w)
