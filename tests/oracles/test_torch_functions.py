"""Pairs as functions that PyTorch differentiates, and PyTorch's own functions under `check_gradients`."""

from __future__ import annotations

import numpy as np
import pytest
import wrong_calls

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from npsoftmax.any_array import any_array  # noqa: E402
from npsoftmax.errors import InputError  # noqa: E402
from npsoftmax.functional import activation, dense, linear_softmax, loss, norm, path, sampled, softmax, tokens  # noqa: E402
from npsoftmax.gradcheck import check_gradients  # noqa: E402
from npsoftmax.torch_functions import as_autograd_function  # noqa: E402

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)


def numbers(*shape, seed=0, **options):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, **options)


# ---------------------------------------------------------------- a pair as an autograd.Function
CALLS = {call.name: call for call in wrong_calls.pair_calls()}
ROWS = "its gradients are those of rows that were used"
LEFT_OUT = {
    "sparse_rows": ROWS,
    "sampled_softmax": ROWS,
    "noise_contrast": ROWS,
    "drawn_centres": ROWS,
    "gumbel_softmax_hard": "its backward is not its derivative: it goes straight through",
}


def as_tensor(x):
    if callable(x):  # the sum over the parts of a batch, for any array
        return lambda sums: sums * 1
    if not isinstance(x, np.ndarray):
        return x
    return torch.tensor(np.ascontiguousarray(x.astype(np.float64) if x.dtype.kind == "f" else x))


@pytest.mark.parametrize("call", [call for name, call in CALLS.items() if name not in LEFT_OUT], ids=lambda c: c.name)
def test_gradcheck_of_pytorch_passes_for_every_pair(call):
    args, options = [as_tensor(a) for a in call.arguments], {n: as_tensor(a) for n, a in call.keywords.items()}
    function = as_autograd_function(call.forward, call.backward)
    *outputs, cache = any_array(call.forward)(*args, **options)
    gradients = any_array(call.backward)(torch.ones_like(outputs[0]), cache)
    for x, dx in zip(args, gradients if isinstance(gradients, tuple) else (gradients,), strict=False):
        if dx is not None:
            x.requires_grad_()

    def first(*tensors):
        result = function(*tensors, **options)
        return result[0] if isinstance(result, tuple) else result

    assert torch.autograd.gradcheck(first, args, fast_mode=True)


def test_what_is_left_out_is_there():
    assert set(LEFT_OUT) <= set(CALLS)


def test_a_network_of_pairs_has_the_gradients_of_pytorch():
    x, w, b, t = numbers(6, 4), numbers(4, 5, seed=1), numbers(5, seed=2), torch.tensor([0, 4, 2, 2, 1, 3])
    linear = as_autograd_function(dense.dense_forward, dense.dense_backward)
    relu = as_autograd_function(activation.relu_fused_forward, activation.relu_fused_backward)
    cross_entropy = as_autograd_function(loss.softmax_cross_entropy_forward, loss.softmax_cross_entropy_backward)
    ours, theirs = [[p.clone().requires_grad_() for p in (x, w, b)] for _ in range(2)]
    hidden = relu(linear(ours[0], ours[1], b=ours[2]))
    cross_entropy(hidden, t, label_smoothing=0.1).backward()
    nn.functional.cross_entropy((theirs[0] @ theirs[1] + theirs[2]).relu(), t, label_smoothing=0.1).backward()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-14)


def test_of_several_outputs_the_first_has_a_gradient():
    batch_norm = as_autograd_function(norm.batch_norm_forward, norm.batch_norm_backward)
    x = numbers(6, 3, requires_grad=True)
    y, mean, var = batch_norm(x, torch.ones(3, dtype=x.dtype), torch.zeros(3, dtype=x.dtype))
    assert y.requires_grad and not mean.requires_grad and not var.requires_grad
    torch.testing.assert_close(mean, x.mean(dim=0).detach())


def test_types_are_kept_and_nothing_is_shared():
    position = as_autograd_function(tokens.position_embedding_forward, tokens.position_embedding_backward)
    x, p = (numbers(*shape).float().requires_grad_() for shape in ((2, 3, 4), (3, 4)))
    y = position(x, p)
    upstream = torch.ones_like(y)
    y.backward(upstream)
    assert y.dtype == x.grad.dtype == p.grad.dtype == torch.float32
    upstream += 1
    assert (x.grad == 1).all()


def test_what_would_be_wrong_without_a_word_is_refused():
    mapping = as_autograd_function(softmax.softmax_forward, softmax.softmax_backward)
    z = numbers(3, 4, requires_grad=True)
    between = z * 1
    y = mapping(between)
    between.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    w = numbers(4, 4, seed=1, requires_grad=True)
    for loss_of in (lambda y: y.square().sum(), lambda y: y[:, 0].sum()):  # dy depends on z; dy is constant
        (dz,) = torch.autograd.grad(loss_of(mapping(z @ w)), z, create_graph=True)
        with pytest.raises(InputError, match="softmax_forward has no second derivative"):
            dz.square().sum().backward()
    with pytest.raises(InputError, match=r"bfloat16 .* runs in NumPy"):
        mapping(z.bfloat16())
    nll = as_autograd_function(linear_softmax.linear_softmax_nll_forward, linear_softmax.linear_softmax_nll_backward)
    gain = torch.ones(5, dtype=z.dtype)
    losses = nll(z, numbers(5, 4), None, torch.tensor([0, 1, 2]), gain=gain)
    gain.mul_(3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses.sum().backward()


def test_what_is_no_pair_is_refused():
    with pytest.raises(InputError, match="softmax and softmax_backward were given, but the two functions of a pair"):
        as_autograd_function(torch.softmax, softmax.softmax_backward)
    with pytest.raises(InputError, match="int and int were given"):
        as_autograd_function(3, 4)
    with pytest.raises(InputError, match="forward returned one ndarray, but y, cache was expected"):
        as_autograd_function(lambda x: x * 2, lambda dy, cache: dy * 2)(numbers(2, 3))


def test_a_view_that_turns_signs_is_read_as_it_is():
    z = torch.randn(2, 3, dtype=torch.complex128).conj().imag
    assert z.is_neg()
    mapping = as_autograd_function(softmax.softmax_forward, softmax.softmax_backward)
    torch.testing.assert_close(mapping(z), torch.softmax(z, dim=1))
    losses = any_array(loss.nll_forward)(z.abs(), torch.zeros(2, 3, dtype=torch.complex128).conj().imag)[0]
    assert torch.equal(losses, torch.zeros_like(losses))


def test_a_tensor_that_gets_no_gradient_though_it_wants_one_is_named():
    losses = as_autograd_function(path.path_losses_forward, path.path_losses_backward)
    z, signs = numbers(2, 3, requires_grad=True), torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(InputError, match=r"signs of shape \(2, 3\) requires a gradient, but backward gave it none"):
        losses(z, signs).sum().backward()
    losses(z, signs.detach()).sum().backward()
    drawn = as_autograd_function(sampled.sampled_softmax_forward, sampled.sampled_softmax_backward)
    h, w = numbers(2, 3, requires_grad=True), numbers(5, 3, requires_grad=True)
    with pytest.raises(InputError, match=r"w of shape \(5, 3\) requires a gradient, but backward gave one of shape"):
        drawn(h, w, None, torch.tensor([1, 2]), torch.tensor([0, 3]), numbers(2)).sum().backward()
    weighed = as_autograd_function(softmax.softmax1_forward, softmax.softmax1_backward)
    with pytest.raises(InputError, match="sink requires a gradient, but the pair gives it none"):
        weighed(z, sink=torch.tensor(0.5, requires_grad=True))


# ---------------------------------------------------------------- functions of PyTorch under the check
class Square(torch.autograd.Function):
    """factor · x², with a backward by hand that a test can spoil."""

    slip = 1.0

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return factor * x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        return 2 * Square.slip * ctx.factor * x * dy, None


class Summed(Square):
    """A backward whose gradient has a wrong shape."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy.sum()


def linear_forward(x, w):
    return x @ w, (x, w)


def linear_backward(dy, cache):
    x, w = cache
    return dy @ w.T, x.T @ dy


X, W, T = numbers(4, 3), numbers(3, 5, seed=1), torch.tensor([2, 0, 1, 2])
RIGHT = {
    "a function": (lambda x, w: torch.softmax(x @ w, dim=1), (X, W)),
    "a built-in one": (torch.logsumexp, (X, 1)),
    "a loss": (nn.functional.cross_entropy, (X, T)),
    "an autograd.Function": (Square, (X, 3.0)),
    "its apply": (Square.apply, (X, 3.0)),
    "a pair": (linear_forward, linear_backward, (X, W)),
    "a pair of ours": (any_array(softmax.softmax_forward), any_array(softmax.softmax_backward), (X,)),
    "a pair of ours, labels": (any_array(loss.hinge_forward), any_array(loss.hinge_backward), (X, T)),
    "a pair of ours by PyTorch": (as_autograd_function(dense.dense_forward, dense.dense_backward), (X, W)),
    "a module": (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Tanh()).double(), X),
    "an embedding": (nn.Embedding(3, 4, sparse=True).double(), T),
    "scattered memory": (torch.sin, (numbers(6, 4)[::2].T,)),
}


@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT)
def test_right_gradients_pass(given):
    report = check_gradients(*given).assert_ok()
    assert report.tensors and all(t.checked for t in report.tensors)


def test_each_parameter_of_a_module_and_its_input_is_checked():
    names = [t.name for t in check_gradients(*RIGHT["a module"]).tensors]
    assert names == ["input", "0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_frozen_parameter_and_one_without_effect():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()  # a norm takes out what the bias before it adds
    net[0].weight.requires_grad_(False)
    assert [t.name for t in check_gradients(net, X).assert_ok().tensors] == ["input", "0.bias", "1.weight", "1.bias"]
    check_gradients(lambda x, w: x * 2, (X, W)).assert_ok()


def test_wrong_gradients_are_found(monkeypatch):
    monkeypatch.setattr(Square, "slip", 0.5)
    assert "analytic / numeric = 0.5" in str(check_gradients(Square, (X, 3.0)))
    report = check_gradients(linear_forward, lambda dy, cache: (dy @ cache[1].T, 2 * cache[0].T @ dy), (X, W))
    assert [t.wrong for t in report.tensors] == [0, 15] and not report.ok
    assert not check_gradients(lambda x: (x.detach() * 2).sum(), (X,)).ok
    assert not check_gradients(lambda x, w: (x @ w.detach()).sum(), (X, W)).ok


class Named(torch.autograd.Function):
    """a · b, whose forward takes no ctx, and whose backward is wrong in da."""

    @staticmethod
    def forward(a, b):
        return a * b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved_tensors
        return 2 * b * dy, a * dy


def test_a_function_with_a_setup_context_keeps_the_names():
    report = check_gradients(Named, (X, X + 1))
    assert [(t.name, t.wrong) for t in report.tensors] == [("a", 12), ("b", 0)]


def test_a_parameter_with_the_name_of_an_argument_hides_nothing():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x):
            return Named.apply(x, torch.ones_like(x)) + self.x

    report = check_gradients(Shifted(), X)
    assert [(t.name, t.wrong) for t in report.tensors] == [("x", 12), ("self.x", 0)]


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_where_pytorch_derives_nothing_the_check_does(around):
    with around():
        check_gradients(lambda x: x**2, (X,)).assert_ok()
        assert not torch.is_grad_enabled()


def test_a_buffer_that_is_replaced_is_put_back():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

        def forward(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=0)
            return x * torch.exp(x)

    net = Mean()
    mean = net.mean
    check_gradients(net, X).assert_ok()
    assert net.mean is mean and not mean.any()


def test_tensors_and_the_module_are_left_as_they_were():
    x, net = X.clone().requires_grad_(), nn.BatchNorm1d(3).double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    check_gradients(net, x).assert_ok()
    assert torch.equal(x, X) and x.requires_grad and x.grad is None and net.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_which_arguments_get_a_gradient():
    def product(x, w, scale=1.0):
        return x @ w * scale

    def checked(*args, **options):
        return [t.name for t in check_gradients(product, args, **options).tensors]

    assert checked(X, W) == ["x", "w"]
    assert checked(X, W.clone().requires_grad_()) == ["w"]
    assert checked(X, W, wrt=[0]) == checked(X, W, wrt=["x"]) == ["x"]
    assert checked(X, W, kwargs={"scale": torch.tensor(2.0, dtype=torch.float64)}) == ["x", "w", "scale"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_gradients(torch.sin, X.float()), r"arg0 is torch.float32, .* pass arg0.double\(\)"),
        (lambda: check_gradients(nn.Linear(3, 2), X), r"weight is torch.float32, .* module.double\(\)"),
        (lambda: check_gradients(torch.sin, X[:1].expand(4, 3)), r"several places, .* pass arg0.clone\(\)"),
        (lambda: check_gradients(torch.max, (X, 1)), "2 outputs: pass output=0"),
        (lambda: check_gradients(lambda x: 3.0, (X,)), "returned float, but a tensor was expected"),
        (lambda: check_gradients(lambda x: x, lambda dy, cache: dy, (X,)), "returned one Tensor, but y, cache"),
        (lambda: check_gradients(torch.sin, X, wrt=["y"]), "wrt has 'y', but the tensors of real numbers are arg0"),
        (lambda: check_gradients(torch.sin, X, X), "a tuple of tensors"),
        (lambda: check_gradients(lambda x, y: x * y, (X, X)), r"x and y share memory.*y\.clone\(\)"),
        (lambda: check_gradients(torch.sin, X.as_strided((3, 3), (2, 1))), r"several places, .* pass arg0.clone\(\)"),
        (lambda: check_gradients(torch.sin, X.to_sparse()), r"sparse, .* pass arg0.to_dense\(\)"),
        (lambda: check_gradients(torch.sin, torch.complex(X, X).conj().imag), r"pass arg0.resolve_neg\(\)"),
        (lambda: check_gradients(torch.sin, X[:0]), "arg0 has no elements"),
        (lambda: check_gradients(lambda x: x**2, (3.0,)), "the two functions of a pair and a tuple of arrays"),
        (lambda: check_gradients(sum, ([X, X],)), "sum got no tensor of real numbers as an argument of its own"),
        (lambda: check_gradients(torch.max, (X, 1), output=5), "output=5 was given, but forward has 2"),
        (lambda: check_gradients(3, (X,)), "takes a function of PyTorch and a tuple of tensors"),
        (lambda: check_gradients(Summed, (X,)), r"what a backward in Summed gave: .* expected shape compatible with"),
    ],
)
def test_what_cannot_be_checked_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
