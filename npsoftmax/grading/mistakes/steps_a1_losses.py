"""Steps that go wrong in a1: log-softmax and the cross entropy."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

OVER_SAMPLES = "the sum runs over the samples (axis 0); it has to run over the classes of a row (axis=-1)."
AXIS_1 = "this works along axis 1; the classes are the LAST axis, axis=-1."
BASE_2 = "the logarithm is to the base 2; np.log is the natural one."
BASE_10 = "the logarithm is to the base 10; np.log is the natural one."

STEPS = (
    steps(
        """
        def log_softmax_forward(z):
            s = z - z.max(axis=-1, keepdims=True)
            y = s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
            return y, y
        """,
        ("y = s - np.log", "y = s - z.max(axis=-1, keepdims=True) - np.log",
         "the maximum is subtracted twice: s has lost it already."),
        ("axis=-1", "axis=0",
         "this works along the samples (axis 0); every row is a distribution of its own: axis=-1."),
        ("axis=-1", "axis=1", AXIS_1),
        ("np.exp(s).sum(axis=-1", "np.exp(s).sum(axis=0", OVER_SAMPLES),
        ("sum(axis=-1, keepdims=True)", "sum()", "the sum is that of the whole array; each row has its own: axis=-1."),
        ("np.log(", "np.log2(", BASE_2),
        ("np.log(", "np.log10(", BASE_10),
        ("np.log(", "np.log1p(", "log1p adds a 1 to the sum; np.log is needed."),
        ("np.exp(s).sum(", "np.exp(s).mean(", "a mean stands in the logarithm where the sum has to stand."),
        ("y = s - np.log", "y = z - np.log",
         "z stands where s = z - max z has to stand: the maximum left the sum only."),
        ("y = s - np.log", "y = s + np.log", "log Σ e^s is added; it is subtracted."),
        ("y = s - np.log", "y = -s + np.log", "the sign is flipped: log-probabilities are never above 0."),
        ("s - np.log(np.exp(s).sum(axis=-1, keepdims=True))", "s",
         "log Σ e^s is missing: this is the approximation z - max z."),
        ("s - np.log(np.exp(s).sum(axis=-1, keepdims=True))", "s - np.exp(s).sum(axis=-1, keepdims=True)",
         "the logarithm of the sum is missing: s - log Σ e^s."),
        ("s - np.log(np.exp(s).sum(axis=-1, keepdims=True))", "s / np.log(np.exp(s).sum(axis=-1, keepdims=True))",
         "you divided by log Σ e^s; the logarithm of a quotient is a difference."),
        ("s - np.log(np.exp(s).sum(axis=-1, keepdims=True))", "s - np.log(np.exp(z).sum(axis=-1, keepdims=True))",
         "s = z - max z and Σ e^z do not go together: the maximum left one of them only."),
        ("s - np.log(np.exp(s).sum(axis=-1, keepdims=True))", "s - s.sum(axis=-1, keepdims=True)",
         "the logarithm of each is summed; take the logarithm of the sum, log Σ e^s."),
        ("s - np.log(np.exp(s).sum(axis=-1, keepdims=True))",
         "np.log(1e-12 + np.exp(s) / np.exp(s).sum(axis=-1, keepdims=True))",
         "a small number was added to p, which hides the underflow and changes the values: s - log Σ e^s needs none."),
    ),
    steps(
        """
        def log_softmax_backward(dy, cache):
            y = cache
            return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
        """,
        ("axis=-1", "axis=0", OVER_SAMPLES),
        ("axis=-1", "axis=1", AXIS_1),
        ("sum(axis=-1, keepdims=True)", "sum()",
         "the sum is that of the whole array; it is one number a row: axis=-1."),
        ("dy.sum(axis=-1, keepdims=True)", "dy",
         "the sum is missing, this is dy · (1 - p): all of dy reaches z_i, dz = dy - p · Σ_j dy_j."),
        ("dy.sum(", "dy.mean(", "a mean stands where Σ_j dy_j has to stand."),
        ("dy - np.exp(y) *", "dy + np.exp(y) *", "the second term is added; subtract it: dz = dy - p · Σ_j dy_j."),
        ("dy - np.exp(y) *", "-dy + np.exp(y) *", "the sign is flipped: dz = dy - p · Σ_j dy_j."),
        ("dy - np.exp(y) * dy", "dy - dy", "the factor p = e^y is missing in front of the sum."),
        ("dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)", "dy / np.exp(y)",
         "this is dy / p, the derivative of log p alone."),
        ("dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)", "np.exp(y) - dy",
         "this is p - dy: dz = dy - p · Σ_j dy_j."),
        ("dy - np.exp(y) *", "dy - np.exp(-y) *", "e^-y is 1/p; p is e^y."),
    ),
    steps(
        """
        def log_softmax_approximation_forward(z):
            y = z - z.max(axis=-1, keepdims=True)
            return y, y
        """,
        ("axis=-1", "axis=0", "the maximum runs over the samples (axis 0); each row has its own: axis=-1."),
        (".max(", ".min(", "the minimum was subtracted; subtract the maximum."),
        (".max(", ".mean(", "the mean was subtracted; subtract the maximum."),
        ("z - z.max(axis=-1, keepdims=True)", "z.max(axis=-1, keepdims=True) - z", "the sign is flipped: z - max z."),
        ("z - z.max(axis=-1, keepdims=True)", "z / z.max(axis=-1, keepdims=True)",
         "you divided by the maximum; subtract it."),
        ("z - z.max(axis=-1, keepdims=True)", "z", "the maximum is not subtracted."),
    ),
    steps(
        """
        def log_softmax_approximation_backward(dy, cache):
            y = cache
            top = y == 0
            top = top / top.sum(axis=-1, keepdims=True)
            return dy - top * dy.sum(axis=-1, keepdims=True)
        """,
        ("top = top / top.sum(axis=-1, keepdims=True)", "pass",
         "where several maxima tie, each got all of -Σ_j dy_j; they share it equally."),
        ("dy - top * dy.sum(axis=-1, keepdims=True)", "-top * dy.sum(axis=-1, keepdims=True)",
         "only -Σ_j dy_j at the maximum is there: each logit gets its own dy as well."),
        ("- top * dy.sum(", "+ top * dy.sum(", "the largest logit gets MINUS Σ_j dy_j; here it is plus."),
        ("top * dy.sum(axis=-1, keepdims=True)", "top * dy",
         "the largest logit gets -Σ_j dy_j, a sum over the row; here it is its own dy alone."),
        ("top * dy.sum(axis=-1", "top * dy.sum(axis=0", OVER_SAMPLES),
        ("top * dy.sum(axis=-1, keepdims=True)", "top * dy.sum()",
         "the sum is that of the whole array; each row has its own."),
        ("top * dy.sum(", "top * dy.mean(", "the largest logit gets -Σ_j dy_j; here it is their mean."),
        ("- top * dy.sum(", "- dy.sum(", "-Σ_j dy_j went to every logit; only the largest one gets it."),
        ("dy - top * dy.sum(axis=-1, keepdims=True)", "np.where(y == 0, -dy.sum(axis=-1, keepdims=True), dy)",
         "the largest logit got -Σ_j dy_j alone; its own dy belongs to it as well."),
        ("y == 0", "y == y.min(axis=-1, keepdims=True)",
         "-Σ_j dy_j went to the smallest logit; it belongs to the largest, y = 0."),
    ),
    steps(
        """
        def softmax_cross_entropy_forward(z, t, label_smoothing=0.0, temperature=1.0):
            n, c = z.shape
            u = z / temperature
            s = u - u.max(axis=1, keepdims=True)
            logp = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
            hit, rest = 1 - label_smoothing, label_smoothing / c
            rows = hit * logp[np.arange(n), t] + rest * logp.sum(axis=1)
            return -rows.sum() / n, (np.exp(logp), t, label_smoothing, temperature)
        """,
        ("logp[np.arange(n), t] +",
         "(logp[np.arange(n), t] + np.log(1 - np.exp(logp)).sum(axis=1) - np.log(1 - np.exp(logp[np.arange(n), t]))) +",
         "this is the binary cross entropy, with log(1 - p) of the other classes: only -log p of the target counts."),
        ("-rows.sum() / n", "((np.exp(logp) - np.eye(c)[t]) ** 2).sum() / n",
         "this is the squared error, Σ (p - onehot)²: the loss is -log p of the target."),
        ("-rows.sum() / n", "((np.exp(logp) - np.eye(c)[t]) ** 2).mean()",
         "this is the mean squared error: the loss is -log p of the target."),
        ("-rows.sum() / n", "-rows.mean() * temperature",
         "the loss is multiplied by the temperature: the logits are divided by it, and that is all."),
        ("-rows.sum() / n", "-rows.mean() / temperature",
         "the loss is divided by the temperature: the logits are, and that is all."),
        ("np.log(np.exp(s).sum(axis=1, keepdims=True))", "np.log(np.exp(s).mean(axis=1, keepdims=True))",
         "a mean stands in the logarithm where the sum has to stand."),
        ("z / temperature", "z * temperature", "the logits were multiplied by the temperature; divide by it."),
        ("z / temperature", "z / temperature**2", "the temperature is squared: divide by it once."),
        ("-rows.sum() / n", "-rows.sum() / (n * c)",
         "this is the mean over all N·C numbers; the loss is the mean over the N = {N} samples."),
        ("-rows.sum() / n", "-rows.sum() / c",
         "you divided by the C = {C} classes; the mean is over the N = {N} samples."),
        ("-rows.sum() / n", "rows.sum() / n", "the minus is missing: the loss is -log p of the target."),
        ("-rows.sum() / n", "-rows", "the mean is missing: one loss a sample came back."),
        ("-rows.sum() / n", "-rows.max()", "the largest stands where the mean over the samples has to stand."),
        ("np.log(", "np.log2(", BASE_2),
        ("np.log(", "np.log10(", BASE_10),
        ("np.exp(s).sum(axis=1", "np.exp(s).sum(axis=0", OVER_SAMPLES),
        ("axis=1, keepdims=True", "axis=0, keepdims=True",
         "the softmax runs over the samples (axis 0); every row is a distribution of its own."),
        ("rest * logp.sum(axis=1)", "rest * logp[np.arange(n), t]",
         "the smoothing went to the target; ε/C goes to every class."),
        ("label_smoothing / c", "0.0", "ε/C on every class is missing: only the target's share 1 - ε is there."),
        ("label_smoothing / c", "label_smoothing", "every class got ε; it gets ε/C: the mean of log p counts ε."),
        ("hit, rest = 1 - label_smoothing, label_smoothing / c", "hit, rest = 1, label_smoothing / c",
         "the target counts 1 - ε; here it still counts 1."),
        ("hit, rest = 1 - label_smoothing, label_smoothing / c",
         "rest = label_smoothing / (c - 1); hit = 1 - label_smoothing - rest",
         "ε was shared by the C - 1 other classes; here each of the C = {C} classes gets ε/C, the target too."),
        ("hit, rest = 1 - label_smoothing, label_smoothing / c",
         "hit, rest = label_smoothing, (1 - label_smoothing) / c",
         "ε and 1 - ε are exchanged."),
        ("u - u.max(axis=1, keepdims=True)", "u",
         "for large logits it is NaN, from ∞/∞, 0/0 or 0 · log 0: take s - log Σ e^s, s = u - each row's OWN maximum."),
        ("logp[np.arange(n), t] +", "logp[:, t].mean(axis=1) +",
         "logp[:, t] takes the columns of ALL labels for every row: logp[np.arange(N), t] takes one a row."),
        ("logp[np.arange(n), t] +", "logp.max(axis=1) +", "the most probable class was taken; take the target t."),
    ),
    steps(
        """
        def softmax_cross_entropy_backward(dloss, cache):
            p, t, eps, temperature = cache
            n, c = p.shape
            hit, rest = 1 - eps, eps / c
            q = np.full(p.shape, rest)
            q[np.arange(n), t] += hit
            return (p - q) * dloss / (n * temperature)
        """,
        ("hit, rest = 1 - eps, eps / c", "hit, rest = 1, 0.0",
         "the label smoothing is ignored: q is 1 - ε at the target plus ε/C on every class."),
        ("(n * temperature)", "temperature",
         "the 1/N is missing: the loss is a mean over the N = {N} samples, so each of them has 1/N of the gradient."),
        ("(n * temperature)", "n", "the division by the temperature is missing: z was divided by T on the way in."),
        ("* dloss", "", "dloss is not used: the gradient that comes from above multiplies everything."),
        ("(p - q)", "(q - p)", "the sign is flipped: dz is p - q, so that descent raises the target's logit."),
        ("q[np.arange(n), t] += hit", "q = t[:, None] * np.ones(c)",
         "the labels themselves are subtracted, as numbers: they have to be one-hot."),
        ("hit, rest = 1 - eps, eps / c", "hit, rest = 1 - eps, 0.0",
         "ε/C on every class is missing: only 1 - ε at the target is there."),
        ("hit, rest = 1 - eps, eps / c", "hit, rest = 1, eps / c",
         "the target counts 1 - ε (+ ε/C); here it still counts 1."),
        ("hit, rest = 1 - eps, eps / c", "rest = eps / (c - 1); hit = 1 - eps - rest",
         "ε was shared by the C - 1 other classes; here each of the C = {C} classes gets ε/C, the target too."),
        ("hit, rest = 1 - eps, eps / c", "rest = eps / c; hit = 1 - eps - rest",
         "the target's own ε/C is missing: q is 1 - ε + ε/C there (use +=, not =)."),
        ("hit, rest = 1 - eps, eps / c", "hit, rest = 1 - eps, eps", "every class got ε; it gets ε/C."),
        ("hit, rest = 1 - eps, eps / c", "hit, rest = eps, (1 - eps) / c", "ε and 1 - ε are exchanged."),
        ("q[np.arange(n), t] += hit", "pass", "the target's 1 - ε is not subtracted."),
        ("q[np.arange(n), t] += hit", "q[:, t] += hit",
         "q[:, t] changes the columns of ALL labels in every row: q[np.arange(N), t] changes one a row."),
        ("(p - q)", "np.where(q > q.min(), 1 - p, p)", "at the target it is p - 1; here it is 1 - p."),
        ("(p - q)", "(p + q)", "the targets are added; dz is p - q."),
        ("(p - q)", "-q", "the probabilities are missing: dz is p - q."),
        ("(p - q)", "-q / p", "this is the gradient with respect to p; through the softmax it becomes p - q."),
        ("(p - q)", "p * (p - q)", "there is a factor p too many: dz is p - q."),
        ("(p - q)", "p * (1 - p) * (p - q)", "there is a factor p · (1 - p) too many: dz is p - q."),
        ("(n * temperature)", "(n * c * temperature)",
         "this is divided by N·C; the loss is a mean over the N = {N} samples only."),
        ("(n * temperature)", "(c * temperature)",
         "you divided by the C = {C} classes; the mean is over the N = {N} samples."),
        ("(n * temperature)", "n * temperature",
         "the temperature multiplies; z was divided by it, so the gradient is too."),
        (" / (n * temperature)", "",
         "neither 1/N nor 1/T is there: the loss is a mean over N samples, and z was divided by T."),
        ("(n * temperature)", "(n * temperature**2)", "the division by the temperature is there twice."),
        ("(p - q) * dloss / (n * temperature)", "((p - q) * dloss / (n * temperature)).sum(axis=0)",
         "the samples were summed: each has a row of dz of its own."),
    ),
)  # fmt: skip
