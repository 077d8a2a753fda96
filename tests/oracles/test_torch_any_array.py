"""Every pair with tensors: NumPy's numbers, and what PyTorch derives from a forward is what its backward gives."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
import wrong_calls

torch = pytest.importorskip("torch")
pytest.importorskip("array_api_compat")

from npsoftmax.any_array import any_array  # noqa: E402
from npsoftmax.errors import InputError  # noqa: E402
from npsoftmax.functional import loss, softmax  # noqa: E402

pytestmark = pytest.mark.oracle
torch.set_num_threads(1)


class Torch:
    """Tensors of PyTorch."""

    kind = torch.Tensor

    @staticmethod
    def of(x):
        return torch.tensor(np.array(x, order="C"))

    @staticmethod
    def numbers(x):
        return x.detach().numpy()


@pytest.fixture
def library():
    return Torch


# ---------------------------------------------------------------- as with array-api-strict
shared = wrong_calls.table_of("functional/test_any_array.py")
globals().update(
    {
        name: test
        for name, test in vars(shared).items()
        if name.startswith("test_") and "library" in signature(test).parameters
    }
)


# ---------------------------------------------------------------- of tensors alone
def test_numbers_that_numpy_does_not_have_are_refused():
    with pytest.raises(InputError, match="bfloat16"):
        any_array(softmax.softmax_forward)(torch.ones(3, dtype=torch.bfloat16))


def test_tensors_that_do_not_go_together_are_refused():
    z, t = torch.ones(2, 3), torch.zeros(2, dtype=torch.int64)
    both = any_array(loss.nll_forward)
    with pytest.raises(InputError, match="device meta was given, which has no numbers"):
        both(z, t.to("meta"))
    with pytest.raises(InputError, match=r"sparse tensor was given: pass x.to_dense\(\)"):
        both(z.to_sparse(), t)
    with pytest.raises(InputError, match=r"arrays of array_api_strict on .* and torch on cpu were given"):
        both(z, shared.array_api_strict.asarray([0, 1]))


def test_a_pair_that_cannot_take_a_tensor_says_what_can():
    with pytest.raises(InputError, match=r"softmax_forward: z \(Tensor\) is no array: .* call any_array\(function\)"):
        softmax.softmax_forward(torch.ones(3, requires_grad=True))


# PyTorch cannot go back through what was written in place.
IN_PLACE = {
    *(name for name in shared.CALLS if name.startswith("batch_norm") and not name.startswith("batch_norm_inference")),
    *(
        name
        for name in shared.CALLS
        if name.startswith("attention_tiled") or (name.endswith(" tiled") and "multi_head" in name)
    ),
    "linear_softmax_nll",
}
OF_ROWS = {"embedding_rows", "sparse_rows", "sampled_softmax", "noise_contrast", "drawn_centres", "direction_gain"}


@pytest.mark.parametrize(
    "call", [call for name, call in shared.CALLS.items() if name not in OF_ROWS], ids=lambda c: c.name
)
def test_what_pytorch_derives_from_a_forward_is_what_backward_gives(call):
    args = shared.changed(shared.changed(list(call.arguments), shared.doubles), Torch.of)
    options = shared.changed(call.keywords, Torch.of)
    *outputs, cache = any_array(call.forward)(*args, **options)
    dy = Torch.of(np.random.default_rng(1).standard_normal(outputs[0].shape))
    gradients = list(shared.flat(any_array(call.backward)(dy, cache)))
    leaves = [x for x, dx in zip(args, gradients, strict=False) if dx is not None]
    for x in leaves:
        x.requires_grad_()

    def derived():
        return torch.autograd.grad(any_array(call.forward)(*args, **options)[0], leaves, dy)

    if call.name in IN_PLACE:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            derived()
    elif call.name == "gumbel_softmax_hard":  # goes straight through: PyTorch finds no way
        with pytest.raises(RuntimeError, match="does not require grad"):
            derived()
    else:
        for dx, expected in zip([dx for dx in gradients if dx is not None], derived(), strict=True):
            torch.testing.assert_close(dx, expected, rtol=1e-9, atol=1e-11)
