"""What a diagnosis says: wirings by name, each proved or only possible, with its numbers and what to type.

Design: `WIRINGS` is the one table. The command's --help, the report and docs/doctor.md have a line for each entry, and
a test holds the page to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wiring:
    """A way to join network, normaliser and loss wrongly. shown_by: what has to be brought to prove it."""

    title: str
    shown_by: str
    advice: str


BATCH = "a batch: outputs, labels, loss"
SNAPSHOTS = "two snapshots of the parameters, before and after an epoch"

WIRINGS = {
    "double_softmax": Wiring(
        "normalised twice",
        f"{BATCH}; or, once it is saturated, a curve of loss and accuracy with --classes",
        "give the loss the scores: no softmax at the end of the model before a cross entropy, which has its own",
    ),
    "probabilities_for_logarithms": Wiring(
        "probabilities where logarithms are wanted",
        BATCH,
        "take the logarithm inside: a cross entropy of the scores, or an NLL of log_softmax(scores)",
    ),
    "scores_for_logarithms": Wiring(
        "scores where logarithms are wanted",
        BATCH,
        "a cross entropy of the scores, or an NLL of log_softmax(scores)",
    ),
    "batch_axis": Wiring(
        "softmax over the samples of the batch",
        "a batch of at least 2: outputs, labels",
        "normalise over the classes, the last axis: softmax(scores, dim=1) in PyTorch, axis=-1 elsewhere",
    ),
    "batch_shares": Wiring(
        "shares of the whole batch (a Taylor softmax without its logarithm, say)",
        f"{BATCH}, of at least 2",
        "divide by the sum of each row, and take the logarithm of the shares: NLL of log p",
    ),
    "unshifted_softmax1": Wiring(
        "softmax1 whose 1 was not shifted with the scores",
        "a batch of at least 2: the probabilities of the classes",
        "after subtracting the maximum m, the 1 is e^(-m): p = e^(z - m) / (e^(-m) + Σ e^(z - m)), m = max(0, max z)",
    ),
    "leaked_mass": Wiring(
        "probability given to classes that do not exist",
        f"{BATCH}, with --all-classes (all_classes=True): there is no class 'none of these'",
        "have exactly C leaves or outputs, or divide the probabilities of the C classes by their sum",
    ),
    "missing_decision": Wiring(
        "the last decision of a tree is not in the loss",
        f"{BATCH}; the outputs are log-probabilities of all classes, of a heap or a tree by halving in label order",
        "let the loop over the path run to the leaf: its last factor decides between the two children of the last node",
    ),
    "noise_in_evaluation": Wiring(
        "noise, or dropout, in evaluation",
        "the outputs of one batch, evaluated twice: outputs, again",
        "model.eval() in PyTorch, training=False in Keras; and draw noise in training only",
    ),
    "untrained_parameters": Wiring(
        "parameters that are not trained",
        f"{SNAPSHOTS}; or, in PyTorch, the model and its optimiser",
        "give the optimiser all parameters: optimizer = SGD(model.parameters(), …) after the head is part of the model",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One wiring. proved: the numbers of `evidence` leave nothing else; if not, `bring` is what would decide it."""

    wiring: str
    proved: bool
    evidence: str
    bring: str = ""

    @property
    def title(self) -> str:
        """The wiring in words."""
        return WIRINGS[self.wiring].title

    @property
    def advice(self) -> str:
        """What to type instead."""
        return WIRINGS[self.wiring].advice


@dataclass(frozen=True)
class Diagnosis:
    """What was found. facts: what the numbers are, a sentence each; looked_for: wirings that this input could show."""

    facts: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    looked_for: frozenset[str] = field(default_factory=frozenset)

    @property
    def named(self) -> tuple[str, ...]:
        """The wirings that are proved, by their names in `WIRINGS`."""
        return tuple(dict.fromkeys(found.wiring for found in self.findings if found.proved))

    @property
    def possible(self) -> tuple[str, ...]:
        """Those that could be, and are not proved."""
        found = dict.fromkeys(found.wiring for found in self.findings if not found.proved)
        return tuple(name for name in found if name not in self.named)

    def __add__(self, other: Diagnosis) -> Diagnosis:
        return Diagnosis(self.facts + other.facts, self.findings + other.findings, self.looked_for | other.looked_for)

    def __str__(self) -> str:
        lines = [f"- {fact}" for fact in self.facts]
        for finding in sorted(self.findings, key=lambda finding: not finding.proved):
            lines += ["", f"{'PROVED' if finding.proved else 'COULD BE'}: {finding.title}", f"  {finding.evidence}"]
            lines.append(f"  type: {finding.advice}" if finding.proved else f"  to decide it, bring {finding.bring}")
        if not self.findings:
            lines += ["", "Nothing is wrong that these numbers can show."]
        unseen = [name for name in WIRINGS if name not in self.looked_for and name not in self.named]
        if unseen:
            lines += ["", "Not to be seen here:"]
            lines += [f"- {WIRINGS[name].title}: bring {WIRINGS[name].shown_by}" for name in unseen]
        return "\n".join(lines)
