"""Steps that go wrong in a1: Gumbel- and Taylor-softmax."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

OVER_SAMPLES = "the sum runs over the samples (axis 0); it has to run over the classes of a row (axis=-1)."

STEPS = (
    steps(
        """
        def gumbel_softmax_forward(z, noise, tau):
            p = softmax_forward((z + noise) / tau)[0]
            return p, (p, tau)
        """,
        ("(z + noise) / tau", "z / tau + noise", "only z is divided by τ; divide the sum of both, (z + g) / τ."),
        ("(z + noise) / tau", "(z - noise) / tau", "the noise is subtracted; it is added."),
        ("(z + noise) / tau", "z / tau", "the noise is not used: u = (z + g) / τ."),
        ("(z + noise) / tau", "(z * noise) / tau", "the noise is a factor; it is added."),
        ("(z + noise) / tau", "(z + noise) / tau**2", "τ is squared: divide by it once."),
        ("softmax_forward((z + noise) / tau)[0]", "softmax_forward(z + noise)[0] / tau",
         "the probabilities are divided by τ; the logits have to be, inside the softmax."),
        ("softmax_forward((z + noise) / tau)[0]", "(z + noise) / tau", "the softmax is missing."),
        ("softmax_forward((z + noise) / tau)[0]", "np.log(softmax_forward((z + noise) / tau)[0])",
         "this is the logarithm of the right value: probabilities were asked for."),
        ("softmax_forward((z + noise) / tau)[0]", "np.eye(z.shape[-1])[np.argmax(z + noise, axis=-1)]",
         "this is the hard, one-hot sample; the softmax of u was asked for."),
        ("softmax_forward((z + noise) / tau)[0]", "softmax_forward(((z + noise) / tau).T)[0].T",
         "the softmax runs over the samples (axis 0); every row is a distribution of its own."),
    ),
    steps(
        """
        def gumbel_softmax_backward(dy, cache):
            p, tau = cache
            s = (p * dy).sum(axis=-1, keepdims=True)
            return p * (dy - s) / tau
        """,
        ("p * (dy - s)", "dy", "the softmax's backward is missing: this is dy / τ alone."),
        ("/ tau", "/ tau**2", "1/τ is there twice: divide by τ once."),
        ("axis=-1", "axis=0", OVER_SAMPLES),
        ("(p * dy).sum(axis=-1, keepdims=True)", "dy.sum(axis=-1, keepdims=True)",
         "the factor p is missing in the sum."),
        ("p * (dy - s)", "(dy - s)", "the factor p in front of the bracket is missing."),
        ("p * (dy - s)", "p * (dy + s)", "the sum is added; subtract it: p · (dy - Σ p · dy) / τ."),
        ("p * (dy - s)", "(dy - p * dy.sum(axis=-1, keepdims=True))", "this is the backward of log-softmax, over τ."),
        ("p * (dy - s)", "p * dy", "the second term is missing: each p_i depends on every other z_j as well."),
    ),
    steps(
        """
        def log_gumbel_softmax_forward(z, noise, tau):
            y = log_softmax_forward((z + noise) / tau)[0]
            return y, (y, tau)
        """,
        ("log_softmax_forward((z + noise) / tau)[0]", "log_softmax_forward(z / tau)[0] + noise / tau",
         "g / τ was added to the log-probabilities; it belongs on the logits, before the log-softmax."),
        ("(z + noise) / tau", "z / tau + noise", "only z is divided by τ; divide the sum of both, (z + g) / τ."),
        ("(z + noise) / tau", "z + noise / tau",
         "only the noise is divided by τ; divide the sum of both, (z + g) / τ."),
        ("(z + noise) / tau", "(z - noise) / tau", "the noise is subtracted; it is added."),
        ("(z + noise) / tau", "z / tau", "the noise is not used: u = (z + g) / τ."),
        ("(z + noise) / tau", "(z + noise) * tau", "z + g was multiplied by τ; divide by τ."),
        ("log_softmax_forward((z + noise) / tau)[0]", "log_softmax_forward(z + noise)[0] / tau",
         "the log-probabilities are divided by τ; the logits have to be, before the log-softmax."),
        ("log_softmax_forward((z + noise) / tau)[0]", "log_softmax_forward(z / tau)[0] + noise",
         "the noise was added to the log-probabilities; it belongs on the logits."),
        ("log_softmax_forward(", "softmax_forward(", "this is the softmax of u; its logarithm was asked for."),
        ("log_softmax_forward((z + noise) / tau)[0]", "log_softmax_forward(((z + noise) / tau).T)[0].T",
         "the log-softmax runs over the samples (axis 0); every row is a distribution of its own."),
    ),
    steps(
        """
        def log_gumbel_softmax_backward(dy, cache):
            y, tau = cache
            return (dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)) / tau
        """,
        ("(dy - np.exp(y) * dy.sum(axis=-1, keepdims=True))", "(y * (dy - (y * dy).sum(axis=-1, keepdims=True)))",
         "this is softmax's backward with y = log p for p."),
        ("/ tau", "* tau", "you multiplied by τ; u = (z + g) / τ, so du/dz = 1/τ."),
        ("/ tau", "/ tau**2", "1/τ is there twice: divide by τ once."),
        ("axis=-1", "axis=0", OVER_SAMPLES),
        ("np.exp(y)", "y", "the cache holds y = log p; Σ dy has to be multiplied by p = e^y."),
        ("np.exp(y)", "np.exp(y / tau)", "y is divided by τ again; p is e^y."),
        ("dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)", "dy",
         "the second term is missing: dz = (dy - p · Σ dy) / τ."),
        ("dy - np.exp(y) *", "dy + np.exp(y) *", "the second term is added; subtract it: dz = (dy - p · Σ dy) / τ."),
        ("dy.sum(axis=-1, keepdims=True)", "(np.exp(y) * dy).sum(axis=-1, keepdims=True)",
         "there is one p too many in the sum."),
    ),
    steps(
        """
        def taylor_polynomial(z, order):
            f = np.zeros_like(z)
            for i in range(0, order + 1):
                f = f + z**i / math.factorial(i)
            return f
        """,
        ("math.factorial(i)", "math.factorial(order)", "every term is divided by n!; the term z^i is divided by i!."),
        ("for i in range(0, order + 1):\n        f = f + z**i / math.factorial(i)",
         "f = 1 + z\n    for i in range(2, order + 1):\n        f = 1 + z / i * f",
         "Horner runs the wrong way: from i = n down to 1, f = 1 + z/i · f."),
        ("math.factorial(i)", "max(i, 1)", "the terms are divided by i; divide by i!, the factorial."),
        ("math.factorial(i)", "2**i", "the terms are divided by 2^i; divide by i!."),
        ("math.factorial(i)", "math.factorial(i + 1)", "the terms are divided by (i + 1)!; divide by i!."),
        ("z**i / math.factorial(i)", "z**i * math.factorial(i)", "the terms are multiplied by i!; divide by it."),
        ("z**i / math.factorial(i)", "z * i / math.factorial(i)", "z · i stands where the power z^i has to stand."),
        ("z**i / math.factorial(i)", "(-z) ** i / math.factorial(i)",
         "the signs alternate: this is e^-z; all terms are added."),
        ("z**i / math.factorial(i)", "(z / math.factorial(i)) ** i", "(z / i!)^i stands where z^i / i! has to stand."),
        ("f = f + z**i / math.factorial(i)", "f = z**i / math.factorial(i)",
         "only the last term is there: add the terms (+=)."),
        ("range(0, order + 1)", "range(0, order + 2)", "there is one term too many: the last is z^n / n!."),
        ("range(0, order + 1)", "range(2)", "only 1 + z is there: there are n = order powers."),
        ("range(0, order + 1)", "range(3)", "only the terms up to z² are there, whatever the order is."),
        ("range(0, order + 1)", "(*range(order + 1), 0)", "the constant term 1 is there twice."),
        ("return f", "return np.exp(z)", "this is e^z itself; its Taylor polynomial was asked for."),
    ),
    steps(
        """
        def taylor_softmax_forward(z, order):
            f = taylor_polynomial(z, order)
            p = f / f.sum(axis=-1, keepdims=True)
            return p, (z, p, order)
        """,
        ("axis=-1", "axis=0",
         "the sum runs over the samples (axis 0); every row is a distribution of its own: axis=-1."),
        ("sum(axis=-1, keepdims=True)", "sum()", "the sum is that of the whole array; each row has its own: axis=-1."),
        ("f / f.sum(axis=-1, keepdims=True)", "f", "the polynomials are not divided by their sum."),
        ("f.sum(", "f.max(", "you divided by the largest; divide by the sum."),
        ("f / f.sum(", "f / np.abs(z).sum(", "you divided by the sum of |z|; divide by the sum of the polynomials."),
        ("taylor_polynomial(z, order)", "taylor_polynomial(z, 2)",
         "the order is not used: it is 2 whatever the case says."),
        ("taylor_polynomial(z, order)", "taylor_polynomial(z, order - 1)", "this is the polynomial of order n - 1."),
        ("taylor_polynomial(z, order)", "np.exp(z)",
         "this is the softmax: e^z stands where its polynomial has to stand."),
        ("taylor_polynomial(z, order)", "taylor_polynomial(-z, order)", "this is the polynomial of -z."),
        ("taylor_polynomial(z, order)", "np.log(taylor_polynomial(z, order))",
         "the logarithm of the polynomials is shared out."),
    ),
    steps(
        """
        def taylor_softmax_backward(dy, cache):
            z, p, order = cache
            r = taylor_polynomial(z, order - 1) / taylor_polynomial(z, order)
            s = (p * dy).sum(axis=-1, keepdims=True)
            return p * r * (dy - s)
        """,
        ("taylor_polynomial(z, order - 1) / taylor_polynomial(z, order)",
         "taylor_polynomial(z, order) / taylor_polynomial(z, order - 1)", "r is upside down: it is f' / f."),
        ("taylor_polynomial(z, order - 1) / taylor_polynomial(z, order)", "1 / taylor_polynomial(z, order)",
         "f' is missing: r = f' / f, and f' is the polynomial of order n - 1."),
        ("p * r * (dy - s)", "p * (r * dy - s)",
         "r multiplies dy alone; it has to multiply the whole bracket, the sum as well."),
        ("p * r * (dy - s)", "p * (dy - r * s)",
         "r multiplies the sum alone; it has to multiply the whole bracket, dy as well."),
        ("p * r * (dy - s)", "p * (r * dy - (p * r * dy).sum(axis=-1, keepdims=True))",
         "r multiplies each dy, in the sum as well; it stands in front of the bracket: p · r · (dy - Σ p · dy)."),
        ("p * r * (dy - s)", "r * (dy - s)", "the factor p in front is missing."),
        ("p * r * (dy - s)", "p * r * dy",
         "the second term is missing: the sum in the denominator depends on every z_j."),
        ("p * r * (dy - s)", "p * r * (dy + s)", "the sum is added; subtract it: p · r · (dy - Σ p · dy)."),
        ("(p * dy).sum(", "(p * r * dy).sum(", "there is an r in the sum; it stands in front of the bracket only."),
        ("(p * dy).sum(axis=-1, keepdims=True)", "dy.sum(axis=-1, keepdims=True)",
         "the factor p is missing in the sum."),
        ("axis=-1", "axis=0", OVER_SAMPLES),
    ),
)  # fmt: skip
