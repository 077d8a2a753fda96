"""Steps that go wrong in a6: smoothed targets, SiLU, and whitening."""

from __future__ import annotations

from npsoftmax.grading.mistakes.base import steps

STEPS = (
    steps(
        """
        def smoothed_targets(q, label_smoothing):
            n, c = q.shape
            total = q.sum(axis=1, keepdims=True)
            return (1 - label_smoothing) * q + label_smoothing / c * total
        """,
        ("(1 - label_smoothing) * q", "q", "nothing was taken away: the targets keep (1 - ε) of what they were."),
        (" * total", "",
         "ε / C was added to every row; what is shared out is ε of the row's own sum, ε / C · Σ_c q_c."),
        ("label_smoothing / c * total", "label_smoothing * total",
         "the share is not divided by C = {C}: each class gets ε / C of the row's sum."),
        ("label_smoothing / c * total", "label_smoothing / (c - 1) * total",
         "the share is divided by C - 1; it is given to ALL C classes, the target among them."),
        ("label_smoothing / c * total", "label_smoothing / (c - 1) * (total - q)",
         "the share goes to the OTHER classes only; it is given to all C alike, the target among them."),
        ("label_smoothing / c * total", "label_smoothing / n * total",
         "the share is divided by N = {N}, the number of rows; divide by C, the number of classes."),
        ("(1 - label_smoothing) * q + label_smoothing / c * total",
         "label_smoothing * q + (1 - label_smoothing) / c * total",
         "ε and 1 - ε are exchanged: 1 - ε stays with the targets."),
        (" + label_smoothing / c * total", "",
         "what was taken from the targets is lost: share out ε · Σ_c q_c among the classes."),
        ("label_smoothing / c * total", "label_smoothing * total * (q == 0)",
         "only classes with the target 0 get something; it is given to all C alike."),
        ("q.sum(axis=1, keepdims=True)", "q.sum(axis=0, keepdims=True)",
         "the sum runs over the rows (axis 0); each row shares out what was taken from ITSELF, axis 1."),
        ("q.sum(axis=1, keepdims=True)", "q.sum()",
         "the sum is that of all rows; each row shares out what was taken from itself: axis=1, keepdims=True."),
        ("q.sum(axis=1, keepdims=True)", "q.max(axis=1, keepdims=True)",
         "ε of the largest target is shared out; it is ε of the row's sum."),
        ("label_smoothing / c * total", "(1 - label_smoothing) / c * total",
         "1 - ε is shared out as well; the classes get ε of the row's sum."),
        ("return (1 - label_smoothing) * q", "return (1 + label_smoothing) * q",
         "the targets have grown: they keep 1 - ε of what they were."),
    ),
    steps(
        """
        def soft_cross_entropy_forward(z, q):
            s = z - z.max(axis=1, keepdims=True)
            log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
            loss = -(q * log_p).sum(axis=1).mean()
            return loss, (np.exp(log_p), q)
        """,
        ("-(q * log_p)", "(q * log_p)", "the sign is flipped: the loss is MINUS the sum of q · log p."),
        (".sum(axis=1).mean()", ".sum()", "the loss is the sum over the rows; it is their mean."),
        (".sum(axis=1).mean()", ".mean()",
         "the mean runs over classes too; SUM over the C = {C} classes, and average over the rows."),
        (".sum(axis=1).mean()", ".sum() / q.sum()",
         "the sum is divided by that of all targets; divide by N, whatever the targets sum to."),
        ("q * log_p", "q * np.exp(log_p)", "this has p for log p."),
        ("q * log_p", "np.exp(log_p) * np.log(q)",
         "q and p are exchanged: q · log p, the logarithm of the probabilities."),
        ("q * log_p", "q * z", "the logits stand where log softmax(z) has to stand."),
        ("q * log_p", "q / q.sum(axis=1, keepdims=True) * log_p",
         "the targets were made to sum to 1; a row may weigh more, and is taken as it is."),
        ("q * log_p", "(q * log_p - q * np.log(q))",
         "the entropy of q is taken off, as in a KL divergence; here the loss is -Σ q · log p."),
        ("q * log_p", "(q * log_p + (1 - q) * np.log(1 - np.exp(log_p)))",
         "this is the loss of C yes-or-no questions; for one distribution it is -Σ q · log p."),
        ("q * log_p", "q.max(axis=1, keepdims=True) * log_p * (q == q.max(axis=1, keepdims=True))",
         "only the class with the largest target counts; every class counts with its own."),
        ("np.exp(s).sum(axis=1, keepdims=True)", "np.exp(s).sum(axis=0, keepdims=True)",
         "the softmax runs over the rows (axis 0); it runs over the classes."),
        ("np.exp(s).sum(axis=1, keepdims=True)", "np.exp(s).mean(axis=1, keepdims=True)",
         "the exponentials are averaged in the softmax; it is their sum."),
        ("- np.log(np.exp(s)", "- np.log2(np.exp(s)",
         "the logarithm in the softmax is to the base 2; it is the natural one, np.log."),
    ),
    steps(
        """
        def soft_cross_entropy_backward(dloss, cache):
            p, q = cache
            total = q.sum(axis=1, keepdims=True)
            return (p * total - q) * dloss / len(q)
        """,
        ("p * total - q", "p - q",
         "p - q is right only where a row of q sums to 1; in general it is p · Σ_c q_c - q."),
        ("p * total - q", "q - p * total", "the sign is flipped: p · Σ_c q_c - q."),
        ("p * total - q", "p * total", "the targets are not subtracted: p · Σ_c q_c - q."),
        ("p * total - q", "-q", "only the targets are there; the softmax pushes back with p · Σ_c q_c."),
        ("p * total - q", "p - q / total",
         "the row was divided by Σ_c q_c; a row that weighs more has a larger gradient: p · Σ_c q_c - q."),
        ("p * total - q", "p * q - q", "p is multiplied by each target; it is multiplied by their sum, Σ_c q_c."),
        ("p * total - q", "p * (p * total - q)", "there is a factor p too many."),
        ("p * total - q", "-q / p", "-q / p is the gradient with respect to p; go on through the softmax."),
        ("q.sum(axis=1, keepdims=True)", "q.sum(axis=0, keepdims=True)",
         "the sum of the targets runs over the rows; each row has its own, axis 1."),
        ("q.sum(axis=1, keepdims=True)", "q.sum()",
         "the sum of the targets is that of all rows; each row has its own."),
        ("q.sum(axis=1, keepdims=True)", "q.max(axis=1, keepdims=True)",
         "p is multiplied by the largest target; it is Σ_c q_c, the sum of the row."),
        (" / len(q)", "", "the 1/N is missing: the loss is a mean over N = {N} rows."),
        (" / len(q)", " / q.size", "it is divided by N·C; the loss is a mean over the N rows only."),
        (" / len(q)", " / q.shape[1]", "it is divided by C = {C}; the loss is a mean over the N rows."),
        (" / len(q)", " / q.sum()", "it is divided by the sum of all targets; the loss is a mean over the N rows."),
        (" * dloss", "", "dloss is not used: it multiplies everything."),
    ),
    steps(
        """
        def silu_forward(x):
            s = 1 / (1 + np.exp(-x))
            y = x * s
            return y, (x, s)
        """,
        ("y = x * s", "y = s", "this is σ(x) alone; SiLU is x · σ(x)."),
        ("y = x * s", "y = np.maximum(x, 0)", "this is the ReLU; SiLU is x · σ(x)."),
        ("y = x * s", "y = x * np.tanh(x)", "this is x · tanh x; SiLU is x · σ(x)."),
        ("y = x * s", "y = x * np.tanh(np.log1p(np.exp(x)))",
         "this is mish, x · tanh(log(1 + e^x)); SiLU is x · σ(x)."),
        ("y = x * s", "y = x / (1 + np.exp(-1.702 * x))",
         "this is x · σ(1.702·x), an approximation of GELU; SiLU is x · σ(x)."),
        ("y = x * s", "y = np.maximum(x, 0) * s",
         "negative numbers became 0; SiLU lets a little of them through, x · σ(x)."),
        ("y = x * s", "y = x * (1 - s)", "the factor is 1 - σ(x); it is σ(x), with e^-x in it and not e^x."),
        ("y = x * s", "y = x + s", "σ(x) is added; it is a factor."),
        ("y = x * s", "y = s * s", "this is σ(x)²; SiLU is x · σ(x)."),
        ("y = x * s", "y = x * s * (1 - s)", "the factor is σ · (1 - σ), its derivative; SiLU itself is x · σ(x)."),
        ("y = x * s", "y = np.log1p(np.exp(x))", "this is softplus, log(1 + e^x); SiLU is x · σ(x)."),
        ("1 / (1 + np.exp(-x))", "1 / (1 - np.exp(-x))", "the sign before the exponential is flipped: 1 + e^-x."),
        ("1 / (1 + np.exp(-x))", "np.exp(x) / (1 + np.exp(x))",
         "e^x / (1 + e^x) is ∞/∞, NaN, for large x; 1 / (1 + e^-x) is not."),
    ),
    steps(
        """
        def silu_backward(dy, cache):
            x, s = cache
            slope = s + x * s * (1 - s)
            return dy * slope
        """,
        ("slope = s + x * s * (1 - s)", "slope = s",
         "the second term of the product rule is missing: x · σ · (1 - σ)."),
        ("slope = s + x * s * (1 - s)", "slope = x * s * (1 - s)",
         "the first term of the product rule is missing: σ(x), from the x in front."),
        ("slope = s + x * s * (1 - s)", "slope = s * (1 - s)",
         "this is the derivative of σ; that of x · σ(x) has two terms."),
        ("slope = s + x * s * (1 - s)", "slope = s + s * (1 - s)",
         "the factor x is missing in the second term: x · σ · (1 - σ)."),
        ("slope = s + x * s * (1 - s)", "slope = s + x * (1 - s)",
         "the factor σ is missing in the second term: x · σ · (1 - σ)."),
        ("slope = s + x * s * (1 - s)", "slope = s + x * s",
         "the factor 1 - σ is missing in the second term: x · σ · (1 - σ)."),
        ("slope = s + x * s * (1 - s)", "slope = s - x * s * (1 - s)", "the second term is subtracted; it is added."),
        ("slope = s + x * s * (1 - s)", "slope = (x > 0)", "this is the derivative of the ReLU."),
        ("slope = s + x * s * (1 - s)", "slope = 1 + x * s * (1 - s)", "the first term is 1; it is σ(x)."),
        ("slope = s + x * s * (1 - s)", "slope = s + x * s * (1 + s)", "σ' is σ · (1 - σ), not σ · (1 + σ)."),
        ("slope = s + x * s * (1 - s)", "slope = s + x * s * (1 - x * s)",
         "σ' = σ · (1 - σ), with σ itself in the bracket, not y."),
        ("slope = s + x * s * (1 - s)", "slope = s + dy * s * (1 - s)",
         "dy stands in the place of x in the second term."),
        ("slope = s + x * s * (1 - s)", "slope = x * s", "this is y; the derivative was asked for."),
        ("return dy * slope", "return slope", "dy is not used: it multiplies the slope."),
        ("return dy * slope", "return dy + slope", "dy is added; it multiplies the slope."),
    ),
    steps(
        """
        def patch_covariance(x, k):
            n, h, w, c = x.shape
            kh, kw = k
            oh, ow = h - kh + 1, w - kw + 1
            pixels = [x[:, i : i + oh, j : j + ow] for i in range(kh) for j in range(kw)]
            a = np.stack(pixels, axis=3).reshape(-1, kh * kw * c)
            a = a - a.mean(axis=0)
            return a.T @ a / len(a)
        """,
        ("a = a - a.mean(axis=0)", "pass",
         "the mean is not subtracted: this is the mean of a·aᵀ, and the covariance is that of (a - ā)(a - ā)ᵀ."),
        ("a.mean(axis=0)", "a.mean()",
         "one mean of everything was subtracted; each of the D numbers has its own: axis=0."),
        ("a.mean(axis=0)", "a.mean(axis=1, keepdims=True)",
         "each patch lost its own mean; subtract the mean of each of the D numbers over all patches."),
        ("/ len(a)", "", "the products are summed; the covariance is their mean over all patches."),
        ("/ len(a)", "/ (len(a) - 1)", "it is divided by M - 1; here it is the mean over the M patches."),
        ("/ len(a)", "/ n", "it is divided by N = {N}, the number of images; divide by the number of patches."),
        ("/ len(a)", "/ (n * h * w)", "it is divided by N·H·W, the number of pixels; there are N·OH·OW patches."),
        ("a = a - a.mean(axis=0)", "a = (a - a.mean(axis=0)) / a.std(axis=0)",
         "the numbers were divided by their deviation: this is the correlation, not the covariance."),
        ("np.stack(pixels, axis=3)", "np.stack(pixels, axis=4)",
         "the order in a patch is (C, KH, KW), channels first; it is (KH, KW, C), as the numbers lie in x."),
        ("for i in range(kh) for j in range(kw)]", "for j in range(kw) for i in range(kh)]",
         "the order in a patch is (KW, KH, C); it is (KH, KW, C): down first."),
        ("for i in range(kh) for j in range(kw)]", "for i in range(kh)[::-1] for j in range(kw)[::-1]]",
         "the pixels of a patch are in the opposite order: the upper left one is first."),
        ("kh, kw = k", "kw, kh = k", "the two numbers of k are exchanged: height comes first."),
        ("reshape(-1, kh * kw * c)", "reshape(-1, kh * kw * c)[:: kh * kw]",
         "only some of the patches were taken; there is one at every place."),
        ("return a.T @ a / len(a)", "return np.diag((a * a).mean(axis=0))",
         "only the variances are there; the covariances of two numbers stand beside the diagonal."),
        ("return a.T @ a / len(a)", "return np.linalg.inv(a.T @ a / len(a))", "this is the inverse of the covariance."),
        ("[x[:, i : i + oh, j : j + ow] for", "[x[:, i : i + oh : kh, j : j + ow : kw] for",
         "patches stand side by side, a step of k apart; there is one at EVERY place: N·OH·OW patches."),
        ("h - kh + 1, w - kw + 1", "h - kh, w - kw",
         "the last row and the last column of places are missing: there are H - KH + 1 and W - KW + 1."),
    ),
    steps(
        """
        def whitening_filters(x, k, eps):
            values, vectors = np.linalg.eigh(patch_covariance(x, k))
            values, vectors = values[::-1], vectors[:, ::-1]
            scale = 1 / np.sqrt(np.maximum(values, 0) + eps)
            filters = vectors * scale
            both = np.concatenate([filters, -filters], axis=1)
            return both.reshape(*k, x.shape[3], -1).astype(x.dtype)
        """,
        ("values, vectors = values[::-1], vectors[:, ::-1]", "pass",
         "the eigenvalues rise; filter 0 is that of the largest: turn both around, [::-1] and [:, ::-1]."),
        ("values[::-1], vectors[:, ::-1]", "values, vectors[:, ::-1]",
         "the vectors are turned around but the values are not: each vector has its own value."),
        ("values[::-1], vectors[:, ::-1]", "values[::-1], vectors",
         "the values are turned around but the vectors are not: each vector has its own value."),
        ("values[::-1], vectors[:, ::-1]", "values[::-1], vectors[::-1]",
         "the rows of the matrix were turned around; the eigenvectors are its COLUMNS: [:, ::-1]."),
        ("values[::-1], vectors[:, ::-1]", "values[::-1], vectors.T[:, ::-1]",
         "the ROWS of the matrix were taken as eigenvectors; eigh gives one in each COLUMN."),
        ("filters = vectors * scale", "filters = vectors.T * scale",
         "the matrix of vectors is transposed: eigh gives an eigenvector in each COLUMN."),
        ("filters = vectors * scale", "filters = vectors * scale[:, None]",
         "the rows were divided by the roots; column d belongs to λ_d, so the columns are."),
        ("filters = vectors * scale", "filters = vectors", "the vectors are not divided by √(λ_d + eps)."),
        ("filters = vectors * scale", "filters = vectors * scale @ vectors.T",
         "this is the whitening that stays nearest to the pixels, V Λ^-½ Vᵀ; the filters are the columns of V Λ^-½."),
        ("1 / np.sqrt(np.maximum(values, 0) + eps)", "1 / (np.maximum(values, 0) + eps)",
         "the root is missing: divide by √(λ_d + eps), the deviation, not the variance."),
        ("1 / np.sqrt(np.maximum(values, 0) + eps)", "np.sqrt(np.maximum(values, 0) + eps)",
         "the vectors were multiplied by the root; divide by it."),
        ("1 / np.sqrt(np.maximum(values, 0) + eps)", "1 / np.sqrt(np.maximum(values, 0))",
         "eps is forgotten: √(λ_d + eps)."),
        ("values, 0) + eps)", "values, 0) + 1e-5)", "eps is not used: there is 1e-5, whatever `eps` says."),
        ("1 / np.sqrt(np.maximum(values, 0) + eps)", "1 / (np.sqrt(np.maximum(values, 0)) + eps)",
         "eps is added to the root; it stands inside, √(λ_d + eps)."),
        ("1 / np.sqrt(np.maximum(values, 0) + eps)", "1 / np.sqrt(np.maximum(values, eps))",
         "the eigenvalues were kept above eps; eps is added to each."),
        ("[filters, -filters]", "[filters, filters]", "both halves are alike; the second is MINUS the first."),
        ("np.concatenate([filters, -filters], axis=1)", "filters",
         "the second half, minus the filters, is missing: 2·D of them."),
        ("np.concatenate([filters, -filters], axis=1)", "np.stack([filters, -filters], axis=2)",
         "each filter is followed by its opposite; first all D of them, then all their opposites."),
        ("both.reshape(*k, x.shape[3], -1)", "both.T.reshape(*k, x.shape[3], -1)",
         "the matrix (2·D, D) was reshaped; (D, 2·D) is (KH, KW, C, 2·D), a filter in each column."),
        ("both.reshape(*k, x.shape[3], -1)", "both.T.reshape(-1, *k, x.shape[3])",
         "the axis of the filters is first; it is last, (KH, KW, C, 2·D)."),
        ("both.reshape(*k, x.shape[3], -1)", "both.reshape(x.shape[3], *k, -1).transpose(1, 2, 0, 3)",
         "the rows were taken as (C, KH, KW); they are (KH, KW, C)."),
        ("both.reshape(*k, x.shape[3], -1)", "both",
         "the filters are still a matrix (D, 2·D); it is (KH, KW, C, 2·D)."),
    ),
)  # fmt: skip
