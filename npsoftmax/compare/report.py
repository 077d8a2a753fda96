"""The report of a comparison: report.md with figures/*.svg beside it, and report.html, which holds everything itself.

Design: both are made from the same tables and figures. The page needs no network and no script; figures are SVG inside
`img` tags, so that their names cannot clash. It is dark where the reader's system asks for that.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from npsoftmax.compare.claims import claim_table
from npsoftmax.compare.collect import RowResult, collect, environment
from npsoftmax.compare.figures import all_figures
from npsoftmax.compare.plan import Comparison
from npsoftmax.compare.rivals import rival_table
from npsoftmax.compare.tables import Table, all_tables
from npsoftmax.errors import InputError
from npsoftmax.files import write_replacing
from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tables break before ± when they get narrow, and then scroll by themselves: the shadow at an edge says that there is
# more. Only they may use a whole wide screen.
STYLE = """
:root { color-scheme: light dark; --ink: #222; --quiet: #555; --page: #fff; --line: #ddd; --rule: #888;
        --shadow: #0003; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --quiet: #aaa; --page: #1b1b1b; --line: #3a3a3a; --rule: #888; --shadow: #000; }
}
@media print { :root { color-scheme: light; --ink: #222; --quiet: #555; --page: #fff; --line: #ddd; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto;
       max-width: 1800px; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p { max-width: 46rem; } .small { color: var(--quiet); font-size: .875rem; }
.wide { overflow-x: auto; background: linear-gradient(to right, var(--page) 1rem, transparent) 0 / 3rem 100%,
        linear-gradient(to left, var(--page) 1rem, transparent) 100% / 3rem 100%,
        linear-gradient(to right, var(--shadow), transparent) 0 / 1rem 100%,
        linear-gradient(to left, var(--shadow), transparent) 100% / 1rem 100%;
        background-repeat: no-repeat; background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { border-bottom: 2px solid var(--rule); vertical-align: bottom; }
td, td span { white-space: nowrap; } td.pm { white-space: normal; } td span { display: inline-block; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
td.text, th.text { text-align: left; white-space: normal; min-width: 6rem; } td.long { min-width: 13rem; }
wbr { display: none; } /* it would break where nowrap forbids it */
@media (max-width: 800px) { wbr { display: inline; } }
th:first-child, td:first-child { max-width: min(20rem, 40vw); overflow-wrap: break-word; white-space: normal; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); gap: 1rem; }
.figures img { width: 100%; height: auto; max-width: 520px; }
"""
LONG = 40  # letters from which a text in a cell has a wide column
# In the page's figures, and only there, white, black and the greys of the house style change places in the dark. The
# letters in a confusion matrix have colours of their own, which stay.
DARK = """<style>@media (prefers-color-scheme: dark) {
[style*="fill: #ffffff"] { fill: #1b1b1b !important } [style*="stroke: #ffffff"] { stroke: #1b1b1b !important }
[style*="fill: #333333"] { fill: #dddddd !important } [style*="stroke: #333333"] { stroke: #dddddd !important }
[style*="fill: #000000"] { fill: #eeeeee !important } [style*="stroke: #000000"] { stroke: #eeeeee !important }
[style*="fill: #222222"] { fill: #eeeeee !important } [style*="stroke: #222222"] { stroke: #eeeeee !important }
[style*="stroke: #0072b2"] { stroke: #3a9bd9 !important } [style*="fill: #0072b2"] { fill: #3a9bd9 !important }
}</style>"""


def write_report(comparison: Comparison) -> list[Path]:
    """Write report.md, report.html, scores.csv and figures/ into the comparison's folder; the paths.

    InputError where nothing is finished yet.
    """
    results = collect(comparison)
    if not any(result.runs for result in results):
        why = next((outcome.missing for result in results for outcome in result.outcomes), "it has no rows")
        raise InputError(f"no run in {comparison.path} is finished yet, so there is no report ({why}).")
    title = comparison.title or f"{counted(len(results), 'row')} compared"
    beside = rival_table(comparison.path, comparison.rows.values())
    claims = claim_table(results)
    tables = [*([claims] if claims else []), *all_tables(results), *([beside] if beside else [])]
    about = circumstances(comparison, results)
    pictures = {name: as_svg(figure) for name, figure in all_figures(results).items()}
    folder = comparison.path / "figures"
    folder.mkdir(exist_ok=True)
    files = {folder / f"{name}.svg": svg for name, svg in pictures.items()}
    files |= {
        comparison.path / "scores.csv": as_csv(next(table for table in tables if table.heading == "Scores")),
        comparison.path / "report.md": as_markdown(title, about, tables, list(pictures)),
        comparison.path / "report.html": as_html(title, about, tables, pictures),
    }
    for path, text in files.items():
        write_replacing(path, text.encode())
    return list(files)


def circumstances(comparison: Comparison, results: Sequence[RowResult]) -> list[str]:
    """What was run where, in sentences."""
    runs = [run for result in results for run in result.runs]
    missing = sum(outcome.run is None for result in results for outcome in result.outcomes)
    lines = [
        f"Data: {runs[0].summary['dataset']}, {runs[0].summary['train_images']:,} "
        f"{runs[0].summary.get('samples', 'images')} to train. "
        f"{counted(len(runs), 'run')}, {duration(runs)} in all, by {the_machine(comparison)}.",
        *(f"Typed: {command}" for command in comparison.commands),
    ]
    shortened: dict[str, list[str]] = {}
    for result in results:
        if result.shortened:
            shortened.setdefault(result.shortened, []).append(result.row.name)
    if shortened:
        told = "; ".join(f"{', '.join(names)} ({how})" for how, names in shortened.items())
        lines.append(f"SHORTENED, and so no reproduction: {told}.")
    if missing:
        lines.append(f"Missing: {counted(missing, 'run')}; the last table says which and why.")
    return lines


def counted(number: int | str, thing: str) -> str:
    """'1 run', '2 runs'."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def duration(runs: Sequence[Run]) -> str:
    """What the epochs of these runs took, one after another."""
    seconds = sum(float(np.nansum(run.epochs.get("seconds", np.zeros(1)))) for run in runs)
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def the_machine(comparison: Comparison) -> str:
    """Program, day and machine of the first run; the commits of all."""
    folders = [job.folder for job in comparison.jobs() if (job.folder / "env.json").is_file()]
    env = environment(folders[0])
    commits = dict.fromkeys(found for folder in folders if (found := environment(folder).get("commit")))
    commit = f", commit {' and '.join(commits)}" if commits else ""
    threads = counted(env.get("threads", "?"), "thread")
    where = f"{env.get('processor', 'unknown processor')}, {threads}"
    how = f"on {env['device']}" if env.get("device") else f"kernels: {env.get('kernels', '?')}"
    return (
        f"npsoftmax {env.get('npsoftmax', '?')}{commit}, {str(env.get('started', 'unknown day'))[:10]}; "
        f"{where}, {env.get('backend', '?')}, {how}"
    )


# ---------------------------------------------------------------- forms
def as_svg(figure: Figure) -> str:
    """The figure as SVG, the same bytes every time."""
    file = io.StringIO()
    save_figure(figure, file, "svg")
    return file.getvalue()


def as_csv(table: Table) -> str:
    """The table as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return file.getvalue()


def as_markdown(title: str, about: Sequence[str], tables: Sequence[Table], figures: Sequence[str]) -> str:
    """The report in Markdown, with links to figures/."""
    parts = [f"# {title}", *about]
    for table in tables:
        rule = ["---" if place == 0 or name in table.text else "---:" for place, name in enumerate(table.columns)]
        lines = [table.columns, rule, *table.rows]
        parts += [f"## {table.heading}", table.about]
        parts.append("\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines))
    parts += ["## Figures", *(f"![{name}](figures/{name}.svg)" for name in figures)]
    return "\n\n".join(parts) + "\n"


def as_html(title: str, about: Sequence[str], tables: Sequence[Table], figures: dict[str, str]) -> str:
    """The report as one page that needs nothing else."""
    body = [f"<h1>{html.escape(title)}</h1>", *(f'<p class="small">{html.escape(line)}</p>' for line in about)]
    for table in tables:
        body += [f"<h2>{html.escape(table.heading)}</h2>", f"<p>{html.escape(table.about)}</p>", html_table(table)]
    images = "\n".join(
        f'<img alt="{html.escape(name.replace("_", " "))}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(dark_too(svg).encode()).decode()}">'
        for name, svg in figures.items()
    )
    body += ["<h2>Figures</h2>", f'<div class="figures">\n{images}\n</div>']
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    content = "\n".join(body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{content}\n</body></html>\n'


def dark_too(svg: str) -> str:
    """The figure with colours for a dark page as well, which it takes where the reader's system asks for one."""
    before, tag, after = svg.partition("<defs>")
    return f"{before}{DARK}{tag}{after}"


def html_table(table: Table) -> str:
    """One table that breaks before ± and scrolls by itself where it is too wide."""

    def cell(tag: str, name: str, text: str, first: bool) -> str:
        shown = html.escape(text)
        if first:  # where the name of a row may break on a phone
            shown = re.sub(r"([/_=])", r"\1<wbr>", shown)
        kinds = ["text"] if name in table.text else []
        kinds += ["long"] if kinds and len(text) > LONG else []
        if not first and not kinds and " ± " in shown:
            kinds, shown = ["pm"], shown.replace(" ± ", " <span>± ") + "</span>"
        of = f' class="{" ".join(kinds)}"' if kinds else ""
        return f"<{tag}{of}>{shown}</{tag}>"

    def line(tag: str, cells: Sequence[str]) -> str:
        drawn = (
            cell(tag, name, text, number == 0)
            for number, (name, text) in enumerate(zip(table.columns, cells, strict=True))
        )
        return f"<tr>{''.join(drawn)}</tr>"

    rows = "\n".join([line("th", table.columns), *(line("td", row) for row in table.rows)])
    name = html.escape(table.heading, quote=True)
    return f'<div class="wide" role="region" tabindex="0" aria-label="{name}"><table>\n{rows}\n</table></div>'
