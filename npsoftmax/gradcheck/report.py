"""What a gradient check found: facts in a few lines, and the same as fields."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from npsoftmax.gradcheck.numeric import Slope

# More than this share of the elements at a kink, and a check says too little to pass.
MOST_SKIPPED = 0.2


@dataclass(frozen=True)
class WrongElement:
    """One element, or one direction (index None), where analytic and numeric gradient differ."""

    index: tuple[int, ...] | None
    analytic: float
    slope: Slope

    @property
    def numeric(self) -> float:
        return self.slope.value

    @property
    def size(self) -> float:
        return max(abs(self.analytic), abs(self.numeric))

    @property
    def relative_error(self) -> float:
        return abs(self.analytic - self.numeric) / self.size


@dataclass
class TensorReport:
    """One gradient: `checked` of `size` elements were compared, `wrong` of these differ, `skipped` sit at a kink."""

    name: str
    size: int = 0
    checked: int = 0
    skipped: int = 0
    wrong: int = 0
    used: float = 0.0  # the largest share of the tolerance that an element or a direction uses
    first: WrongElement | None = None
    direction: WrongElement | None = None
    ratio: float | None = None  # analytic / numeric, where it is the same in every wrong element
    problems: list[str] = field(default_factory=list)  # no number to compare: missing, shape, dtype, NaN, kinks

    @property
    def label(self) -> str:
        """The gradient of `thing` is `dthing`: 'fc1.w' -> 'fc1.dw'."""
        path, dot, last = self.name.rpartition(".")
        return f"{path}{dot}d{last}"

    @property
    def ok(self) -> bool:
        return not self.problems and self.first is None and self.direction is None

    def lines(self) -> list[str]:
        """The facts that go below the line of this tensor."""
        found = [*self.problems]
        if self.first is not None:
            place = ", ".join(map(str, self.first.index or ()))
            found.append(f"{self.wrong} of {self.checked} elements compared are wrong")
            found.append(f"first wrong element  {self.label}[{place}]  {_numbers(self.first)}")
        elif self.direction is not None:
            agree = f"all {self.checked} elements compared agree, but " if self.checked else ""
            found.append(f"{agree}along a random direction  {_numbers(self.direction)}")
        if self.ratio is not None:
            found.append(f"analytic / numeric = {self.ratio:.6g} in every wrong element")
        return found

    def count(self) -> str:
        """How much was compared."""
        kinks = f", {self.skipped} at a kink skipped" if self.skipped else ""
        return f"{self.checked} of {self.size} elements{kinks}"


@dataclass
class Report:
    """The outcome for one pair, layer, head or model; `str(report)` is its text, `assert_ok()` its verdict."""

    name: str
    tensors: list[TensorReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems and all(t.ok for t in self.tensors)

    @property
    def worst(self) -> float:
        """The largest share of its tolerance that any number uses: above 1 is wrong, inf is nothing to compare."""
        if self.problems or any(t.problems for t in self.tensors):
            return math.inf
        return max((t.used for t in self.tensors), default=0.0)

    def __getitem__(self, name: str) -> TensorReport:
        """The report of the tensor called `name`: 'x', 'fc1.w'."""
        return {t.name: t for t in self.tensors}[name]

    def __str__(self) -> str:
        width = max((len(t.label) for t in self.tensors), default=0)
        verdict = f"ok, {self.worst:.2g} of the tolerance used" if self.ok else "WRONG"
        lines = [f"gradients of {self.name}: {verdict}", *(f"    {p}" for p in self.problems)]
        for t in self.tensors:
            lines.append(f"  {t.label:{width}}  {'ok   ' if t.ok else 'WRONG'}  {t.count()}")
            lines += [f"      {line}" for line in t.lines()]
        return "\n".join(lines)

    def assert_ok(self) -> Report:
        """Raises AssertionError with the text of the report if anything is wrong."""
        if not self.ok:
            raise AssertionError(str(self))
        return self


def _numbers(found: WrongElement) -> str:
    allowed = found.slope.tolerance(found.analytic) / found.size
    return (
        f"analytic {found.analytic:+.8g}, numeric {found.numeric:+.8g}, "
        f"relative error {found.relative_error:.1e} (allowed {allowed:.1e})"
    )
