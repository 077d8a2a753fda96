"""Flat heads against PyTorch and the entmax package: same weights, same noise; loss, gradients, log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.functional import cosine
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.params import leaves, replace_leaves
from npsoftmax.random import Rng

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.oracle

N, D, C = 6, 5, 11
RNG = Rng(3, "noise.head").at(12)
COUNTS = 1 + np.arange(C) ** 2
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def build(name, n=C, **options):
    head = HEADS[name](D, ClassInfo(n, counts=COUNTS[:n]), rng=Rng(0, "head"), **options)
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, x: x.astype(float))
    return head


def batch(n=C):
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)) * 2, rng.integers(0, n, N)


def linear(theirs):
    return theirs["h"] @ theirs["w"] + theirs["b"]


def compare(head, train, their_loss, their_log_prob=None, n=C, scores=linear):
    """Losses and the gradients of features, weights and biases against their_loss(z, t) of their scores z."""
    h, t = batch(n)
    theirs = {name: torch.tensor(x, requires_grad=True) for name, x in {"h": h, **dict(leaves(head.params))}.items()}
    z = scores(theirs)
    expected = their_loss(z, torch.tensor(t))
    expected.backward()
    value, cache = head.loss(h, t, train=train, rng=RNG)
    dh, grads = head.backward(cache)
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    for name, gradient in {"h": dh, **dict(leaves(grads))}.items():
        np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), **CLOSE, err_msg=name)
    if their_log_prob is not None:
        np.testing.assert_allclose(head.log_prob(h, rng=RNG), their_log_prob(z).detach().numpy(), **CLOSE)


# ---------------------------------------------------------------- exponentials
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("smoothing", "temperature"), [(0.0, 1.0), (0.1, 2.5)])
def test_softmax(name, smoothing, temperature, train):
    head = build(name, label_smoothing=smoothing, temperature=temperature)
    smoothed = smoothing if train else 0.0
    compare(
        head,
        train,
        lambda z, t: F.cross_entropy(z / temperature, t, label_smoothing=smoothed),
        lambda z: F.log_softmax(z / temperature, dim=1),
    )


@pytest.mark.parametrize("name", ["gumbel_softmax", "log_gumbel_softmax"])
@pytest.mark.parametrize(("kind", "tau"), [("gumbel", 1.0), ("gumbel", 5.0), ("normal", 0.9)])
def test_gumbel_with_the_same_noise(name, kind, tau):
    noise = torch.tensor(getattr(RNG, kind)((N, C), float))
    for eval_noise in (False, True):
        compare(
            build(name, tau=tau, noise=kind, eval_noise=eval_noise, label_smoothing=0.1),
            True,
            lambda z, t: F.cross_entropy((z + noise) / tau, t, label_smoothing=0.1),
            lambda z, on=eval_noise: F.log_softmax((z + noise * on) / tau, dim=1),
        )


def test_soft_margin():
    compare(
        build("sm_softmax", margin=0.6),
        True,
        lambda z, t: F.cross_entropy(z - 0.6 * F.one_hot(t, C).double(), t),
        lambda z: F.log_softmax(z, dim=1),
    )


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_logit_adjustment(strength):
    head = build("balanced", strength=strength, prior="train")
    log_pi = torch.log(torch.tensor(COUNTS / COUNTS.sum()))
    head.buffers["log_prior"] = log_pi.numpy()  # in float64
    compare(
        head,
        True,
        lambda z, t: F.cross_entropy(z + strength * log_pi, t),
        lambda z: F.log_softmax(z + log_pi, dim=1),
    )


def test_cosine(monkeypatch):
    monkeypatch.setitem(cosine.cosine_forward.__kwdefaults__, "eps", 1e-9)

    def scores(theirs):
        return 8 * F.cosine_similarity(theirs["h"][:, None], theirs["w"].T[None], dim=2)

    compare(build("cosine", scale=8.0), True, F.cross_entropy, lambda z: F.log_softmax(z, dim=1), scores=scores)


def test_vector_scaling():
    head = build("balanced", strength=1.25, scaling=0.3)
    share = torch.tensor(COUNTS / COUNTS.sum())
    head.buffers |= {"log_prior": torch.log(share).numpy(), "slope": ((share / share.max()) ** 0.3).numpy()}
    compare(
        head,
        True,
        lambda z, t: F.cross_entropy(z * (share / share.max()) ** 0.3 + 1.25 * torch.log(share), t),
        lambda z: F.log_softmax(z, dim=1),
    )


@pytest.mark.parametrize("train", [True, False])
def test_ldam(train, monkeypatch):
    """The loss of the published code: cosines, the margin from the largest, then the scale, and weights of classes."""
    monkeypatch.setitem(cosine.cosine_forward.__kwdefaults__, "eps", 1e-9)
    weights = torch.linspace(0.5, 2, C, dtype=float)
    head = build("ldam", margin=0.5, scale=30.0, class_weight=tuple(weights.tolist()))
    margins = 1 / torch.tensor(COUNTS, dtype=float) ** 0.25
    margins = margins * (0.5 / margins.max())
    head.buffers["margins"] = margins.numpy()

    def scores(theirs):
        return F.cosine_similarity(theirs["h"][:, None], theirs["w"].T[None], dim=2)

    def their_loss(z, t):
        lowered = z - margins[t][:, None] * F.one_hot(t, C) if train else z
        losses = F.cross_entropy(30 * lowered, t, weight=weights if train else None, reduction="none")
        return losses.mean()  # PyTorch's own mean would divide by the sum of the weights

    compare(head, train, their_loss, lambda z: F.log_softmax(30 * z, dim=1), scores=scores)


@pytest.mark.parametrize(("gamma", "epsilon"), [(2.0, 0.0), (0.0, 2.0), (0.5, -0.5)])
def test_focal(gamma, epsilon):
    def their_loss(z, t):
        nll = F.cross_entropy(z, t, reduction="none")
        rest = 1 - torch.exp(-nll)
        return (rest**gamma * (nll + epsilon * rest)).mean()

    compare(build("focal", gamma=gamma, epsilon=epsilon), True, their_loss, lambda z: F.log_softmax(z, dim=1))


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_generalised_cross_entropy(q):
    def their_loss(z, t):
        return ((1 - F.softmax(z, dim=1).gather(1, t[:, None])[:, 0] ** q) / q).mean()

    compare(build("generalised_cross_entropy", q=q), False, their_loss, lambda z: F.log_softmax(z, dim=1))


@pytest.mark.parametrize("form", ["cumulative", "corn"])
@pytest.mark.parametrize("n", [2, 3, C])
def test_ordinal(form, n):
    def scores(theirs):
        if form == "corn":  # as coral_pytorch has it: binary cross entropies of the ranks that are reached
            return linear(theirs)
        gaps = F.softplus(theirs["theta"][1:])
        b = torch.cat([theirs["theta"][:1], theirs["theta"][:1] + torch.cumsum(gaps, 0)])
        return b - theirs["h"] @ theirs["w"]  # (N, C - 1)

    def log_prob(z):
        if form == "corn":
            reached = torch.cumsum(F.logsigmoid(z), dim=1)
            zero = torch.zeros(N, 1, dtype=float)
            return torch.cat([zero, reached], dim=1) + torch.cat([F.logsigmoid(-z), zero], dim=1)
        below = torch.cat([torch.zeros(N, 1), torch.sigmoid(z), torch.ones(N, 1)], dim=1)
        return torch.log(torch.diff(below, dim=1))

    compare(
        build("ordinal", n=n, form=form), True, lambda z, t: F.nll_loss(log_prob(z), t), log_prob, n=n, scores=scores
    )


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("train", [True, False])
def test_softmax_capped_normalised_and_with_penalties(name, train):
    options = {"soft_cap": 3.0, "logit_norm": 0.2, "z_loss": 0.01, "max_sup": 0.1}
    head = build(name, label_smoothing=0.1, temperature=1.5, **options)

    def scores(theirs):
        z = 3 * torch.tanh(linear(theirs) / 3)
        return z / torch.sqrt(z.square().sum(dim=1, keepdim=True) + 1e-6) / 0.2 / 1.5

    def their_loss(z, t):
        if not train:
            return F.cross_entropy(z, t)
        lead = z.amax(dim=1) - z.mean(dim=1)
        penalties = 0.01 * torch.logsumexp(z, dim=1).square() + 0.1 * lead
        return F.cross_entropy(z, t, label_smoothing=0.1) + penalties.mean()

    compare(head, train, their_loss, lambda z: F.log_softmax(z, dim=1), scores=scores)


@pytest.mark.parametrize("power", [None, 3.0])
def test_harmonic(power):
    def scores(theirs):
        square = (theirs["h"][:, :, None] - theirs["w"][None]).square().sum(dim=1) + 1e-4
        return -(power or D**0.5) / 2 * torch.log(square)

    compare(build("harmonic", power=power), True, F.cross_entropy, lambda z: F.log_softmax(z, dim=1), scores=scores)


@pytest.mark.parametrize("learned", [True, False])
def test_sink(learned):
    head = build("sink", sink=1.5, learned=learned)

    def scores(theirs):
        b = theirs["sink"] if learned else torch.tensor([1.5], dtype=float)
        return torch.cat([linear(theirs), b.expand(N, 1)], dim=1)

    compare(head, True, F.cross_entropy, lambda z: F.log_softmax(z, dim=1)[:, :C], scores=scores)


# ---------------------------------------------------------------- polynomials, by automatic differentiation
def polynomial(z, order):
    return sum(z**k / torch.exp(torch.lgamma(torch.tensor(k + 1.0, dtype=float))) for k in range(order + 1))


def log_shares(f):
    return torch.log(f / f.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("name", ["taylor_softmax", "log_taylor_softmax"])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_taylor(name, order):
    compare(
        build(name, order=order),
        True,
        lambda z, t: F.nll_loss(log_shares(polynomial(z, order)), t),
        lambda z: log_shares(polynomial(z, order)),
    )


def test_soft_margin_taylor():
    compare(
        build("sm_taylor_softmax", order=6, margin=0.6),
        True,
        lambda z, t: F.nll_loss(log_shares(polynomial(z - 0.6 * F.one_hot(t, C).double(), 6)), t),
        lambda z: log_shares(polynomial(z, 6)),
    )


def test_spherical():
    compare(
        build("spherical", eps=0.01),
        True,
        lambda z, t: F.nll_loss(log_shares(z**2 + 0.01), t),
        lambda z: log_shares(z**2 + 0.01),
    )


# ---------------------------------------------------------------- no likelihoods
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_fenchel_young_losses_of_the_entmax_package(name):
    entmax = pytest.importorskip("entmax")
    loss, mapping = getattr(entmax, f"{name}_loss"), getattr(entmax, name)
    compare(build(name), True, lambda z, t: loss(z, t).mean())
    head, (h, _) = build(name), batch()
    expected = mapping(torch.tensor(head.scores(h)[0]), dim=1).numpy()
    np.testing.assert_allclose(np.exp(head.log_prob(h)), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.8])
def test_fenchel_young_losses_of_any_alpha(alpha):
    entmax = pytest.importorskip("entmax")
    compare(build("entmax", alpha=alpha), True, lambda z, t: entmax.entmax_bisect_loss(z, t, alpha, n_iter=100).mean())


def test_hinge_is_pytorchs():
    compare(build("hinge", margin=1.5), True, lambda z, t: F.multi_margin_loss(z, t, margin=1.5))


def test_hinge_of_the_worst_rival():
    def crammer_singer(z, t):
        target = z.gather(1, t[:, None])
        rival = z.masked_fill(F.one_hot(t, C).bool(), -torch.inf).amax(dim=1, keepdim=True)
        return F.relu(1.5 + rival - target).mean()

    compare(build("hinge", margin=1.5, rivals="worst"), True, crammer_singer)


# ---------------------------------------------------------------- legacy wirings
def unshifted_softmax1(z):
    e = torch.exp(z - z.amax(dim=1, keepdim=True))
    return e / (1 + e.sum(dim=1, keepdim=True))


@pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning")
def test_legacy_wirings():
    noise = torch.tensor(RNG.gumbel((N, C), float))
    wirings = {
        "legacy_double_softmax": lambda z, t: F.cross_entropy(F.softmax(z, dim=1), t),
        "legacy_double_gumbel": lambda z, t: F.cross_entropy(F.softmax(z + noise, dim=1), t),
        "legacy_nll_on_probabilities": lambda z, t: F.nll_loss(F.softmax(z, dim=1), t),
        "legacy_batch_axis_softmax": lambda z, t: F.cross_entropy(F.softmax(z, dim=0), t),
        "legacy_softmax1_unshifted": lambda z, t: F.nll_loss(torch.log(unshifted_softmax1(z)), t),
        "legacy_taylor_unlogged": lambda z, t: F.cross_entropy(polynomial(z, 2) / polynomial(z, 2).sum(), t),
    }
    for name, their_loss in wirings.items():
        compare(build(name), True, their_loss)


# ---------------------------------------------------------------- one against the rest
@pytest.mark.parametrize("train", [True, False])
def test_sigmoid_of_labels(train):
    def their_loss(z, t):
        return F.binary_cross_entropy_with_logits(z, F.one_hot(t, C).double(), reduction="none").sum(dim=1).mean()

    compare(build("sigmoid"), train, their_loss, F.logsigmoid)


@pytest.mark.parametrize("class_weight", [None, tuple(np.linspace(0.2, 5, C))], ids=["", "weights"])
def test_sigmoid_of_sets_of_labels(class_weight):
    head = build("sigmoid", class_weight=class_weight)
    h, sets = batch()[0], np.random.default_rng(1).integers(0, 2, (N, C))
    theirs = {name: torch.tensor(x, requires_grad=True) for name, x in {"h": h, **dict(leaves(head.params))}.items()}
    loss = torch.nn.BCEWithLogitsLoss(
        reduction="none", pos_weight=None if class_weight is None else torch.tensor(class_weight)
    )
    expected = loss(linear(theirs), torch.tensor(sets, dtype=float)).sum(dim=1).mean()
    expected.backward()
    value, cache = head.loss(h, sets, train=True)
    dh, grads = head.backward(cache)
    np.testing.assert_allclose(value, expected.item(), **CLOSE)
    for name, gradient in {"h": dh, **dict(leaves(grads))}.items():
        np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), **CLOSE, err_msg=name)
