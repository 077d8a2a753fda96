"""The likely cause of a wrong answer: a sentence that has been proved on every trial, or nothing. Never a guess.

The catalogue of mistakes is asked first, and only where a judged output is wrong (of a cache there are facts alone): a
mistake is named if all that it spoils is, in every element and on every trial, what the student returned. There are
more trials here than are graded, of another seed, so that two sizes that happen to be equal name nobody. What the
catalogue does not know is left to the rules of `rules.py`, which hold for any exercise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.grading.agreement import Answers
from npsoftmax.grading.findings import Findings
from npsoftmax.grading.mistakes import Mistake, all_mistakes, all_steps
from npsoftmax.grading.mistakes.arguments import changed_arguments
from npsoftmax.grading.patterns import raised_rule
from npsoftmax.grading.rules import batch_rule, factor_rule, output_rule, pattern_rule
from npsoftmax.grading.trial import Outcome, Trial, as_array, close, trials_of

Function = Callable[..., Any]
MORE = 104_729  # added to the seed for the further trials


@dataclass(frozen=True)
class Cause:
    """A sentence, and the id of the catalogued mistake that it belongs to ("" for a general rule)."""

    sentence: str
    mistake: str = ""


def likely_causes(function: Function, findings: Findings, others: list[Trial]) -> list[Cause]:
    """The causes of what was found, mostly one; `others` are the exercise's other trials."""
    first, outcome = findings.trial, findings.outcome
    judged = [o.name for o in findings.outputs if o.problem and o.name != "cache"]
    if outcome.misfit or not (judged or outcome.changed or outcome.raised):
        return []
    if outcome.raised is not None:  # many mistakes end in the same exception
        return [Cause(sentence) for sentence in raised_rule(first, outcome)]
    more = trials_of(first.exercise, first.seed + MORE, first.backend)
    search = _Search(function, outcome, [first, *others, *more])
    if judged:
        return search.causes()
    changes = next((m for m in all_mistakes()[first.exercise.name] if search.changes_the_same(m)), None)
    return _told(first, changes) if changes else [Cause(_in_place(outcome))]


def _told(trial: Trial, mistake: Mistake) -> list[Cause]:
    names = {**trial.case.sizes, **trial.case.numbers}
    return [
        Cause(sentence.format(**names) if mistake.named else sentence, identity if mistake.named else "")
        for sentence, identity in zip(mistake.sentences, mistake.ids, strict=True)
    ]


def _in_place(outcome: Outcome) -> str:
    name = outcome.changed[0].partition("[")[0]
    return f"an operation such as {name} += … or {name}[…] = … changes the array that was passed in."


# ---------------------------------------------------------------- the catalogue
@functools.lru_cache(maxsize=20_000)
def _known(trial: Trial, function: Function) -> Outcome:
    """The outcome of a catalogued mistake, or of the library's function: computed once a process and trial."""
    return trial.call(function)


class _Search:
    """A student's answers on all trials (each asked for once), and what of the catalogue agrees with them."""

    def __init__(self, function: Function, first: Outcome, trials: list[Trial]):
        self.function, self.trials = function, trials
        self.exercise = trials[0].exercise
        self._outcomes = {trials[0]: first}

    def outcome(self, trial: Trial) -> Outcome:
        """What the student's function did on a trial."""
        if trial not in self._outcomes:
            self._outcomes[trial] = trial.call(self.function)
        return self._outcomes[trial]

    def right(self, trial: Trial) -> Outcome:
        """What the library's function does."""
        return _known(trial, self.exercise.reference)

    def same(self, function: Function, name: str) -> bool:
        """Whether this output is the student's on every trial."""
        return all(
            name in (theirs := self.outcome(t).outputs) and close(_known(t, function).outputs.get(name), theirs[name])
            for t in self.trials
        )

    def spoils(self, function: Function, trials: Iterable[Trial]) -> list[str]:
        """The outputs in which a mistake differs from the library on any of the trials."""
        return [
            name
            for name in self.exercise.outputs
            if any(not close(_known(t, function).outputs.get(name), self.right(t).outputs.get(name)) for t in trials)
        ]

    def changes_the_same(self, mistake: Mistake) -> bool:
        """Whether the mistake changes the same inputs in place as the student's function, on every trial."""
        return all(_known(t, mistake.function).changed == self.outcome(t).changed for t in self.trials)

    def explained(self, mistake: Mistake) -> list[str]:
        """The outputs that a mistake explains: all that it spoils, each equal to the student's on every trial."""
        first = self.trials[0]
        known = _known(first, mistake.function)
        if known.raised is not None or known.misfit:
            return []
        at_first = self.spoils(mistake.function, [first])
        if not at_first or not all(close(known.outputs[n], self.outcome(first).outputs.get(n)) for n in at_first):
            return []
        spoiled = self.spoils(mistake.function, self.trials)
        fits = all(self.same(mistake.function, name) and self.says_something(name) for name in spoiled)
        return spoiled if fits else []

    def says_something(self, name: str) -> bool:
        """Whether an output has a finite number on any trial: an inf or NaN everywhere may come from anything."""
        arrays = (as_array(self.outcome(trial).outputs.get(name)) for trial in self.trials)
        return any(array is not None and np.isfinite(array).any() for array in arrays)

    def causes(self) -> list[Cause]:
        """What explains the wrong outputs; where several are wrong, each may have a cause of its own."""
        self.left = self.wrong()
        found = self._from(all_mistakes()[self.exercise.name])
        found += self._by_rule(factor_rule)
        found += self._from(changed_arguments(self.exercise, self.trials[0].inputs()))
        found += self._by_rule(output_rule)
        found += self._from(self._pairs())  # many: only where nothing else is known
        found += self._scaled()
        found += self._by_rule(pattern_rule)
        return list(dict.fromkeys(found))

    def _pairs(self) -> Iterator[Mistake]:
        """Two steps changed at a time, where both concern an output that is not explained yet."""
        first = [self.trials[0]]
        for plain in all_steps().get(self.exercise.name, ()) if self.left else ():
            spoiled = {m: set(self.spoils(m.function, first)) & set(self.left) for m in plain.singles}
            yield from (both for one, other, both in plain.pairs if spoiled[one] & spoiled[other])

    def _scaled(self) -> list[Cause]:
        """A mistake, and all of it N times too large or too small: a sum and a mean taken for each other besides."""
        found: list[Cause] = []
        for mistake in all_mistakes()[self.exercise.name] if self.left else ():
            known = functools.partial(_known, function=mistake.function)
            if any(known(t).raised is not None or known(t).misfit for t in self.trials):
                continue
            for name in [n for n in self.spoils(mistake.function, self.trials) if n in self.left]:
                scaled = batch_rule(Answers(name, self.trials, self.outcome, known))
                if scaled:
                    first, *more = _told(self.trials[0], mistake)
                    both = [Cause(f"two things at once: {first.sentence}", first.mistake), *more, Cause(scaled)]
                    found += self._of(both, [name])
                    self.left.remove(name)
        return found

    def wrong(self) -> list[str]:
        """The judged outputs that are wrong on the first trial."""
        first = self.trials[0]
        yours, right = self.outcome(first).outputs, self.right(first).outputs
        return [n for n in self.exercise.outputs if not close(yours.get(n), right.get(n))]

    def _from(self, mistakes: Iterable[Mistake]) -> list[Cause]:
        """The mistakes that explain what is left; one that explains several outputs before one that explains one."""
        fit = [(self.explained(mistake), mistake) for mistake in mistakes] if self.left else []
        found: list[Cause] = []
        for explained, mistake in sorted(fit, key=lambda pair: -len(pair[0])):
            if set(explained) & set(self.left):
                found += self._of(_told(self.trials[0], mistake), explained)
                self.left = [n for n in self.left if n not in explained]
        return found

    def _by_rule(self, rule: Callable[[Answers], str]) -> list[Cause]:
        said = {name: rule(Answers(name, self.trials, self.outcome, self.right)) for name in self.left}
        self.left = [name for name in self.left if not said[name]]
        return [cause for name, sentence in said.items() if sentence for cause in self._of([Cause(sentence)], [name])]

    def _of(self, causes: list[Cause], names: list[str]) -> list[Cause]:
        """The causes, with the names of the outputs that they are about in front where others are wrong too."""
        if len(names) == len(self.wrong()):
            return causes
        return [Cause(_about(names, c.sentence), c.mistake) for c in causes]


def _about(names: list[str], sentence: str) -> str:
    return sentence if sentence.startswith(names[0]) else f"{' and '.join(names)}: {sentence}"
