"""Steps that go wrong in a1: softmax, the ladder that leads to it, and the soft functions."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

ROW, COLUMN = "axis=-1", "axis=0"
BASE_2 = "the logarithm is to the base 2; np.log is the natural one."
BASE_10 = "the logarithm is to the base 10; np.log is the natural one."
OVER_SAMPLES = "the sum runs over the samples (axis 0); it has to run over the classes of a row (axis=-1)."
NO_SUM = "the sum is missing: the bracket has to subtract one number a row, a sum over its classes."
MEAN = "a mean stands where the sum over the classes has to stand."

STEPS = (
    steps(
        """
        def sum_normalisation_v1_forward(z):
            total = z.sum(axis=-1, keepdims=True)
            y = z / total
            return y, (y, total)
        """,
        ("sum(axis=-1, keepdims=True)", "sum()", "the sum is that of the whole array; each row has its own: axis=-1."),
        (".sum(", ".mean(", "you divided by the mean of the row; divide by its sum."),
        (".sum(", ".max(", "you divided by the largest of the row; divide by the sum."),
        ("y = z / total", "y = z * total", "you multiplied by the sum; divide by it."),
        ("y = z / total", "y = total / z", "the quotient is upside down: it is z / Σ z."),
        ("y = z / total", "y = z - total", "you subtracted the sum; divide by it."),
        ("y = z / total", "y = np.exp(z) / np.exp(z).sum(-1, keepdims=True)",
         "this is the softmax; version 1 divides z itself by its sum, without an exponential."),
        ("y = z / total", "y = (z - z.min(-1, keepdims=True)) / (z - z.min(-1, keepdims=True)).sum(-1, keepdims=True)",
         "this is version 2, which subtracts the minimum; version 1 does not."),
        ("y = z / total", "y = z / np.sqrt((z * z).sum(-1, keepdims=True))",
         "you divided by the length of the row, √Σ z²; divide by its sum."),
    ),
    steps(
        """
        def sum_normalisation_v1_backward(dy, cache):
            y, total = cache
            s = (y * dy).sum(axis=-1, keepdims=True)
            return (dy - s) / total
        """,
        ("(dy - s)", "(1 - s)", "dy is missing in front of the sum: dy - Σ_j y_j · dy_j."),
        (ROW, COLUMN, OVER_SAMPLES),
        ("sum(axis=-1, keepdims=True)", "sum()",
         "the sum is that of the whole array; it is one number a row: axis=-1."),
        ("(y * dy).sum(axis=-1, keepdims=True)", "dy.sum(axis=-1, keepdims=True)",
         "the factor y is missing in the sum: Σ_j y_j · dy_j."),
        ("(y * dy).sum(axis=-1, keepdims=True)", "y * dy", NO_SUM),
        ("(y * dy).sum(", "(y * dy).mean(", MEAN),
        ("(y * dy).sum(", "(y * total * dy).sum(", "z stands in the sum where y = z / Σ z has to stand."),
        ("(dy - s)", "(dy + s)", "the second term of the quotient rule is added; subtract it: dy - Σ_j y_j · dy_j."),
        ("(dy - s)", "(s - dy)", "the bracket has the wrong sign: dy - Σ_j y_j · dy_j."),
        ("(dy - s)", "y * (dy - s)", "there is a factor y too many: that is softmax's backward, over the sum."),
        ("(dy - s)", "(dy - y * dy.sum(-1, keepdims=True))", "y belongs inside the sum: Σ_j y_j · dy_j."),
        ("/ total", "* total", "you multiplied by Σ z; divide by it."),
        ("/ total", "/ total**2", "the bracket is divided by (Σ z)²; in terms of y it is Σ z, once."),
    ),
    steps(
        """
        def sum_normalisation_v2_forward(z):
            u = z - z.min(axis=-1, keepdims=True)
            total = u.sum(axis=-1, keepdims=True)
            y = u / total
            return y, (y, total)
        """,
        ("z.min(axis=-1,", "z.max(axis=-1,",
         "the maximum was subtracted; subtract the minimum, so that u is not negative."),
        ("z.min(axis=-1,", "z.mean(axis=-1,", "the mean was subtracted; subtract the minimum."),
        ("z.min(axis=-1,", "z.min(axis=0,",
         "the minimum runs over the samples (axis 0); each row has its own: axis=-1."),
        ("u.sum(axis=-1,", "u.sum(axis=0,", "the sum runs over the samples (axis 0); each row has its own: axis=-1."),
        ("u.sum(axis=-1, keepdims=True)", "u.sum()",
         "the sum is that of the whole array; each row has its own: axis=-1."),
        ("u.sum(", "u.max(", "you divided by the largest u, which makes the largest share 1; divide by their sum."),
        ("u.sum(", "u.mean(", "you divided by the mean of u; divide by their sum."),
        ("y = u / total", "y = z / total", "u = z - min z has to stand in the numerator too."),
        ("z - z.min(axis=-1, keepdims=True)", "z", "this is version 1: the minimum is not subtracted."),
        ("z - z.min(axis=-1, keepdims=True)", "z + z.min(axis=-1, keepdims=True)",
         "the minimum is added; subtract it."),
        ("z - z.min(axis=-1, keepdims=True)", "np.abs(z)", "|z| stands where z - min z has to stand."),
    ),
    steps(
        """
        def sum_normalisation_v2_backward(dy, cache):
            y, total = cache
            s = (y * dy).sum(axis=-1, keepdims=True)
            du = (dy - s) / total
            low = y == 0
            low = low / low.sum(axis=-1, keepdims=True)
            return du - low * du.sum(axis=-1, keepdims=True)
        """,
        ("low = low / low.sum(axis=-1, keepdims=True)", "pass",
         "where several minima tie, each got all of -Σ_j du_j; they share it equally."),
        ("du - low * du.sum(", "du + low * du.sum(", "the smallest logit gets MINUS Σ_j du_j; here it is plus."),
        ("low * du.sum(", "low * dy.sum(", "the sum of dy went to the smallest logit; it gets -Σ_j du_j."),
        ("low * du.sum(axis=-1, keepdims=True)", "low * du", "the smallest logit gets -Σ_j du_j, a sum over the row;"
         " here it is its own du alone."),
        ("low * du.sum(axis=-1,", "low * du.sum(axis=0,",
         "Σ_j du_j runs over the samples (axis 0); it is a sum over a row."),
        ("low * du.sum(", "low * du.mean(",
         "the mean of du_j went to the smallest logit; it gets -Σ_j du_j, their sum."),
        ("du - low * du.sum(", "du - du.sum(", "-Σ_j du_j went to every logit; only the smallest one gets it."),
        ("du - low * du.sum(axis=-1, keepdims=True)", "np.where(y == 0, -du.sum(axis=-1, keepdims=True), du)",
         "the smallest logit got -Σ_j du_j alone; its own du belongs to it as well."),
        ("(dy - s) / total", "(dy - s)", "the division by the sum is missing in du."),
        ("(dy - s) / total", "dy / total", "the second term of the quotient rule, -Σ_j y_j · dy_j, is missing in du."),
        ("(dy - s) / total", "(dy + s) / total", "the second term of the quotient rule is added in du; subtract it."),
        ("(y * dy).sum(axis=-1", "(y * dy).sum(axis=0", OVER_SAMPLES),
    ),
    steps(
        """
        def softmax_forward(z):
            s = z - z.max(axis=-1, keepdims=True)
            e = np.exp(s)
            p = e / e.sum(axis=-1, keepdims=True)
            return p, p
        """,
        ("e = np.exp(s)", "e = s * s", "the square s² stands where e^s has to stand: np.exp."),
        ("e = np.exp(s)", "e = np.abs(s)", "the absolute |s| stands where e^s has to stand: np.exp."),
        ("e = np.exp(s)", "e = np.exp(np.clip(z, -500, 500))",
         "the logits were cut off at 500; subtract the row's maximum instead."),
        ("e.sum(axis=-1,", "e.sum(axis=0,",
         "the sum runs over the samples (axis 0); every row is a distribution: axis=-1."),
        ("e.sum(axis=-1,", "e.sum(axis=1,", "the sum runs over axis 1; the classes are the LAST axis, axis=-1."),
        ("axis=-1", "axis=1", "this works along axis 1; the classes are the LAST axis, axis=-1."),
        ("e.sum(axis=-1, keepdims=True)", "e.sum()",
         "the sum is that of the whole array; every row has its own: axis=-1."),
        ("np.exp(s)", "2.0**s", "this takes powers of 2; softmax takes powers of e: np.exp."),
        ("np.exp(s)", "10.0**s", "this takes powers of 10; softmax takes powers of e: np.exp."),
        ("np.exp(s)", "np.exp(-s)",
         "the sign in the exponent is wrong: the largest logit has the largest probability."),
        ("z - z.max(axis=-1, keepdims=True)", "-z + z.min(axis=-1, keepdims=True)",
         "this is the softmax of -z: the largest logit has to have the largest probability."),
        ("z - z.max(axis=-1, keepdims=True)", "z / z.max(axis=-1, keepdims=True)",
         "you divided by the maximum; subtract it: only a difference leaves the probabilities as they are."),
        ("z.max(axis=-1, keepdims=True)", "z.min(axis=-1, keepdims=True)",
         "the minimum was subtracted; with the maximum e^s cannot overflow."),
        ("z.max(axis=-1, keepdims=True)", "z.max(axis=0, keepdims=True)",
         "the maximum runs over the samples (axis 0); each row needs its own: axis=-1."),
        ("e / e.sum(", "e / e.mean(", "you divided by the mean; divide by the sum."),
        ("e / e.sum(axis=-1, keepdims=True)", "e",
         "the exponentials are not divided by their sum (they are e^s, 1 at the largest)."),
        ("e / e.sum(axis=-1, keepdims=True)", "s - np.log(e.sum(axis=-1, keepdims=True))",
         "this is the log-softmax; the probabilities themselves were asked for."),
        ("e / e.sum(axis=-1, keepdims=True)", "e / s.sum(axis=-1, keepdims=True)",
         "you divided by the sum of the logits; divide by the sum of their exponentials."),
        ("e / e.sum(axis=-1, keepdims=True)", "1 / (1 + np.exp(-z))", "this is the sigmoid of each logit by itself."),
    ),
    steps(
        """
        def softmax_jacobian(p):
            eye = np.eye(p.shape[-1])
            return p[..., :, None] * (eye - p[..., None, :])
        """,
        ("(eye - p[..., None, :])", "(eye + p[..., None, :])",
         "the outer product is added; subtract it: p_i · (δ_ij - p_j)."),
        ("(eye - p[..., None, :])", "(p[..., None, :] - eye)", "the sign is flipped: p_i · (δ_ij - p_j)."),
        ("(eye - p[..., None, :])", "(1 - p[..., None, :])",
         "1 stands where δ_ij has to stand: it is 0 off the diagonal."),
        ("(eye - p[..., None, :])", "eye", "only diag(p) is there; subtract the outer product of p with itself."),
        ("(eye - p[..., None, :])", "p[..., None, :]", "this is the outer product of p alone: diag(p) minus it."),
        ("(eye - p[..., None, :])", "(eye - p[..., :, None])",
         "p_i² stands where p_i · p_j has to stand: both factors run along the same axis."),
        ("p[..., :, None] * (eye - p[..., None, :])", "eye - p[..., :, None] * p[..., None, :]",
         "δ_ij is not multiplied by p_i: the diagonal is p_i - p_i², not 1 - p_i²."),
        ("p[..., :, None] * (eye - p[..., None, :])",
         "np.where(eye == 1, p[..., None], -p[..., :, None] * p[..., None, :])",
         "the diagonal is p_i; it has to be p_i · (1 - p_i)."),
        ("p[..., :, None] * (eye - p[..., None, :])", "(eye - p[..., None, :])", "the factor p_i is missing."),
        ("p[..., :, None] * (eye - p[..., None, :])", "(p[..., :, None] * (eye - p[..., None, :])).sum(0)",
         "the rows' Jacobians were added up; each row has one of its own, (N, C, C)."),
    ),
    steps(
        """
        def softmax_backward(dy, cache):
            p = cache
            s = (p * dy).sum(axis=-1, keepdims=True)
            return p * (dy - s)
        """,
        (ROW, "axis=1", "the sum runs along axis 1; the classes are the LAST axis, axis=-1."),
        ("sum(axis=-1, keepdims=True)", "sum()",
         "the sum is that of the whole array; it is one number a row: axis=-1."),
        ("(p * dy).sum(axis=-1, keepdims=True)", "dy.sum(axis=-1, keepdims=True)",
         "the factor p is missing in the sum: Σ_j p_j · dy_j."),
        ("(p * dy).sum(axis=-1, keepdims=True)", "p.sum(axis=-1, keepdims=True)",
         "dy is missing in the sum: Σ_j p_j · dy_j."),
        ("(p * dy).sum(", "(p * dy).mean(", MEAN),
        ("(p * dy).sum(", "(p * dy).max(", "the largest stands where the sum over the classes has to stand."),
        ("(p * dy).sum(", "(p * p * dy).sum(", "there is one p too many in the sum: Σ_j p_j · dy_j."),
        ("(dy - s)", "(dy + s)", "the sum is added; subtract it: p · (dy - Σ_j p_j · dy_j)."),
        ("(dy - s)", "(s - dy)", "the bracket has the wrong sign: dy - Σ_j p_j · dy_j."),
        ("(dy - s)", "(p * dy - s)", "there is one p too many in the bracket: dy - Σ_j p_j · dy_j."),
        ("(dy - s)", "(1 - s)", "dy is missing in front of the sum: dy - Σ_j p_j · dy_j."),
        ("(dy - s)", "dy", "the second term is missing: each p_i depends on every other z_j as well."),
        ("p * (dy - s)", "p * dy - s", "p multiplies dy alone; it has to multiply the whole bracket, the sum as well."),
        ("p * (dy - s)", "p * (1 - p) * (dy - s)", "the factor in front is p; the (1 - p) is too many."),
        ("p * (dy - s)", "(p - dy)", "this is p - dy; softmax's backward is p · (dy - Σ_j p_j · dy_j)."),
        ("p * (dy - s)", "np.einsum('...ij,...i->...j', p[..., :, None] * (np.eye(p.shape[-1]) - p[..., :, None]), dy)",
         "p_i² stands where p_i · p_j has to stand: both factors of the outer product run along the same axis."),
    ),
    steps(
        """
        def log_sum_exp_forward(z):
            m = z.max(axis=-1, keepdims=True)
            e = np.exp(z - m)
            y = m + np.log(e.sum(axis=-1, keepdims=True))
            return y[..., 0], e / e.sum(axis=-1, keepdims=True)
        """,
        ("y = m + np.log(e.sum(", "y = m + np.log(e.mean(",
         "a mean stands in the logarithm where the sum has to stand."),
        ("y = m + ", "y = -m + ", "the maximum is subtracted outside; it has to be added again."),
        ("y = m + np.log(", "y = m * np.log(", "the maximum is a factor outside; it has to be added."),
        ("np.log(", "np.log2(", BASE_2),
        ("np.log(", "np.log10(", BASE_10),
        ("np.log(", "np.log1p(", "log1p adds a 1 to the sum; np.log is needed."),
        ("m + np.log(e.sum(axis=-1, keepdims=True))", "e.sum(axis=-1, keepdims=True)",
         "this is Σ e^(z - max): the logarithm is missing, and the maximum."),
        ("m + np.log(e.sum(axis=-1, keepdims=True))", "np.exp(z).sum(axis=-1, keepdims=True)",
         "the logarithm is missing."),
        ("m + np.log(e.sum(axis=-1, keepdims=True))", "np.log(np.exp(z)).sum(axis=-1, keepdims=True)",
         "the logarithm of each is summed; take the logarithm of the sum."),
        ("m + np.log(e.sum(axis=-1, keepdims=True))", "z.sum(axis=-1, keepdims=True)",
         "this is the sum of z: the logarithm of each e^z is summed; take the logarithm of the sum."),
        ("m = z.max(axis=-1, keepdims=True)", "m = z.max()",
         "z.max() is the maximum of the whole array: each row has its own."),
        ("return y[..., 0]", "return y[..., 0].sum()", "the rows were added up; each row has a value of its own."),
        ("return y[..., 0]", "return y[..., 0].mean()", "the rows were averaged; each row has a value of its own."),
        ("axis=-1", "axis=0", "this works along the samples (axis 0); the classes are the last axis, axis=-1."),
        ("axis=-1", "axis=1", "this works along axis 1; the classes are the LAST axis, axis=-1."),
    ),
    steps(
        """
        def log_sum_exp_backward(dy, cache):
            p = cache
            return dy[..., None] * p
        """,
        ("dy[..., None] * p", "p", "dy is not used: p has to be multiplied by it, dy[..., None]."),
        ("dy[..., None] * p", "p - dy[..., None]", "dy is subtracted; p is multiplied by it."),
        ("dy[..., None] * p", "p * (dy[..., None] - (p * dy[..., None]).sum(axis=-1, keepdims=True))",
         "this is the backward of softmax; the gradient of log-sum-exp is p itself, dz = p · dy."),
        ("dy[..., None] * p", "dy[..., None] / p", "you divided by p; multiply by it."),
        ("dy[..., None] * p", "dy[..., None] * np.log(p)", "the logarithm of p stands where p has to stand."),
        ("dy[..., None] * p", "dy[..., None] * (1 - p)", "1 - p stands where p has to stand."),
        ("dy[..., None] * p", "dy[..., None] * np.exp(p)", "the cache is p already; e^p is one exponential too many."),
        ("dy[..., None] * p", "dy.sum() * p", "dy was summed over the rows; each row has its own."),
    ),
    steps(
        """
        def soft_argmax_forward(z):
            p = softmax_forward(z)[0]
            y = (p * np.arange(z.shape[-1])).sum(axis=-1)
            return y, (p, y)
        """,
        ("(p * np.arange", "(p * p * np.arange", "p is squared: the weights are p."),
        (".sum(axis=-1)", ".mean(axis=-1)",
         "this is a mean over the C = {C} classes; the weights p add up to 1 already: a sum."),
        (".sum(axis=-1)", ".sum()", "the sum is that of the whole array; each row has its own: axis=-1."),
        (".sum(axis=-1)", "", "the sum over the classes is missing."),
        ("(p * np.arange(z.shape[-1]))", "(z * np.arange(z.shape[-1]))",
         "the weights are z; they have to be softmax(z)."),
        ("(p * np.arange(z.shape[-1]))", "(p * z)",
         "this is the mean of the logits; the mean of the INDICES is needed."),
        ("np.arange(z.shape[-1])", "np.arange(z.shape[-1])[::-1]",
         "the indices run backwards: the first class is number 0."),
        ("np.arange(z.shape[-1])", "np.linspace(0, 1, z.shape[-1])",
         "the indices run from 0 to 1: they are 0, 1, …, C - 1."),
        ("p * np.arange", "np.log(p) * np.arange", "the weights are log p; they have to be p."),
    ),
    steps(
        """
        def soft_argmax_backward(dy, cache):
            p, y = cache
            j = np.arange(p.shape[-1])
            return dy[..., None] * p * (j - y[..., None])
        """,
        ("(j - y[..., None])", "(y[..., None] - j)", "the sign is flipped: ∂y/∂z_j is p_j · (j - y)."),
        ("(j - y[..., None])", "(j + y[..., None])", "y is added; ∂y/∂z_j is p_j · (j - y)."),
        ("(j - y[..., None])", "abs(j - y[..., None])",
         "the distance |j - y| has lost its sign: below the mean it is negative."),
        ("(j - y[..., None])", "(j - y[..., None])**2", "the distance j - y is squared."),
        ("(j - y[..., None])", "j * (1 - p)", "only the diagonal of softmax's Jacobian is there."),
        ("(j - y[..., None])", "(p - y[..., None])", "p_j stands where the index j has to stand."),
        ("j = np.arange(p.shape[-1])", "j = np.arange(1, p.shape[-1] + 1)",
         "the indices start at 1; y was counted from 0."),
        ("dy[..., None] * p", "p", "dy is not used: it multiplies everything."),
        ("* p *", "* p * (1 - p) *", "the factor 1 - p is too many: ∂y/∂z_j is p_j · (j - y)."),
        ("* p *", "* p**2 *", "p is squared: ∂y/∂z_j is p_j · (j - y)."),
    ),
)  # fmt: skip
