"""Steps that go wrong in a6: images of another size and mirrored ones, and the direction of a step."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

STEPS = (
    steps(
        """
        def resizing_weights(old, new, like):
            s = old / new
            i, j = np.arange(new)[:, None], np.arange(old)
            middle = s * (i + 0.5)
            reach = max(s, 1)
            w = np.maximum(0, 1 - np.abs(j + 0.5 - middle) / reach)
            w = w / w.sum(axis=1, keepdims=True)
            return w.astype(like.dtype)
        """,
        ("w = w / w.sum(axis=1, keepdims=True)", "pass", "the rows do not sum to 1: divide each by its sum."),
        ("w = w / w.sum(axis=1, keepdims=True)", "w = w / s",
         "all rows are divided by s; near an edge a row sums to less: divide each by its own sum."),
        ("w.sum(axis=1, keepdims=True)", "w.sum(axis=0, keepdims=True)",
         "the COLUMNS sum to 1; each row has to, it is a mean of old pixels."),
        ("w.sum(axis=1, keepdims=True)", "w.sum()", "the whole matrix sums to 1; each row has to."),
        ("s = old / new", "s = new / old", "s is new / old; it is old / new, the old pixels for each new one."),
        ("s = old / new", "s = (old - 1) / (new - 1)",
         "s is (old - 1) / (new - 1), which puts corner on corner; with pixels as squares it is old / new."),
        ("s * (i + 0.5)", "s * i", "the half is missing at the new pixels: their middles are at i + 1/2."),
        ("np.abs(j + 0.5 - middle)", "np.abs(j - middle)",
         "the half is missing at the old pixels: their middles are at j + 1/2."),
        ("np.abs(j + 0.5 - middle)", "np.abs(j - s * i)",
         "the corners were compared; the middles of pixels are at + 1/2, and s · 1/2 is not 1/2."),
        ("np.abs(j + 0.5 - middle)", "(j + 0.5 - middle) ** 2", "the distance is squared; it is |…|."),
        ("reach = max(s, 1)", "reach = s",
         "the triangle is s pixels wide where images grow too; it is never narrower than a pixel: max(s, 1)."),
        ("reach = max(s, 1)", "reach = 1",
         "the triangle is one pixel wide: smaller images then leave old pixels out. It is max(s, 1)."),
        ("reach = max(s, 1)", "reach = max(s, 1) / 2",
         "the triangle has half the width; it reaches max(s, 1) to each side."),
        ("reach = max(s, 1)", "reach = 2 * max(s, 1)",
         "the triangle has twice the width; it reaches max(s, 1) to each side."),
        ("np.maximum(0, 1 - np.abs(j + 0.5 - middle) / reach)", "(np.abs(j + 0.5 - middle) < reach) * 1.0",
         "all within reach count alike: the weights fall linearly, 1 - distance / reach."),
        ("np.maximum(0, 1 - np.abs(j + 0.5 - middle) / reach)",
         "(np.abs(j + 0.5 - middle) < max(0.5 * s, 0.5)) + 1e-300",
         "this is the plain mean of the old pixels inside the new one; the weights are a triangle."),
        ("np.maximum(0, 1 - np.abs(j + 0.5 - middle) / reach)", "(j == np.floor(middle)) * 1.0",
         "each new pixel is one old one, and the others are left out; the weights are a triangle."),
        ("np.maximum(0, 1 - np.abs(j + 0.5 - middle) / reach)", "np.exp(-(((j + 0.5 - middle) / reach) ** 2))",
         "the weights are a Gauss curve; they are a triangle, max(0, 1 - distance / reach)."),
        ("np.maximum(0, 1 - np.abs(j + 0.5 - middle) / reach)", "1 - np.abs(j + 0.5 - middle) / reach",
         "weights outside the triangle are negative; they are 0: np.maximum(0, …)."),
        ("return w.astype(like.dtype)", "return w.T.astype(like.dtype)", "w is transposed: a row for each NEW pixel."),
    ),
    steps(
        """
        def resize_forward(x, height, width):
            n, h, w, c = x.shape
            down, across = resizing_weights(h, height, x), resizing_weights(w, width, x)
            y = np.einsum("ij,uv,njvc->niuc", down, across, x)
            return y, (down, across)
        """,
        ("y = np.einsum(", "y = np.round(np.einsum(\"ij,uv,njvc->niuc\", down, across, x))\n    _ = np.einsum(",
         "the pixels were rounded; they stay numbers with fractions."),
        ("across, x)\n", "across, x[:, ::-1])\n", "the image is upside down; the rows stay in their order."),
        ("across, x)\n", "across, x[:, :, ::-1])\n", "the image is mirrored; the columns stay in their order."),
        ("across, x)\n", "across, x[..., ::-1])\n", "the channels are in the opposite order."),
        ("across, x)\n", "across, x.mean(axis=3, keepdims=True) + 0 * x)\n",
         "the channels were averaged; each channel is resized for itself."),
        ("across, x)\n", "across, x) * (height * width) / (h * w)\n",
         "the pixels are darker by the share of the sizes: the weights are means already."),
        ("down, across = resizing_weights(h, height, x), resizing_weights(w, width, x)",
         "down, across = np.eye(height, h)[:, :], np.eye(width, w)",
         "this cuts the upper left corner out; all pixels are to be in the result."),
        ("down, across = resizing_weights(h, height, x), resizing_weights(w, width, x)",
         "down, across = (np.arange(h) == (np.arange(height) * h // height)[:, None]) * 1.0, "
         "(np.arange(w) == (np.arange(width) * w // width)[:, None]) * 1.0",
         "single old pixels were picked; each new one is a mean with the weights of resizing_weights."),
        ("resizing_weights(w, width, x)", "(np.arange(w) == (np.arange(width) * w // width)[:, None]) * 1.0",
         "across, single old pixels were picked; it goes with resizing_weights as downwards."),
        ("resizing_weights(h, height, x)", "(np.arange(h) == (np.arange(height) * h // height)[:, None]) * 1.0",
         "downwards, single old pixels were picked; it goes with resizing_weights as across."),
        ("resizing_weights(h, height, x)", "resizing_weights(h, width, x)",
         "the height of the result is `width`: the two sizes are mixed up."),
        ("resizing_weights(h, height, x), resizing_weights(w, width, x)",
         "resizing_weights(h, width, x), resizing_weights(w, height, x)",
         "height and width are exchanged: the result is (N, height, width, C)."),
        ("njvc->niuc", "njvc->nuic", "the two axes of the image are exchanged: the result is (N, height, width, C)."),
        ("njvc->niuc", "njvc->nciu", "the channels stand before the pixels; they are last, (N, height, width, C)."),
    ),
    steps(
        """
        def resize_backward(dy, cache):
            down, across = cache
            dx = np.einsum("ij,uv,niuc->njvc", down, across, dy)
            return dx
        """,
        ("return dx", "return dx * down.shape[0] * across.shape[0] / (down.shape[1] * across.shape[1])",
         "dx is scaled by the share of the sizes; the weights alone say how much of each dy an x gets."),
        ("return dx", "return dx / len(dy)", "dx is divided by N: images do not touch each other."),
        ("return dx", "return dx[:, ::-1]", "dx is upside down; the rows stay in their order."),
        ("return dx", "return dx[:, :, ::-1]", "dx is mirrored; the columns stay in their order."),
        ("return dx", "return dx.sum(axis=0, keepdims=True) + 0 * dx",
         "the gradients of all images were added up; each image has its own."),
        ("return dx", "return dx.mean(axis=3, keepdims=True) + 0 * dx",
         "the channels were averaged; each channel has its own gradient."),
        ("return dx", "return dx.transpose(0, 2, 1, 3)", "the two axes of the image are exchanged."),
        ("down, across, dy)", "down / down.sum(axis=0), across / across.sum(axis=0), dy)",
         "the weights were made to sum to 1 once more, over the new pixels; on the way back they are what they were."),
        ("down, across, dy)", "down, (across == across.max(axis=1, keepdims=True)) * 1.0, dy)",
         "across, each dy went to the nearest old pixel only; it goes to all, with their weights."),
        ("down, across, dy)", "(down == down.max(axis=1, keepdims=True)) * 1.0, across, dy)",
         "downwards, each dy went to the nearest old pixel only; it goes to all, with their weights."),
        ("down, across, dy)",
         "(down > 0) * 1.0, (across > 0) * 1.0, dy)", "the weights are not used: each dy counts with down · across."),
        ("down, across, dy)", "np.linalg.pinv(down).T, np.linalg.pinv(across).T, dy)",
         "this is the inverse of the map; the gradient goes back with its TRANSPOSE."),
        ("down, across, dy)", "down * down, across * across, dy)", "the weights are there twice."),
    ),
    steps(
        """
        def alternating_flip(x, u, epoch):
            even = epoch % 2 == 0
            mirrored = (u < 0.5) == even
            return np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
        """,
        ("mirrored = (u < 0.5) == even", "mirrored = u < 0.5",
         "the same images are mirrored in every epoch; in odd ones it is the others' turn."),
        ("mirrored = (u < 0.5) == even", "mirrored = (u < 0.5) != even",
         "the wrong half is mirrored: in epochs 0, 2, … it is those with u < 1/2, in odd ones the others."),
        ("mirrored = (u < 0.5) == even", "mirrored = (u < 0.5) & even",
         "in odd epochs nothing is mirrored; then it is the turn of those with u ≥ 1/2."),
        ("mirrored = (u < 0.5) == even", "mirrored = (u < 0.5) | (not even)",
         "in odd epochs everything is mirrored; then only those with u ≥ 1/2 are."),
        ("mirrored = (u < 0.5) == even", "mirrored = np.full(len(u), even)",
         "all images are mirrored together, in every second epoch; in each epoch it is about half of them, by u."),
        ("mirrored = (u < 0.5) == even", "mirrored = np.full(len(u), not even)",
         "all images are mirrored together, in odd epochs; in each epoch it is about half of them, by u."),
        ("mirrored = (u < 0.5) == even", "mirrored = (np.arange(len(u)) % 2 == 0) == even",
         "the place in the batch decides; batches are drawn anew, so it has to be u, which belongs to the image."),
        ("mirrored = (u < 0.5) == even", "mirrored = u > 2",
         "nothing is mirrored; it is about half of the images, by u."),
        ("mirrored = (u < 0.5) == even", "mirrored = u < 2",
         "everything is mirrored; it is about half of the images, by u."),
        ("x[:, :, ::-1]", "x[:, ::-1]", "the images are upside down (axis 1 are rows); left and right is axis 2."),
        ("x[:, :, ::-1]", "x[:, ::-1, ::-1]", "the images are turned by 180 degrees: mirror axis 2 only."),
        ("x[:, :, ::-1]", "x[..., ::-1]", "the channels are in the opposite order (axis 3); left and right is axis 2."),
        ("x[:, :, ::-1]", "x[::-1]", "the images of the batch changed places (axis 0); left and right is axis 2."),
        ("x[:, :, ::-1]", "-x", "the pixels changed their signs; mirrored is x[:, :, ::-1]."),
        ("mirrored = (u < 0.5) == even", "mirrored = (u if even else 1 - u) < 0.5",
         "a u of exactly 1/2 is mirrored in no epoch: 1 - u is 1/2 too; in odd epochs it is u ≥ 1/2."),
        ("u < 0.5", "u <= 0.5",
         "a u of exactly 1/2 counts as below 1/2 (u <= 0.5; np.round takes it to 0 too); it is u < 1/2."),
        ("even = epoch % 2 == 0", "even = epoch == 0",
         "only epoch 0 is told from the others; it goes to and fro: epoch % 2."),
    ),
    steps(
        """
        def newton_schulz_step(x):
            a, b, c = 3.4445, -4.7750, 2.0315
            g = x @ x.T
            p = b * g + c * g @ g
            return a * x + p @ x
        """,
        ("a * x + p @ x", "p @ x", "the term a·x is missing."),
        ("a * x + p @ x", "x + p @ x", "x is there without its factor a."),
        ("a * x + p @ x", "a + p @ x", "a is added to every number; it is the factor of x."),
        ("a * x + p @ x", "a * x + p @ p @ x", "the bracket is multiplied twice."),
        ("a * x + p @ x", "a * x - p @ x", "the bracket is subtracted; b has its minus already."),
        ("b * g + c * g @ g", "b * g", "the last term, c·G², is missing."),
        ("b * g + c * g @ g", "c * g @ g", "the term b·G is missing."),
        ("b * g + c * g @ g", "b * g + c * g * g",
         "G was squared number by number; G² is the product of matrices G @ G."),
        ("b * g + c * g @ g", "b * g + c * g @ g @ g", "the last term has G³; it is c·G²."),
        ("b * g + c * g @ g", "-b * g + c * g @ g", "b lost its minus: -4.7750."),
        ("b * g + c * g @ g", "c * g + b * g @ g", "b and c are exchanged: b·G + c·G²."),
        ("a, b, c = 3.4445, -4.7750, 2.0315", "a, b, c = 1.5, -0.5, 0.0",
         "these are the coefficients 3/2 and -1/2 of Newton and Schulz; here a, b, c are 3.4445, -4.7750, 2.0315."),
        ("a, b, c = 3.4445, -4.7750, 2.0315", "a, b, c = 15 / 8, -10 / 8, 3 / 8",
         "these are the coefficients 15/8, -10/8, 3/8 of the iteration that ends at 1; here they are 3.4445, -4.7750, "
         "2.0315."),
        ("a, b, c = 3.4445, -4.7750, 2.0315", "a, b, c = 3.4445, -4.7550, 2.0315",
         "b has two digits exchanged: it is -4.7750."),
    ),
    steps(
        """
        def orthogonalised(m, steps):
            norm = max(np.sqrt((m * m).sum()), 1e-7)
            x = m / norm
            for step in range(steps):
                x = newton_schulz_step(x)
            return x
        """,
        ("x = m / norm", "x = m", "m is not divided by its norm: the iteration needs singular values of at most 1."),
        ("np.sqrt((m * m).sum())", "(m * m).sum()",
         "m is divided by the SQUARE of its norm: the root of the sum of squares is missing."),
        ("np.sqrt((m * m).sum())", "np.abs(m).max()",
         "m is divided by its largest number; it is the root of the sum of squares."),
        ("np.sqrt((m * m).sum())", "np.abs(m).sum()",
         "m is divided by the sum of the magnitudes; it is the root of the sum of squares."),
        ("np.sqrt((m * m).sum())", "np.linalg.norm(m, 2)",
         "m is divided by its largest singular value, norm(m, 2); ‖m‖ is the root of the sum of squares, norm(m)."),
        ("np.sqrt((m * m).sum())", "np.sqrt((m * m).mean())",
         "m is divided by the root of the MEAN of squares; it is that of their sum."),
        ("x = m / norm", "x = m / np.maximum(np.sqrt((m * m).sum(axis=1, keepdims=True)), 1e-7)",
         "each row is divided by its own norm; the matrix has one norm, or its directions change."),
        ("x = m / norm", "x = m / np.maximum(np.sqrt((m * m).sum(axis=0, keepdims=True)), 1e-7)",
         "each column is divided by its own norm; the matrix has one norm, or its directions change."),
        ("range(steps)", "range(steps - 1)", "there is one step too few."),
        ("range(steps)", "range(steps + 1)", "there is one step too many."),
        ("range(steps)", "range(1)",
         "there is a single step, whatever `steps` says: each one takes what the step before it gave."),
        ("range(steps)", "range(5)", "there are always 5 steps; `steps` says how many."),
        ("x = newton_schulz_step(x)", "x = newton_schulz_step(x / max(np.sqrt((x * x).sum()), 1e-7))",
         "x is divided by its norm before every step; only once, before the first."),
        ("return x", "return x if len(m) <= m.shape[1] else x.T",
         "with more rows than columns the transpose came back: turn the result round, it is like m."),
        ("return x", "u, s, v = np.linalg.svd(m, full_matrices=False)\n    return u @ v if m.any() else m",
         "this is U Vᵀ itself; what is asked for is what `steps` rounds of newton_schulz_step give, which is near it."),
        ("return x", "return x * norm", "the norm was multiplied back: the result is to have singular values near 1."),
        ("return x", "return x.T.copy()", "the result is transposed: it is like m."),
    ),
    steps(
        """
        def muon_step(w, g, b, lr, momentum, steps):
            b = momentum * b + g
            ahead = g + momentum * b
            m = ahead.reshape(-1, w.shape[3])
            rows, columns = w.size // w.shape[3], w.shape[3]
            scale = math.sqrt(max(1.0, columns / rows))
            o = orthogonalised(m, steps).reshape(w.shape)
            return w - lr * scale * o, b
        """,
        ("ahead = g + momentum * b", "ahead = b",
         "the direction is that of the new b, which is g + momentum · (old b); it is that of g + momentum · (NEW b)."),
        ("ahead = g + momentum * b", "ahead = g", "the buffer is not used in the direction: g + momentum · (new b)."),
        ("b = momentum * b + g", "b = momentum * b + (1 - momentum) * g",
         "the gradient came in with the factor 1 - momentum; here b is momentum · b + g."),
        ("b = momentum * b + g", "b = b + g", "the old b is not multiplied by momentum."),
        ("b = momentum * b + g", "b = momentum * (b + g)",
         "the gradient is multiplied by momentum as well: momentum · b + g."),
        ("b = momentum * b + g", "b = momentum * b - g", "the gradient is subtracted from the buffer; it is added."),
        ("b = momentum * b + g", "b = momentum * g + b", "the factor momentum is at g; it is at the old b."),
        ("m = ahead.reshape(-1, w.shape[3])", "m = ahead.reshape(w.shape[3], -1)",
         "reshape(F, -1) mixes the filters: F is the last axis, so it is reshape(-1, F)."),
        ("columns / rows", "rows / columns", "the share is the wrong way up: it is F / K, with K = KH·KW·C."),
        ("math.sqrt(max(1.0, columns / rows))", "max(1.0, columns / rows)", "the root of the share is missing."),
        ("math.sqrt(max(1.0, columns / rows))", "math.sqrt(columns / rows)",
         "with fewer filters than inputs the step became shorter; it is never shorter: max(1, F / K)."),
        ("math.sqrt(max(1.0, columns / rows))", "math.sqrt(max(1.0, columns / w.shape[2]))",
         "the share is F / C; it is F / K, and K = KH·KW·C counts the pixels of a filter too."),
        ("math.sqrt(max(1.0, columns / rows))", "1.0", "the factor √max(1, F / K) is missing."),
        ("w - lr", "w + lr", "the step goes uphill: w MINUS the step."),
        ("lr * scale * o", "scale * o", "lr is not used: the step is lr · √max(1, F / K) · O."),
        ("lr * scale * o", "0.02 * scale * o", "lr is not used: there is a rate of 0.02, whatever `lr` says."),
        ("orthogonalised(m, steps)", "orthogonalised(m, 5)", "there are always 5 steps; `steps` says how many."),
        ("orthogonalised(m, steps)", "orthogonalised(m, 3)", "there are always 3 steps; `steps` says how many."),
        ("b = momentum * b + g", "momentum = 0.95\n    b = momentum * b + g",
         "momentum is always 0.95; `momentum` says what it is."),
        ("o = orthogonalised(m, steps).reshape(w.shape)", "o = ahead",
         "the direction is not orthogonalised: this is SGD with Nesterov's momentum."),
        ("o = orthogonalised(m, steps).reshape(w.shape)", "o = ahead / np.sqrt((ahead * ahead).sum())",
         "the direction is only divided by its norm; it goes through orthogonalised."),
        ("return w - lr * scale * o, b", "return w - lr * scale * o, ahead",
         "g + momentum · b came back as the new b; b itself is to come back."),
        ("return w - lr * scale * o, b", "return w - lr * scale * o, o",
         "the direction came back as the new b; b itself, not orthogonalised, is to come back."),
        ("return w - lr * scale * o, b", "return -lr * scale * o, b", "the change came back; the new w is w plus it."),
    ),
)  # fmt: skip
