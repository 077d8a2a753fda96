"""The .cu files, run on the CPU over random shapes, against readable NumPy; and planted errors that must be found."""

from __future__ import annotations

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import table

from npsoftmax import cuda, kernels
from npsoftmax.functional import sparse_mappings
from npsoftmax.heads import tree as trees
from npsoftmax.heads.base import ClassInfo
from npsoftmax.kernels import elementwise, norm, softmax, update
from npsoftmax.kernels import tree as tree_kernels
from npsoftmax.kernels.conv import device as device_conv
from npsoftmax.kernels.tree import reference as tree_reference
from npsoftmax.kernels.windows import device as device_windows
from npsoftmax.kernels.windows import reference

geometries = table("kernels/test_kernels_agree.py", "cases")
awkward_images = table("kernels/test_kernels_agree.py", "awkward_images")
everyday = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
dtypes = st.sampled_from([np.float32, np.float64])


def close(found, expected, scale=1.0):
    """To rounding: sums of the kernels run in double precision, those of the reference in that of the numbers."""
    found, expected = np.asarray(found.get()), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    eps = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=300 * eps, atol=300 * eps * scale)


def same(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.get(), expected)


def numbers(seed, *shapes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# ---------------------------------------------------------------- windows
@everyday
@given(case=geometries())
def test_columns_and_back(strict, case):
    x, cols = case.images(), case.array(case.cols_shape, seed=1)
    same(kernels.im2col(strict.asarray(x), *case.geometry), reference.im2col(x, *case.geometry))
    found = kernels.col2im(strict.asarray(cols), case.shape, *case.geometry)
    same(found, reference.col2im(cols, case.shape, *case.geometry))


@everyday
@given(case=geometries(), ties=st.booleans(), relu=st.booleans())
def test_max_pooling(strict, case, ties, relu):
    x, dy = awkward_images(case) if ties else case.images(), case.upstream(case.shape[3])
    y, index = reference.max_pool(x, *case.geometry, relu=relu)
    found, winners = kernels.max_pool(strict.asarray(x), *case.geometry, relu=relu)
    same(found, y)
    same(winners, index)
    dx = kernels.max_pool_backward(strict.asarray(dy), winners, case.shape, *case.geometry)
    same(dx, reference.max_pool_backward(dy, index, case.shape, *case.geometry))


@everyday
@given(case=geometries(max_channels=3), relu=st.booleans(), entries=st.sampled_from([1, 200, 10**6]))
def test_convolution_in_any_number_of_images_at_a_time(strict, case, relu, entries):
    f = case.filters
    x, w, b = case.images(), case.array((*case.k, case.shape[3], f), 2), case.array((f,), 3)
    dy = case.upstream(f)
    there = [strict.asarray(a) for a in (x, w, b, dy)]
    columns = reference.im2col(x, *case.geometry)
    z = (columns @ w.reshape(-1, f) + b).reshape(dy.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_conv, "ENTRIES", entries)
        y = kernels.conv2d_tiled(*there[:3], case.stride, case.pad, relu=relu)
        dw = kernels.conv2d_tiled_dw(there[0], there[3], case.k, case.stride, case.pad)
        dx = kernels.conv2d_tiled_dx(there[3], there[1], case.shape, case.stride, case.pad)
    close(y, np.maximum(z, 0) if relu else z, 5)
    close(dw, (columns.T @ dy.reshape(-1, f)).reshape(w.shape), 20)
    close(dx, reference.col2im(dy.reshape(-1, f) @ w.reshape(-1, f).T, case.shape, *case.geometry), 20)


def test_no_columns_of_a_whole_batch_are_made(strict, monkeypatch):
    monkeypatch.setattr(device_conv, "ENTRIES", 9 * 4 * 36 * 2)  # two images of 6x6 with 4 channels
    made, real = [], device_windows.im2col
    monkeypatch.setattr(device_windows, "im2col", lambda x, *rest: made.append(len(x)) or real(x, *rest))
    x, w = (strict.asarray(a) for a in numbers(0, (5, 6, 6, 4), (3, 3, 4, 2)))
    kernels.conv2d_tiled(x, w, None, (1, 1), (1, 1))
    assert made == [2, 2, 1]


# ---------------------------------------------------------------- norms
@everyday
@given(
    m=st.integers(1, 400), c=st.integers(1, 70), offset=st.sampled_from([0, 1e3]), dtype=dtypes, seed=st.integers(0, 99)
)
def test_sums_of_columns(strict, m, c, offset, dtype, seed):
    rows = numbers(seed, (m, c))[0]
    rows = (rows + offset).astype(dtype)
    exact = rows.astype(np.float64)
    there = strict.asarray(rows)
    close(norm.column_sum(there), exact.sum(axis=0).astype(dtype), m * max(1, offset))
    mean, var = norm.column_moments(there)
    close(mean, exact.mean(axis=0).astype(dtype))
    close(var, exact.var(axis=0).astype(dtype))


@everyday
@given(
    m=st.integers(1, 150),
    c=st.integers(1, 40),
    after=st.sampled_from(list(norm.reference.AFTER)),
    dtype=dtypes,
    seed=st.integers(0, 99),
)
def test_batch_norm(strict, m, c, after, dtype, seed):
    arrays = numbers(seed, (m, c), (m, c), *[(c,)] * 5, dtype=dtype)
    dy, x, mean, factor, shift, slope, offset = arrays
    there = [strict.asarray(a) for a in arrays]
    exact = [a.astype(np.float64) for a in arrays]
    close(norm.normalise(*there[1:5], after), norm.reference.normalise(x, mean, factor, shift, after), 10)
    for found, expected in zip(
        norm.normalise_sums(*there[:5], after), norm.reference.normalise_sums(*exact[:5], after), strict=True
    ):
        close(found, expected.astype(dtype), 10 * m)
    expected = norm.reference.normalise_dx(dy, x, mean, factor, shift, slope, offset, after)
    close(norm.normalise_dx(*there, after), expected, 10)


@everyday
@given(
    m=st.integers(1, 90), d=st.sampled_from([1, 5, 37, 300]), bias=st.booleans(), dtype=dtypes, seed=st.integers(0, 99)
)
def test_layer_norm(strict, m, d, bias, dtype, seed):
    x, dy, gamma, beta = numbers(seed, (m, d), (m, d), (d,), (d,), dtype=dtype)
    beta = beta if bias else None
    there = [a if a is None else strict.asarray(a) for a in (x, gamma, beta)]
    found = norm.layer_norm(*there, 1e-3)
    expected = norm.reference.layer_norm(x, gamma, beta, 1e-3)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 5)
    back = norm.layer_norm_backward(strict.asarray(dy), there[0], there[1], *found[1:])
    for a, b in zip(back, norm.reference.layer_norm_backward(dy, x, gamma, *expected[1:]), strict=True):
        close(a, b, 10 * m)


# ---------------------------------------------------------------- rows of a softmax, element by element
@everyday
@given(
    n=st.integers(1, 20),
    c=st.sampled_from([1, 2, 7, 100, 255, 256, 257, 1000]),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    lower=st.booleans(),
    dtype=dtypes,
    seed=st.integers(0, 99),
    over=st.booleans(),
)
def test_rows_of_a_softmax(strict, n, c, temperature, lower, dtype, seed, over):
    z, factor, height, low = numbers(seed, (n, c), (n,), (n,), (n,), dtype=dtype)
    low = low if lower else None
    z *= 20
    z[0, 0] = -np.inf if c > 1 else z[0, 0]
    t = np.random.default_rng(seed).integers(-1, c + 1, n)  # some in no column
    there = strict.asarray(z)
    found = softmax.exp_rows(there, temperature, out=there if over else None)
    finite = np.where(np.isfinite(z), z, 0)  # the sum of exponents is -inf in that row
    for k, (a, b) in enumerate(zip(found, softmax.reference.exp_rows(z.copy(), temperature), strict=True)):
        close(a, b, 1 if k < 3 else np.abs(finite).sum())
    assert (found[0] is there) == over
    e = softmax.reference.exp_rows(z.copy(), temperature)[0]
    expected = softmax.reference.scaled_less_onehot(e, t, factor, height, low)
    gradient = softmax.scaled_less_onehot(
        *(None if a is None else strict.asarray(a) for a in (e, t, factor, height, low))
    )
    close(gradient, expected, 10)


def test_a_row_with_nan_is_nan(strict):
    z = np.array([[1.0, np.nan, 2.0, 3.0], [0, 1, 2, 3]])
    e, top, total, _ = softmax.exp_rows(strict.asarray(z))
    assert np.isnan(top.get()).tolist() == np.isnan(total.get()).tolist() == [True, False]
    assert np.isnan(e.get()[0]).all()


@everyday
@given(
    n=st.integers(1, 4),
    c=st.sampled_from([1, 2, 7, 300, 1000]),
    scale=st.sampled_from([0, 1e-6, 0.05, 1, 5, 1e6]),
    ties=st.booleans(),
    dtype=dtypes,
    seed=st.integers(0, 99),
)
def test_sparse_probabilities_without_sorting(strict, n, c, scale, ties, dtype, seed):
    z = (numbers(seed, (n, c))[0] * scale).astype(dtype)
    z = np.round(z) if ties else z
    for power, sorted_rows in ((1, sparse_mappings.sparsemax_forward), (2, sparse_mappings.entmax15_forward)):
        expected = sorted_rows(z.astype(np.float64))[0]
        for found in (softmax.sparse_rows(strict.asarray(z), power).get(), softmax.reference.sparse_rows(z, power)):
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("power", [1, 2])
def test_many_rows_whose_last_steps_are_rounding_come_to_an_end(power):
    z = numbers(0, (500, 300))[0] * 1e-6
    expected = (sparse_mappings.sparsemax_forward, sparse_mappings.entmax15_forward)[power - 1](z)[0]
    np.testing.assert_allclose(softmax.reference.sparse_rows(z, power), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("power", [1, 2])
def test_sparse_probabilities_of_awkward_rows(power, strict):
    z = np.array([[1.0, np.nan, 2, 3], [0, np.inf, 2, 3], [0, 0.4, 0, 0], [-1e308, 1, -1e308, 1]])
    p = softmax.sparse_rows(strict.asarray(z), power).get()
    assert np.isnan(p[:2]).all()
    np.testing.assert_allclose(p[3], [0, 0.5, 0, 0.5], rtol=1e-15)
    far = (1.0 - np.arange(1, 2001) ** -0.5)[None] * power  # ever more classes, nearer and nearer
    p = softmax.sparse_rows(strict.asarray(far), power).get()
    expected = (sparse_mappings.sparsemax_forward, sparse_mappings.entmax15_forward)[power - 1](far)[0]
    np.testing.assert_allclose(p, expected, rtol=1e-10, atol=1e-14)


@everyday
@given(shape=st.tuples(st.integers(1, 30), st.integers(1, 30)), dtype=dtypes, seed=st.integers(0, 99))
def test_element_by_element(strict, shape, dtype, seed):
    x, dy = numbers(seed, shape, shape, dtype=dtype)
    x[0, 0] = 0
    there, dy_there = strict.asarray(4 * x), strict.asarray(dy)
    close(elementwise.gelu(there), elementwise.reference.gelu(4 * x))
    close(elementwise.gelu_backward(dy_there, there), elementwise.reference.gelu_backward(dy, 4 * x))
    close(elementwise.silu(there), elementwise.reference.silu(4 * x))
    close(elementwise.silu_backward(dy_there, there), elementwise.reference.silu_backward(dy, 4 * x))
    same(elementwise.relu_backward(dy_there, strict.asarray(x)), elementwise.reference.relu_backward(dy, x))


# ---------------------------------------------------------------- trees
@everyday
@given(
    n=st.integers(1, 9),
    classes=st.integers(2, 300),
    d=st.integers(1, 40),
    builder=st.sampled_from(["balanced", "halving", "huffman"]),
    dtype=dtypes,
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_walks_and_chosen_rows(strict, n, classes, d, builder, dtype, bias, seed):
    children = trees.build(builder, ClassInfo(classes, counts=1 + np.arange(classes) ** 2))
    up, levels = trees.uplinks(children), trees.levels(children)
    labels = np.random.default_rng(seed).integers(0, classes, n)
    nodes, signs = tree_reference.climb(up, labels, len(levels))
    signs = signs.astype(dtype)
    found = tree_kernels.climb(strict.asarray(up), strict.asarray(labels), len(levels), dtype)
    same(found[0], nodes)
    same(found[1], signs)

    h, w, b, dz = numbers(seed, (n, d), (classes - 1, d), (classes - 1,), nodes.shape, dtype=dtype)
    dz *= nodes >= 0
    b = b if bias else None
    h_, w_, dz_, nodes_, signs_ = (strict.asarray(a) for a in (h, w, dz, nodes, signs))
    scores = numbers(seed + 2, nodes.shape, dtype=dtype)[0] * 8
    for function in ("path_losses", "path_slopes"):
        found = getattr(tree_kernels, function)(strict.asarray(scores), signs_)
        close(found, getattr(tree_reference, function)(scores, signs), 10)
    z = tree_kernels.chosen_scores(h_, w_, b if b is None else strict.asarray(b), nodes_)
    close(z, tree_reference.chosen_scores(h, w, b, nodes), d)
    close(tree_kernels.chosen_dh(dz_, w_, nodes_), tree_reference.chosen_dh(dz, w, nodes), 20)
    rows, *gradients = tree_kernels.chosen_dw(dz_, h_, nodes_)
    expected_rows, *expected = tree_reference.chosen_dw(dz, h, nodes)
    rows, order = rows.get(), np.argsort(rows.get(), kind="stable")[-len(expected_rows) :]
    assert rows[order].tolist() == expected_rows.tolist() and (rows >= 0).sum() == len(order)
    for a, e in zip(gradients, expected, strict=True):
        close(a[strict.asarray(order)], e, n)
        assert not a.get()[rows < 0].any()

    scores = numbers(seed + 1, (n, classes - 1), dtype=dtype)[0] * 8
    log_p = tree_kernels.tree_log_prob(strict.asarray(scores), strict.asarray(children), levels)
    close(log_p, tree_reference.tree_log_prob(scores, children, levels), 100)
    np.testing.assert_allclose(np.exp(log_p.get().astype(float)).sum(axis=1), 1, rtol=1e-4)


@everyday
@given(rows=st.integers(1, 40), width=st.integers(0, 9), dtype=dtypes, seed=st.integers(0, 99))
def test_rows_are_subtracted(strict, rows, width, dtype, seed):
    shape = (rows, width) if width else (rows,)
    chosen = np.flatnonzero(np.random.default_rng(seed).random(rows) < 0.5)
    p, values = numbers(seed, shape, (len(chosen), *shape[1:]), dtype=dtype)
    there = strict.asarray(p)
    tree_kernels.subtract_rows(there, strict.asarray(chosen), strict.asarray(values), 0.3)
    tree_reference.subtract_rows(p, chosen, values, 0.3)
    close(there, p)
    factor, rows, steps = (
        np.array(0.3),
        np.append(chosen, -1),
        np.concatenate([values, values[:1] + 1])[: len(chosen) + 1],
    )
    if len(chosen):  # a factor that is on the device, a place without a row, and a matrix that lies the other way round
        there = strict.asarray(np.asfortranarray(p))
        tree_kernels.subtract_rows(there, *map(strict.asarray, (rows, steps, factor)))
        tree_reference.subtract_rows(p, chosen, values, 0.3)
        close(there, p)
        tree_kernels.write_rows(there, *map(strict.asarray, (rows, steps)))
        tree_reference.write_rows(p, chosen, values)
        close(there, p)


@everyday
@given(m=st.integers(1, 60), width=st.integers(0, 5), dtype=dtypes, seed=st.integers(0, 99))
def test_values_of_a_row_are_summed_at_its_first_place(strict, m, width, dtype, seed):
    rows = np.random.default_rng(seed).integers(-1, 12, m)
    values = numbers(seed, (m, width) if width else (m,), dtype=dtype)[0]
    found = tree_kernels.sum_rows(strict.asarray(rows), strict.asarray(values))
    expected = tree_reference.sum_rows(rows, values)
    same(found[0], expected[0])
    close(found[1], expected[1], 10)
    for row in set(rows.tolist()) - {-1}:
        np.testing.assert_allclose(expected[1][rows.tolist().index(row)], values[rows == row].sum(axis=0), atol=1e-5)


# ---------------------------------------------------------------- updates
@everyday
@given(n=st.sampled_from([1, 5, 255, 256, 257, 3000, 200_000]), dtype=dtypes, seed=st.integers(0, 99))
def test_clipping(strict, n, dtype, seed):
    g = numbers(seed, (n,), dtype=dtype)[0]
    g[0] = np.nan if n > 1 else 0
    there = strict.asarray(g)
    same(update.clip(there, 0.5), np.clip(g, dtype(-0.5), dtype(0.5)))
    factor = strict.asarray(np.array(0.3))
    close(update.scale(there, factor), (g * 0.3).astype(dtype))
    g[0] = 0
    total = update.square_sum(strict.asarray(g))
    assert total.shape == () and total.dtype == np.float64
    np.testing.assert_allclose(float(total), np.square(g, dtype=np.float64).sum(), rtol=1e-13)


# ---------------------------------------------------------------- what the harness finds
CODE = cuda.source("norm")
ROWS = np.arange(300.0).reshape(100, 3)


def run(name, args, blocks=(1,), code=CODE, falling=False):
    cuda_on_cpu.run(code, cuda.options("d"), name, blocks, (cuda.BLOCK,), args, falling=falling)


def sums_of(code, falling):
    sums = np.zeros((1, 3))
    run("column_sum", (ROWS, sums, np.int32(100), np.int32(3), np.int32(100)), (1, 1), code, falling)
    return sums[0]


@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler")
class TestHarness:
    def test_a_right_kernel_is_right_in_either_order(self):
        for falling in (False, True):
            np.testing.assert_allclose(sums_of(CODE, falling), ROWS.sum(axis=0))

    def test_a_missing_barrier_is_found(self):
        """Without it a thread adds up what others have not written: right in one order of the threads, not in both."""
        wrong = CODE.replace("room[threadIdx.x] = value;\n    __syncthreads();", "room[threadIdx.x] = value;")
        assert wrong != CODE
        found = [sums_of(wrong, falling) for falling in (False, True)]
        assert not all(np.allclose(sums, ROWS.sum(axis=0)) for sums in found)

    def test_a_barrier_that_only_some_threads_come_to_is_found(self):
        wrong = CODE.replace(
            "if (p.lane == 0 && p.inside) {", "if (p.lane == 0 && p.inside) {\n        __syncthreads();"
        )
        with pytest.raises(cuda_on_cpu.KernelError, match="barrier that some threads"):
            sums_of(wrong, False)
        np.testing.assert_allclose(sums_of(CODE, False), ROWS.sum(axis=0))  # and what runs next is not disturbed

    def test_writing_beside_an_array_is_found(self):
        wrong = CODE.replace("blockIdx.y * c + p.column] = sum", "blockIdx.y * c + p.column + 1] = sum")
        with pytest.raises(cuda_on_cpu.KernelError, match="sums of column_sum was written to outside"):
            sums_of(wrong, False)

    def test_reading_beside_an_array_gives_nan(self):
        wrong = CODE.replace(
            "sum += wide(rows[(long long)r * c + p.column])", "sum += wide(rows[(long long)r * c + p.column + 1])"
        )
        assert np.isnan(sums_of(wrong, False)).any()

    @pytest.mark.parametrize(
        ("position", "value", "complaint"),
        [
            (0, ROWS.astype(np.float32), "rows of column_sum points to float64, but was given float32"),
            (0, ROWS[:, ::-1], "rows of column_sum is not contiguous"),
            (2, 100, "m of column_sum is a int32, but was given int"),
            (2, np.int64(100), "m of column_sum is a int32, but was given int64"),
            (1, np.float64(0), "sums of column_sum is a pointer"),
        ],
    )
    def test_arguments_of_another_type_are_refused(self, position, value, complaint):
        args = [ROWS, np.zeros((1, 3)), np.int32(100), np.int32(3), np.int32(100)]
        args[position] = value
        with pytest.raises(cuda_on_cpu.KernelError, match=complaint):
            run("column_sum", args, (1, 1))

    def test_too_few_arguments_and_unknown_kernels_are_refused(self):
        with pytest.raises(cuda_on_cpu.KernelError, match="takes 5 arguments, not 1"):
            run("column_sum", [ROWS])
        with pytest.raises(cuda_on_cpu.KernelError, match="there is no kernel colum_sum"):
            run("colum_sum", [ROWS])

    def test_which_kernels_have_barriers(self):
        assert cuda_on_cpu.with_barriers(CODE) == {
            *("column_sum", "column_moments", "normalise_sums", "layer_norm", "layer_norm_dx", "layer_norm_sums")
        }
        assert cuda_on_cpu.with_barriers(cuda.source("philox")) == set()


def test_large_arrays_are_not_given_to_kernels_that_count_in_int(strict, monkeypatch):
    x = strict.asarray(np.zeros((3, 4)))
    assert cuda.on_device(x)
    monkeypatch.setattr(cuda, "MOST_ITEMS", 11)
    assert not cuda.on_device(x)
    same(norm.column_sum(x), np.zeros(4))


def test_columns_too_many_for_an_int_are_made_by_the_reference(strict, monkeypatch):
    images = numbers(0, (2, 5, 5, 1))[0]
    monkeypatch.setattr(device_windows, "MOST_ITEMS", images.size)  # enough for the images, not for nine times as much
    monkeypatch.setattr(device_windows, "cuda", lambda *_: pytest.fail("the kernel was called"))
    geometry = (3, 3), (1, 1), (1, 1)
    same(kernels.im2col(strict.asarray(images), *geometry), reference.im2col(images, *geometry))
