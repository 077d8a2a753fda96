"""Steps that go wrong in a2: dense, ReLU and dropout."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

MEAN_FOR_SUM = "is a mean over the rows; it is their sum: the 1/N belongs to the loss and is already inside dy."

STEPS = (
    steps(
        """
        def dense_forward(x, w, b):
            b_ = 0 if b is None else b
            y = x @ w + b_
            return y, (x, w, b is not None)
        """,
        ("x @ w + b_", "x @ w * (1 if b is None else b)", "the bias is a factor; it is added."),
        ("x @ w + b_", "x @ w + 2 * b_", "the bias is added twice."),
        ("x @ w + b_", "x @ w + len(x) * b_", "the bias is added N = {N} times; it is added once to each row."),
        ("x @ w + b_", "np.maximum(x @ w + b_, 0)", "there is a ReLU too many: the dense layer is linear."),
        ("x @ w + b_", "(x @ w + b_) / len(x)", "you divided by the N = {N} rows: there is no mean in a dense layer."),
        ("x @ w + b_", "(x @ w + b_).T", "y is transposed: samples are rows, (N, M)."),
        ("x @ w + b_", "b_ * np.ones((len(x), 1)) + np.zeros_like(x @ w)", "x @ w is missing: only the bias is there."),
    ),
    steps(
        """
        def dense_backward(dy, cache):
            x, w, has_bias = cache
            dx = dy @ w.T
            dw = x.T @ dy
            db = dy.sum(axis=0) if has_bias else None
            return dx, dw, db
        """,
        ("return dx, dw, db", "return dw, dx, db", "dx and dw are exchanged: they come back as dx, dw, db."),
        ("return dx, dw, db", "return dx, db, dw", "dw and db are exchanged: they come back as dx, dw, db."),
        ("return dx, dw, db", "return db, dw, dx", "dx and db are exchanged: they come back as dx, dw, db."),
        ("x.T @ dy", "x.T @ dy / len(x)", f"dw {MEAN_FOR_SUM}"),
        ("dy.sum(axis=0)", "dy.mean(axis=0)", f"db {MEAN_FOR_SUM}"),
        ("dy.sum(axis=0)", "dy.sum(axis=0, keepdims=True)", "db keeps an axis of length 1: b is (M,), so db is too."),
        ("dy.sum(axis=0)", "dy.sum()", "db is the sum of all of dy; each output has a bias of its own: axis=0."),
        ("dy.sum(axis=0)", "np.ones(dy.shape[1]) * len(dy)", "db does not use dy: it is the sum of dy over the rows."),
        ("dy.sum(axis=0)", "dy[0]", "db is the dy of the first row alone; it is the sum over all rows."),
        ("dy.sum(axis=0)", "dy[-1]", "db is the dy of the last row alone; it is the sum over all rows (+=)."),
        ("x.T @ dy", "np.outer(x[-1], dy[-1])", "dw has the share of the last sample alone; add up those of all (+=)."),
        ("x.T @ dy", "np.outer(x[0], dy[0])", "dw has the share of the first sample alone; add up those of all."),
        ("x.T @ dy", "x.T @ np.ones_like(dy)", "dw does not use dy: it is xᵀ @ dy."),
        ("x.T @ dy", "x.T @ (x @ w)", "dw is xᵀ @ (x @ w); dy has to stand where x @ w stands."),
        ("dy @ w.T", "dy @ w.T / len(x)",
         "dx is divided by N = {N}: dx has a row for each sample, and nothing is averaged."),
        ("dy @ w.T", "(dy @ w.T) * x", "dx is multiplied by x; it is dy @ wᵀ."),
        ("dy @ w.T", "np.ones_like(dy) @ w.T", "dx does not use dy: it is dy @ wᵀ."),
    ),
    steps(
        """
        def relu_forward(x):
            y = np.where(x > 0, x, 0.0)
            return y, np.maximum(x, 0)
        """,
        ("np.where(x > 0, x, 0.0)", "x / (1 + np.exp(-x))", "this is x · σ(x), the swish; ReLU is max(x, 0)."),
        ("np.where(x > 0, x, 0.0)", "np.where(x < 0, x, 0.0)",
         "the positive numbers became 0; the NEGATIVE ones have to."),
        ("np.where(x > 0, x, 0.0)", "np.where(x > 1, x, 0.0)", "numbers up to 1 became 0; all positive numbers stay."),
        ("np.where(x > 0, x, 0.0)", "np.where(x > 0, x, 1.0)", "negative numbers became 1; they become 0."),
        ("np.where(x > 0, x, 0.0)", "np.where(x > 0, x, -x * 0.1)", "negative numbers became -0.1 · x; they become 0."),
        ("np.where(x > 0, x, 0.0)", "np.where(x > 0, x, 0.1 * x)",
         "negative numbers leak through (0.1 · x); they become 0."),
        ("np.where(x > 0, x, 0.0)", "np.where(x > 0, x, 0.2 * x)",
         "negative numbers leak through (0.2 · x); they become 0."),
        ("np.where(x > 0, x, 0.0)", "np.where(x > 0, x, np.exp(x) - 1)",
         "this is the ELU: negative numbers become 0 here."),
        ("np.where(x > 0, x, 0.0)", "np.log1p(np.exp(x))", "this is the softplus, log(1 + e^x); ReLU is max(x, 0)."),
        ("np.where(x > 0, x, 0.0)", "np.clip(x, 0, 1)", "numbers above 1 were cut to 1; ReLU keeps them."),
        ("np.where(x > 0, x, 0.0)", "np.maximum(x, x.max() * 0)[x > 0]",
         "only the positive numbers came back; the others stay as 0."),
        ("np.where(x > 0, x, 0.0)", "np.full_like(x, max(x.max(), 0))",
         "this is the maximum of the whole array; np.maximum(x, 0) is one of each number."),
        ("np.where(x > 0, x, 0.0)", "1 / (1 + np.exp(-x))", "this is the sigmoid; ReLU is max(x, 0)."),
        ("np.where(x > 0, x, 0.0)", "np.tanh(x)", "this is tanh; ReLU is max(x, 0)."),
    ),
    steps(
        """
        def relu_backward(dy, cache):
            y = cache
            return np.where(y > 0, dy, 0.0)
        """,
        ("y > 0", "y <= 0", "dy passes where x was negative; it passes where x was POSITIVE."),
        ("y > 0", "y > 1", "dy passes where y > 1; it passes where y > 0."),
        ("y > 0", "(y > 0) & (dy > 0)",
         "dy passes only where it is positive itself; the sign of x decides, not that of dy."),
        ("np.where(y > 0, dy, 0.0)", "np.where(y > 0, dy, 0.01 * dy)",
         "dy leaks through where x was negative; it becomes 0 there."),
        ("np.where(y > 0, dy, 0.0)", "np.where(y > 0, dy, -dy)",
         "where x was negative the sign is flipped; dy becomes 0 there."),
        ("np.where(y > 0, dy, 0.0)", "np.where(y > 0, y, 0.0)", "this is y itself, without dy."),
        ("np.where(y > 0, dy, 0.0)", "np.where(y > 0, dy, 1.0)", "where x was negative it is 1; it becomes 0 there."),
        ("np.where(y > 0, dy, 0.0)", "np.maximum(y, dy)", "this is the maximum of y and dy; dy passes where y > 0."),
        ("np.where(y > 0, dy, 0.0)", "dy[y > 0]", "only the numbers that pass came back; the others stay as 0."),
        ("np.where(y > 0, dy, 0.0)", "np.where(y > 0, np.abs(dy), 0.0)", "dy has lost its sign: no absolute value."),
    ),
    steps(
        """
        def dropout_forward(x, mask, keep):
            y = np.where(mask, x, 0.0) / keep
            return y, (mask, keep)
        """,
        ("/ keep", "* keep", "you multiplied by keep; divide by it, so that the mean stays the same."),
        ("/ keep", "* (1 - keep)", "you multiplied by 1 - keep; divide by keep."),
        ("/ keep", "/ np.sqrt(keep)", "you divided by √keep; divide by keep."),
        ("/ keep", "/ mask.mean()", "you divided by the share of True in the mask; divide by keep, the probability."),
        ("np.where(mask, x, 0.0) / keep", "np.where(mask, x / keep, x)",
         "what is dropped has to become 0; here x stays."),
        ("np.where(mask, x, 0.0) / keep", "np.where(mask, x, x / keep)",
         "what is dropped has to become 0, and what is kept is divided."),
        ("np.where(mask, x, 0.0) / keep", "x / keep", "the mask is not used."),
        ("np.where(mask, x, 0.0) / keep", "(x * mask)[mask] / keep",
         "only what is kept came back; the rest stays as 0."),
    ),
    steps(
        """
        def dropout_backward(dy, cache):
            mask, keep = cache
            return np.where(mask, dy, 0.0) / keep
        """,
        ("/ keep", "* keep", "you multiplied by keep; the forward divides, so the backward does too."),
        ("/ keep", "/ (1 - keep)", "you divided by 1 - keep, the share that is dropped; divide by keep."),
        ("/ keep", "/ keep**2", "the division by keep is there twice."),
        ("/ keep", "/ mask.mean()", "you divided by the share of True in the mask; divide by keep, the probability."),
        ("np.where(mask, dy, 0.0) / keep", "np.where(mask, dy / keep, dy)",
         "what was dropped has no gradient: it is 0 there."),
        ("np.where(mask, dy, 0.0) / keep", "dy[mask] / keep",
         "dy[mask] is a list of what is kept; dx has the shape of dy, with 0 where the mask is False: dy * mask."),
        ("np.where(mask, dy, 0.0) / keep", "mask / keep", "dy is not used: it multiplies everything."),
    ),
)  # fmt: skip
