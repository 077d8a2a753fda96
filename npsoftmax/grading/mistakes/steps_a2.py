"""Steps that go wrong in a2: the layers of a network."""

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
        ("np.where(mask, dy, 0.0) / keep", "mask / keep", "dy is not used: it multiplies everything."),
    ),
    steps(
        """
        def batch_norm_forward(x, gamma, beta, eps):
            axes = tuple(range(x.ndim - 1))
            mean = x.mean(axis=axes)
            var = x.var(axis=axes)
            scale = 1 / np.sqrt(var + eps)
            y = gamma * (x - mean) * scale + beta
            return y, mean, var, (x, gamma, mean, scale)
        """,
        ("np.sqrt(var + eps)", "np.sqrt(var)", "eps is forgotten: sqrt(var + eps)."),
        ("np.sqrt(var + eps)", "np.sqrt(var) + np.sqrt(eps)",
         "the root was taken of each; it is that of the sum: sqrt(var + eps)."),
        ("np.sqrt(var + eps)", "np.sqrt(var - eps)", "eps is subtracted; it is added."),
        ("np.sqrt(var + eps)", "np.sqrt(var + eps**2)", "eps is squared: sqrt(var + eps)."),
        ("1 / np.sqrt(var + eps)", "np.sqrt(var + eps)", "you multiplied by the deviation; divide by it."),
        ("gamma * (x - mean) * scale + beta", "(x - mean) * scale + beta",
         "gamma is forgotten: y = gamma · x̂ + beta."),
        ("gamma * (x - mean) * scale + beta", "gamma * (x - mean) * scale",
         "beta is forgotten: y = gamma · x̂ + beta."),
        ("gamma * (x - mean) * scale + beta", "gamma * x * scale + beta", "the mean is not subtracted."),
        ("gamma * (x - mean) * scale + beta", "gamma * (x - mean) + beta", "the division by the deviation is missing."),
        ("gamma * (x - mean) * scale + beta", "gamma * ((x - mean) * scale + beta)",
         "beta is multiplied by gamma: y = gamma · x̂ + beta."),
        ("gamma * (x - mean) * scale + beta", "beta * (x - mean) * scale + gamma", "gamma and beta are exchanged."),
        ("gamma * (x - mean) * scale + beta", "gamma * (x + mean) * scale + beta", "the mean is added; subtract it."),
        ("return y, mean, var,", "return y, mean, np.sqrt(var),",
         "var is the standard deviation; the variance was asked for, without the root."),
        ("return y, mean, var,", "return y, mean, np.sqrt(var + eps),",
         "var is the deviation with eps; the variance itself was asked for."),
        ("return y, mean, var,", "return y, mean, var + eps,", "var has eps in it; the variance itself was asked for."),
        ("return y, mean, var,", "return y, mean, scale,",
         "var is 1 / sqrt(var + eps); the variance itself was asked for."),
        ("return y, mean, var,", "return y, var, mean,", "mean and var are exchanged: they come back as y, mean, var."),
        ("return y, mean, var,", "return y, x.mean(axis=axes, keepdims=True), var,",
         "mean keeps axes of length 1: it is (C,)."),
        ("return y, mean, var,", "return y, mean, x.var(axis=axes, keepdims=True),",
         "var keeps axes of length 1: it is (C,)."),
        ("tuple(range(x.ndim - 1))", "0",
         "mean and variance run over axis 0 only; they run over ALL axes but the last, H and W too."),
        ("tuple(range(x.ndim - 1))", "None",
         "mean and variance are those of the whole array; each channel has its own."),
        ("x.var(axis=axes)", "(x * x).mean(axis=axes)",
         "the variance is the mean of x²; the mean is to be subtracted first."),
        ("x.var(axis=axes)", "np.abs(x - mean).mean(axis=axes)",
         "the mean of |x - mean| stands where the variance has to stand."),
        ("x.var(axis=axes)", "((x - mean) ** 2).sum(axis=axes)",
         "the variance is a sum; it is the MEAN of (x - mean)²."),
        ("x.var(axis=axes)", "((x - mean) ** 2).sum(axis=axes) / x.shape[0]",
         "the sum of squares is divided by N; divide by M, the number of all rows, N·H·W."),
        ("x.var(axis=axes)", "x.std(axis=axes)", "the standard deviation stands where the variance has to stand."),
        ("x.mean(axis=axes)", "np.median(x, axis=axes)", "the median stands where the mean has to stand."),
    ),
    steps(
        """
        def batch_norm_backward(dy, cache):
            x, gamma, mean, scale = cache
            axes = tuple(range(x.ndim - 1))
            m = x.size // x.shape[-1]
            xh = (x - mean) * scale
            dbeta = dy.sum(axis=axes)
            dgamma = (dy * xh).sum(axis=axes)
            dx = gamma * scale * (dy - dbeta / m - xh * dgamma / m)
            return dx, dgamma, dbeta
        """,
        ("gamma * scale * (dy", "scale * (dy", "gamma is forgotten in dx."),
        ("gamma * scale * (dy", "gamma * (dy", "scale, 1/sqrt(var + eps), is forgotten in dx."),
        ("gamma * scale * (dy", "gamma / scale * (dy",
         "dx is divided by scale, which is 1/sqrt(var + eps) already: multiply."),
        ("gamma * scale * (dy", "gamma * scale**2 * (dy", "scale is squared in dx."),
        ("gamma * scale * (dy", "gamma**2 * scale * (dy",
         "gamma is squared in dx: once in g = gamma · dy, and once more."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta - xh * dgamma",
         "sums stand in dx where means over the M rows have to stand."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / x.shape[0] - xh * dgamma / x.shape[0]",
         "the sums in dx are divided by N; divide by M, the number of all rows, N·H·W."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / m + xh * dgamma / m",
         "in dx the term of the variance has the wrong sign: -x̂ · mean(dy · x̂)."),
        ("- dbeta / m - xh * dgamma / m", "+ dbeta / m - xh * dgamma / m",
         "in dx the term of the mean has the wrong sign: -mean(dy)."),
        ("- dbeta / m - xh * dgamma / m", "+ dbeta / m + xh * dgamma / m",
         "in dx both terms have the wrong sign: dy - mean(dy) - x̂ · mean(dy · x̂)."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / m - dgamma / m",
         "in dx the factor x̂ is missing in front of mean(dy · x̂)."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / m - (x - mean) * dgamma / m",
         "in dx the term of the variance has x - mean; it has x̂ = (x - mean) · scale."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / m - 0.5 * xh * dgamma / m",
         "in dx the term of the variance is halved: the ½ of the root cancels the 2 of the square."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / m - 2 * xh * dgamma / m",
         "in dx the term of the variance is doubled: the ½ of the root cancels the 2 of the square."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta / m - xh * dgamma", "in dx the sum of dy · x̂ is not divided by M."),
        ("- dbeta / m - xh * dgamma / m", "- dbeta - xh * dgamma / m", "in dx the sum of dy is not divided by M."),
        ("- xh * dgamma / m", "- xh * dgamma / m * scale**2",
         "in dx the term of the variance has the power var^(-5/2) or so: scale² is too many."),
        ("xh = (x - mean) * scale", "xh = (x - mean)", "x̂ is not multiplied by scale: x̂ = (x - mean) · scale."),
        ("xh = (x - mean) * scale", "xh = (x - mean) / scale",
         "x̂ is divided by scale, which is 1/sqrt(var + eps) already: multiply."),
        ("xh = (x - mean) * scale", "xh = x * scale", "the mean is not subtracted in x̂."),
        ("dgamma = (dy * xh).sum(axis=axes)", "dgamma = dy.sum(axis=axes)",
         "the factor x̂ is missing in dgamma = Σ dy · x̂."),
        ("return dx, dgamma, dbeta", "return dx, dbeta, dgamma",
         "dgamma and dbeta are exchanged: they come back as dx, dgamma, dbeta."),
        ("return dx, dgamma, dbeta", "return dx, dgamma * gamma, dbeta",
         "dgamma is multiplied by gamma; it is Σ dy · x̂."),
        ("return dx, dgamma, dbeta", "return dx, (dy * (x - mean)).sum(axis=axes), dbeta",
         "dgamma has x - mean; it is Σ dy · x̂ with x̂ = (x - mean) · scale."),
        ("return dx, dgamma, dbeta", "return dx, (gamma * dy).sum(axis=axes), dbeta",
         "dgamma is Σ gamma · dy; it is Σ dy · x̂."),
        ("return dx, dgamma, dbeta", "return dx, dgamma, dbeta * gamma",
         "dbeta is multiplied by gamma; it is Σ dy alone."),
        ("return dx, dgamma, dbeta", "return dx, (dy * xh).sum(axis=0), dbeta",
         "dgamma was summed over axis 0 only; sum over all axes but the last."),
        ("return dx, dgamma, dbeta", "return dx, dgamma, dy.sum(axis=0)",
         "dbeta was summed over axis 0 only; sum over all axes but the last."),
        ("return dx, dgamma, dbeta", "return dx, dgamma, dy.sum(axis=-1)",
         "dbeta was summed over the channels; sum over all axes but the last."),
        ("return dx, dgamma, dbeta", "return dx, dgamma / m, dbeta", "dgamma is a mean; it is the sum over all rows."),
        ("return dx, dgamma, dbeta", "return dx, dgamma, dbeta / m", "dbeta is a mean; it is the sum over all rows."),
    ),
    steps(
        """
        def layer_norm_forward(x, gamma, beta, eps):
            mean = x.mean(axis=-1, keepdims=True)
            var = x.var(axis=-1, keepdims=True)
            scale = 1 / np.sqrt(var + eps)
            normal = (x - mean) * scale
            y = normal * gamma + (0 if beta is None else beta)
            return y, (np.array(normal), scale, gamma, beta is not None)
        """,
        ("np.sqrt(var + eps)", "np.sqrt(var)", "eps is forgotten: sqrt(var + eps)."),
        ("np.sqrt(var + eps)", "(np.sqrt(var) + eps)",
         "eps was added to the deviation; it stands inside the root: sqrt(var + eps)."),
        ("np.sqrt(var + eps)", "(var + eps)",
         "you divided by the variance; divide by its root, the standard deviation."),
        ("1 / np.sqrt(var + eps)", "np.sqrt(var + eps)", "you multiplied by the deviation; divide by it."),
        ("normal * gamma + (0 if beta is None else beta)", "normal * gamma",
         "beta is forgotten: y = gamma · x̂ + beta."),
        ("normal * gamma + (0 if beta is None else beta)", "normal + (0 if beta is None else beta)",
         "gamma is forgotten: y = gamma · x̂ + beta."),
        ("normal * gamma + (0 if beta is None else beta)", "normal",
         "gamma and beta are missing: y = gamma · x̂ + beta."),
        ("normal * gamma + (0 if beta is None else beta)", "gamma * (normal + beta)",
         "beta is multiplied by gamma: y = gamma · x̂ + beta."),
        ("normal * gamma + (0 if beta is None else beta)", "normal * beta + gamma", "gamma and beta are exchanged."),
        ("= (x - mean) * scale", "= (x - mean)", "the division by the deviation is missing."),
        ("mean = x.mean(axis=-1, keepdims=True)\n    var = x.var(axis=-1, keepdims=True)",
         "ax = tuple(range(1, x.ndim))\n    mean = x.mean(axis=ax, keepdims=True)\n    var = x.var(axis=ax, "
         "keepdims=True)",
         "mean and variance run over all of a sample; here each ROW, the last axis, has its own: axis=-1."),
        ("mean = x.mean(axis=-1, keepdims=True)\n    var = x.var(axis=-1, keepdims=True)",
         "mean = x.mean(axis=0, keepdims=True)\n    var = x.var(axis=0, keepdims=True)",
         "mean and variance run over the samples (axis 0); each ROW has its own: axis=-1."),
        ("mean = x.mean(axis=-1, keepdims=True)\n    var = x.var(axis=-1, keepdims=True)",
         "mean = x.mean(axis=1, keepdims=True)\n    var = x.var(axis=1, keepdims=True)",
         "mean and variance run along axis 1; they run along the LAST axis, axis=-1."),
        ("mean = x.mean(axis=-1, keepdims=True)\n    var = x.var(axis=-1, keepdims=True)",
         "mean = x.mean()\n    var = x.var()",
         "mean and variance are those of the whole array; each row has its own: axis=-1."),
        ("= x.var(axis=-1, keepdims=True)", "= ((x - mean) ** 2).sum(axis=-1, keepdims=True)",
         "the variance is a sum; it is the MEAN of (x - mean)²."),
        ("= x.var(axis=-1, keepdims=True)", "= (x * x).mean(axis=-1, keepdims=True)",
         "the variance is the mean of x²; the mean is to be subtracted first."),
        ("= x.var(axis=-1, keepdims=True)", "= x.std(axis=-1, keepdims=True)",
         "the standard deviation stands where the variance has to stand."),
    ),
    steps(
        """
        def layer_norm_backward(dy, cache):
            normal, scale, gamma, has_beta = cache
            axes = tuple(range(dy.ndim - 1))
            g = dy * gamma
            first = g.mean(axis=-1, keepdims=True)
            second = normal * (g * normal).mean(axis=-1, keepdims=True)
            dx = scale * (g - first - second)
            return dx, (dy * normal).sum(axis=axes), dy.sum(axis=axes) if has_beta else None
        """,
        ("g = dy * gamma", "g = dy", "gamma is forgotten in dx: g = dy · gamma."),
        ("g = dy * gamma", "g = dy / gamma", "dy is divided by gamma: g = dy · gamma."),
        ("scale * (g - first - second)", "(g - first - second)", "scale, 1/sqrt(var + eps), is forgotten in dx."),
        ("scale * (g - first - second)", "(g - first - second) / scale",
         "dx is divided by scale, which is 1/sqrt(var + eps) already: multiply."),
        ("scale * (g - first - second)", "gamma * scale * (g - first - second)",
         "gamma is there twice in dx: it is inside g already."),
        ("(g - first - second)", "(g - second)", "the term of the mean is missing in dx: -mean(g)."),
        ("(g - first - second)", "(g - first + second)",
         "in dx the term of the variance has the wrong sign: -x̂ · mean(g · x̂)."),
        ("(g - first - second)", "(g + first - second)", "in dx the term of the mean has the wrong sign: -mean(g)."),
        ("(g - first - second)", "(g + first + second)",
         "in dx both terms have the wrong sign: g - mean(g) - x̂ · mean(g · x̂)."),
        ("mean(", "sum(", "sums stand in dx where means over the features have to stand."),
        ("(axis=-1, keepdims=True)", "(axis=0, keepdims=True)",
         "the means in dx run over the samples (axis 0); they run over the features of a row: axis=-1."),
        ("(axis=-1, keepdims=True)", "(axis=axes, keepdims=True)",
         "the means in dx run over the rows, as in batch norm; here they run over the features: axis=-1."),
        ("normal * (g * normal)", "(g * normal)", "in dx the factor x̂ is missing in front of mean(g · x̂)."),
        ("normal * (g * normal)", "normal * g", "in dx the factor x̂ is missing inside mean(g · x̂)."),
        ("normal * (g * normal)", "normal * (dy * normal)", "in dx the second mean has dy; it has g = dy · gamma."),
        ("(dy * normal).sum(axis=axes)", "(g * normal).sum(axis=axes)", "dgamma has gamma in it; it is Σ dy · x̂."),
        ("(dy * normal).sum(axis=axes)", "(dy * normal).sum(axis=0)",
         "dgamma was summed over axis 0 only; sum over all axes but the last."),
        ("(dy * normal).sum(axis=axes)", "(dy * normal / scale).sum(axis=axes)",
         "dgamma has x - mean; it is Σ dy · x̂, with x̂ = (x - mean) · scale."),
        ("(dy * normal).sum(axis=axes)", "(dy * normal).mean(axis=axes)",
         "dgamma is a mean; it is the sum over all rows."),
        ("(dy * normal).sum(axis=axes)", "dy.sum(axis=axes)", "the factor x̂ is missing in dgamma = Σ dy · x̂."),
        ("dy.sum(axis=axes) if", "dy.mean(axis=axes) if", "dbeta is a mean; it is the sum over all rows."),
        ("dy.sum(axis=axes) if", "dy.sum(axis=0) if",
         "dbeta was summed over axis 0 only; sum over all axes but the last."),
        ("dy.sum(axis=axes) if", "g.sum(axis=axes) if", "dbeta has gamma in it; it is Σ dy alone."),
        ("(dy * normal).sum(axis=axes), dy.sum(axis=axes) if has_beta else None",
         "dy.sum(axis=axes), (dy * normal).sum(axis=axes)",
         "dgamma and dbeta are exchanged: they come back as dx, dgamma, dbeta."),
    ),
)  # fmt: skip
