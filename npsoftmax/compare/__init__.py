"""Several runs, and one report of them: `npsoftmax compare`."""

from npsoftmax.compare.collect import Outcome, RowResult, collect
from npsoftmax.compare.plan import Comparison, Row
from npsoftmax.compare.report import write_report
from npsoftmax.compare.runner import run_all

__all__ = ["Comparison", "Outcome", "Row", "RowResult", "collect", "run_all", "write_report"]
