"""The embedding: gradients of repeated words, dense and of rows; what is no word; one table in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.functional import tokens
from npsoftmax.gradcheck import check_layer
from npsoftmax.layers import Dense, Embedding, Flatten, ReLU, Sequential, embedding
from npsoftmax.params import SparseRows, replace_leaves
from npsoftmax.random import Rng


def table(words=7, dim=4, dtype=np.float64):
    layer = Embedding(words, dim, rng=Rng(3))
    replace_leaves(layer.params, lambda _, p: p.astype(dtype))
    return layer


@pytest.fixture
def sparse(monkeypatch):
    monkeypatch.setattr(embedding, "SPARSE_FROM", 7)


X = np.array([[0, 6, 6], [6, 2, 0]])


def test_gradients():
    check_layer(table(), X).assert_ok()


def test_gradients_of_rows(sparse):
    check_layer(table(), X).assert_ok()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_the_table_and_nothing_changed(kind, dtype):
    layer, x = table(dtype=dtype), X.astype(kind)
    x.flags.writeable = layer.params["w"].flags.writeable = False
    y, cache = layer.forward(x)
    assert y.dtype == dtype and y.shape == (2, 3, 4) == (2, *layer.output_shape((3,)))
    np.testing.assert_array_equal(y[1, 0], layer.params["w"][6])
    dy = np.ones_like(y)
    dy.flags.writeable = False
    dx, grads = layer.backward(dy, cache)
    assert dx is None and grads["w"].dtype == dtype
    assert grads["w"][:, 0].tolist() == [2, 0, 1, 0, 0, 0, 3]


@given(n=st.integers(1, 9), length=st.integers(1, 5), words=st.integers(1, 12), seed=st.integers(0, 99))
def test_rows_are_the_dense_gradient(n, length, words, seed):
    rng = np.random.default_rng(seed)
    x, dy = rng.integers(0, words, (n, length)), rng.standard_normal((n, length, 3))
    _, cache = tokens.embedding_forward(rng.standard_normal((words, 3)), x)
    found = SparseRows.from_indices(*tokens.embedding_rows_backward(dy, cache), words)
    np.testing.assert_array_equal(found.rows, np.unique(x))
    np.testing.assert_allclose(found.to_dense(), tokens.embedding_backward(dy, cache), rtol=1e-12, atol=1e-14)


def test_from_many_words_on_the_gradient_has_the_rows_that_were_there(sparse):
    layer = table()
    y, cache = layer.forward(X)
    _, grads = layer.backward(y, cache)
    assert isinstance(grads["w"], SparseRows) and grads["w"].rows.tolist() == [0, 2, 6]
    assert Embedding(6, 2, rng=Rng(0)).sparse is False


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[0, 7]]), r"x runs from 0 to 7, but 0 … 6 was expected"),
        (np.array([[-1, 0]]), r"x runs from -1 to 0"),
        (np.array([[0.0, 1.0]]), r"x holds float64, but whole numbers were expected; type x.astype\(int\)"),
        (np.array([[True]]), r"x holds bool"),
        (np.array([0, 1]), r"x has shape \(2,\), but \(N, T\) was expected"),
        (np.zeros((2, 3, 1), int), r"\(N, T\) was expected"),
        ([[0], [1, 2]], r"no array"),
    ],
)
def test_what_is_no_word_is_refused(x, message):
    for layer in (table(), Sequential(embedding=table(), flatten=Flatten())):
        with pytest.raises(InputError, match=message):
            layer.forward(x)


def test_a_network_takes_words_where_its_first_layer_does():
    words = Sequential(embedding=table(), flatten=Flatten(), fc=Dense(12, 3, rng=Rng(0)), relu=ReLU())
    assert words.takes_tokens and not Sequential(relu=ReLU()).takes_tokens and not Sequential().takes_tokens
    replace_leaves(words.params, lambda _, p: p.astype(np.float64))
    check_layer(words, X).assert_ok()
    with pytest.raises(InputError, match=r"takes samples of T words, shape \(T,\), not \(3, 4\)"):
        words.output_shape((3, 4))


def test_sizes_and_seed():
    with pytest.raises(InputError, match="words is 0"):
        Embedding(0, 3, rng=Rng(0))
    with pytest.raises(InputError, match=r"dim is 2.5"):
        Embedding(3, 2.5, rng=Rng(0))
    same, other = (Embedding(5, 3, rng=Rng(seed)).params["w"] for seed in (3, 4))
    np.testing.assert_array_equal(Embedding(5, 3, rng=Rng(3)).params["w"], same)
    assert (same != other).all()
    assert "Embedding(5, 3)" in repr(Embedding(5, 3, rng=Rng(3)))


@pytest.mark.oracle
@pytest.mark.parametrize("rows", [False, True])
def test_pytorch_has_the_same_gradient(rows, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(embedding, "SPARSE_FROM", 7 if rows else 8)
    layer, rng = table(), np.random.default_rng(0)
    x = rng.integers(0, 7, (6, 5))
    dy = rng.standard_normal((6, 5, 4))
    theirs = torch.nn.Embedding(7, 4, sparse=rows, _weight=torch.tensor(layer.params["w"].copy()))
    y = theirs(torch.tensor(x))
    y.backward(torch.tensor(dy))
    ours, cache = layer.forward(x)
    np.testing.assert_array_equal(ours, y.detach().numpy())
    grad = layer.backward(dy, cache)[1]["w"]
    expected = theirs.weight.grad.to_dense() if rows else theirs.weight.grad
    np.testing.assert_allclose(grad.to_dense() if rows else grad, expected.numpy(), rtol=1e-12, atol=1e-13)
