"""`npsoftmax compare`: plans, runs that fail or are stopped, and the report."""

from __future__ import annotations

import base64
import csv
import html
import html.parser
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from dataclasses import replace

import numpy as np
import pytest

from npsoftmax.cli.compare import parse_variation, planned_rows, print_scores, typed
from npsoftmax.cli.main import main
from npsoftmax.compare import Comparison, Row, collect
from npsoftmax.compare.collect import Outcome, gap
from npsoftmax.compare.figures import all_figures, loss_figure, mean_curve, sweep_lines
from npsoftmax.compare.report import html_table, write_report
from npsoftmax.compare.rivals import rival_table
from npsoftmax.compare.runner import finished, progress_of
from npsoftmax.compare.tables import Table, all_tables, score_table, seed_table, spread
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.training import TrainConfig

QUICK = ["--data", "digits", "--limit-train", "200", "--limit-test", "100", "--model", "mlp", "--epochs", "2"]


def row(name="a", seeds=(0,), **settings):
    return Row(name, TrainConfig(**settings), seeds)


# ---------------------------------------------------------------- the plan
def test_every_row_is_run_once_before_any_is_run_twice(tmp_path):
    comparison = Comparison(tmp_path)
    comparison.add([row("a", (0, 1)), row("b", (5, 6, 7))])
    order = [(job.row.name, job.config.seed) for job in comparison.jobs()]
    assert order == [("a", 0), ("b", 5), ("a", 1), ("b", 6), ("b", 7)]


def test_rows_and_seeds_may_be_added_but_not_changed(tmp_path):
    first = Comparison(tmp_path)
    first.add([row("a", (0, 1), lr=0.1)])
    first.save()
    again = Comparison(tmp_path)
    again.add([row("a", (1, 2), lr=0.1, threads=2), row("b e/x")])
    assert again.rows["a"].seeds == (0, 1, 2)
    assert again.rows["b e/x"].folder == "b-e-x"
    with pytest.raises(InputError, match=r"row 'a' with lr = 0\.1, not 0\.2"):
        Comparison(tmp_path).add([row("a", lr=0.2)])


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no comparison.json"):
        Comparison.existing(tmp_path)
    (tmp_path / "comparison.json").write_text('{"rows": [{}]}')
    with pytest.raises(InputError, match="cannot be read"):
        Comparison(tmp_path)


def test_a_sweep_makes_a_row_of_every_combination():
    rows = planned_rows([], "gumbel_softmax", ["head.tau=0.5,2", "lr=0.1,0.2"], 2, {"epochs": 1})
    assert [r.name for r in rows] == [f"gumbel_softmax tau={tau} lr={lr}" for tau in (0.5, 2) for lr in (0.1, 0.2)]
    assert rows[2].config.head_opts == {"tau": 2} and rows[2].config.lr == 0.1
    assert rows[2].varied == {"tau": 2, "lr": 0.1} and rows[2].seeds == (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give recipes"),
        (["e3", "--heads", "softmax"], "give recipes"),
        (["e33"], "recipe"),
        (["--heads", "sofmax"], "softmax"),
        (["--heads", "softmax", "--seeds", "0"], "--seeds is 0"),
        (["--heads", "softmax", "--vary", "head.tau=1"], "option of head"),
        (["--heads", "softmax", "--vary", "lr"], "key=a,b"),
        (["--heads", "softmax", "--vary", "rate=1"], "setting in --vary"),
        (["e3", "--vary", "lr=1"], "--vary goes with --heads"),
        (["--heads", "softmax", "--head", "softmax"], "and not --head"),
        (["e3", "--lr", "1"], "--lr is fixed by the recipe"),
        (["--report", "nowhere"], "no comparison"),
    ],
)
def test_mistakes_are_named_before_anything_runs(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_values_of_a_sweep_are_read_as_options_are():
    assert parse_variation("optimizer=sgd,adam") == [("optimizer", "sgd"), ("optimizer", "adam")]
    assert parse_variation("head.bias=true") == [("head.bias", True)]


# ---------------------------------------------------------------- runs and their report
@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Three heads, two seeds; the third cannot train."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    heads = "softmax,legacy_double_softmax,log_gumbel_softmax"
    words = ["compare", "--heads", heads, "--seeds", "2", "--out", str(folder), "--title", "Three <heads>", *QUICK]
    assert main(words) == 0
    return folder, words


@pytest.fixture
def copied(compared, tmp_path):
    """A copy of their folder, to change."""
    return shutil.copytree(compared[0], tmp_path / "copy")


class Page(html.parser.HTMLParser):
    """Counts rows and collects what a page would load from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.sources, self.text = 0, [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.rows += tag == "tr"
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_report_holds_every_row_and_needs_nothing_else(compared):
    folder, _ = compared
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "Three <heads>" in page.text
    for name in ("softmax", "legacy_double_softmax", "log_gumbel_softmax"):
        assert name in page.text
    assert page.sources and all(source.startswith("data:") for source in page.sources)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for line in markdown.splitlines():
        if line.startswith("!["):
            assert (folder / line.partition("(")[2].rstrip(")")).is_file()


def test_the_report_says_what_was_typed_and_run_without_folders_of_this_machine(compared):
    folder, words = compared
    report = (folder / "report.md").read_text(encoding="utf-8")
    typed = shlex.join(["npsoftmax", *words]).replace(str(folder), "DIR")
    assert report.count(f"Typed: {typed}\n") == 1
    assert "6 runs, " in report and " minutes in all, by npsoftmax " in report
    assert str(folder) not in report
    commit = read_json(folder / "softmax" / "seed-0" / "env.json")["commit"]
    assert commit is None or f", commit {commit}, " in report


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        (["compare", "e3", "--data-dir", "/home/me/data", "--out=a b"], "e3 --data-dir DIR --out=DIR"),
        (["e3", "--title", "My e3", "--out", "/o"], "e3 --title 'My e3' --out DIR"),
    ],
)
def test_what_was_typed_is_quoted_for_any_machine(words, quoted):
    assert typed(words) == f"npsoftmax compare {quoted}"


def test_the_scores_are_means_over_the_seeds(compared):
    folder, _ = compared
    results = collect(Comparison(folder))
    with open(folder / "scores.csv", encoding="utf-8") as file:
        scores = {line["row"]: line for line in csv.DictReader(file)}
    for result in results:
        accuracies = [run.summary["test"]["accuracy"] for run in result.runs]
        assert len(accuracies) == 2
        mean, deviation = 100 * np.mean(accuracies), 100 * np.std(accuracies, ddof=1)
        assert scores[result.row.name]["accuracy %"] == f"{mean:.2f} ± {deviation:.2f}"


def cells_of(table):
    """Row name -> its cells by column."""
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_the_gap_is_that_of_the_last_epoch(compared):
    results = collect(Comparison(compared[0]))
    cells = cells_of(score_table(results))
    for result in results:
        gaps = [run.epochs["train_accuracy"][-1] - run.epochs["val_accuracy"][-1] for run in result.runs]
        assert cells[result.row.name]["train − validation"] == spread(gaps, "{:+.1f}", 100)
        assert all(np.isfinite(gaps))
        seconds = [run.summary["prepare_seconds"] + run.summary["train_seconds"] for run in result.runs]
        assert cells[result.row.name]["prepare + train s"] == spread(seconds, "{:,.0f}")
    run = results[0].runs[0]
    for what in ("train_accuracy", "val_accuracy"):
        assert gap(replace(run, epochs=run.epochs | {what: np.full(2, np.nan)})) is None


def test_every_seed_stands_by_itself(compared):
    results = collect(Comparison(compared[0]))
    found = cells_of(seed_table(results))
    for result in results:
        for seed, run in enumerate(result.runs):
            assert found[result.row.name][f"seed {seed}"] == f"{100 * run.summary['test']['accuracy']:.2f}"
    assert seed_table([replace(result, outcomes=result.outcomes[:1]) for result in results]) is None
    half = replace(results[0], outcomes=(results[0].outcomes[0], Outcome(1, None, "not begun")))
    assert cells_of(seed_table([half, *results[1:]]))["softmax"]["seed 1"] == "–"


SETTINGS = row("softmax").settings()
RIVAL = {"row": "softmax", "train": SETTINGS, "rival": "Rival 1", "threads": 8, "ours": [2, 3, 4], "theirs": [9, 6, 5]}


def write_rivals(folder, *rivals):
    (folder / "rivals.json").write_text(json.dumps({"machine": {"name": "a machine"}, "rivals": rivals}))


def test_a_rival_stands_beside_the_row_that_it_was_measured_on(tmp_path):
    assert rival_table(tmp_path, [row("softmax")]) is None
    write_rivals(tmp_path, RIVAL, RIVAL | {"row": "other"})
    table = rival_table(tmp_path, [row("log_softmax"), row("softmax")])
    assert table.rows == [("softmax", "Rival 1", "8", "3", "3.0 (2.0 to 4.0)", "6.0 (5.0 to 9.0)", "x2.00")]
    assert "a machine" in table.about
    assert rival_table(tmp_path, [row("log_softmax")]) is None


def test_a_rival_of_one_epoch_has_no_range(tmp_path):
    write_rivals(tmp_path, RIVAL | {"ours": [2], "theirs": [9]})
    assert rival_table(tmp_path, [row("softmax")]).rows[0][4:] == ("2.0", "9.0", "x4.50")


def test_a_rival_of_other_settings_is_refused(tmp_path):
    write_rivals(tmp_path, RIVAL)
    with pytest.raises(
        InputError, match=r"other settings of softmax .* benchmarks/speedrun\.py --recipe softmax --json"
    ):
        rival_table(tmp_path, [row("softmax", epochs=7)])


@pytest.mark.parametrize("change", [{"ours": ["quick"]}, {"ours": []}, {"theirs": None}])
def test_a_rival_that_cannot_be_read_is_an_error_with_its_path(change, tmp_path):
    write_rivals(tmp_path, RIVAL | change)
    with pytest.raises(
        InputError, match=r"rivals\.json cannot be read .* benchmarks/speedrun\.py --recipe RECIPE --json"
    ):
        rival_table(tmp_path, [row("softmax")])


def test_the_report_has_the_rival_and_every_commit(copied):
    comparison = Comparison(copied)
    write_rivals(copied, RIVAL | {"train": comparison.rows["softmax"].settings()})
    for seed, commit in enumerate(("abc1234", "def5678")):
        path = copied / "softmax" / f"seed-{seed}" / "env.json"
        path.write_text(json.dumps(read_json(path) | {"commit": commit}))
    write_report(comparison)
    report = (copied / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Three <heads>\n"), "as it was typed"
    assert "| softmax | Rival 1 | 8 | 3 |" in report
    assert "abc1234 and " in report and "def5678" in report


@pytest.mark.slow
def test_a_report_written_again_keeps_its_last_title(copied):
    for words in (["--title", "Others"], []):
        assert main(["compare", "--report", str(copied), *words]) == 0
        assert "# Others\n" in (copied / "report.md").read_text(encoding="utf-8")


def test_a_comparison_typed_again_keeps_its_title(compared, copied):
    words = [str(copied) if word == str(compared[0]) else word for word in compared[1]]
    where = words.index("--title")
    assert main(words[:where] + words[where + 2 :]) == 0
    assert (copied / "report.md").read_text(encoding="utf-8").startswith("# Three <heads>\n")


@pytest.mark.slow
def test_what_is_shortened_is_told_once_and_a_device_by_its_name(copied):
    comparison = Comparison(copied)
    for name, how in (("softmax", "9 epochs"), ("log_gumbel_softmax", "9 epochs"), ("legacy_double_softmax", "x")):
        row = comparison.rows[name]
        comparison.rows[name] = replace(row, config=replace(row.config, shortened=how))
    path = copied / "softmax" / "seed-0" / "env.json"
    path.write_text(json.dumps(read_json(path) | {"device": "Pretended GPU", "backend": "cupy"}))
    write_report(comparison)
    report, page = ((copied / f"report.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    told = "SHORTENED, and so no reproduction: softmax, log_gumbel_softmax (9 epochs); legacy_double_softmax (x).\n"
    assert told in report
    assert ", cupy, on Pretended GPU." in report
    assert "<td>legacy_<wbr>double_<wbr>softmax</td>" in page


def test_each_number_of_classes_has_its_line_in_the_figure_of_the_relation(copied):
    path = copied / "legacy_double_softmax" / "seed-1" / "summary.json"
    summary = read_json(path)
    summary["classes"] = 20
    summary["double_normalisation"]["if_saturated"] = np.log(np.e + 19) - summary["double_normalisation"]["accuracy"]
    path.write_text(json.dumps(summary))
    lines = all_figures(collect(Comparison(copied)))["relation"].axes[0].get_lines()
    starts = {line.get_label(): line.get_ydata()[0] for line in lines if line.get_label().startswith("ln(")}
    assert starts == pytest.approx({f"ln(e + C − 1) − accuracy, C = {n}": np.log(np.e + n - 1) for n in (10, 20)})


def test_the_relation_has_a_legend_of_its_rows_and_line(copied):
    figure = all_figures(collect(Comparison(copied)))["relation"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.partition(" (")[0] for name in names] == ["ln(e + C − 1) − accuracy, C = 10", "legacy_double_softmax"]
    assert "Hollow: not saturated" in figure.axes[0].get_title(loc="left")


@pytest.mark.slow
def test_bands_are_the_standard_deviation_that_the_note_names(compared):
    results = collect(Comparison(compared[0]))
    ax = all_figures(results)["accuracy"].axes[0]
    assert ax.get_title(loc="left") == "Line: mean of 2 seeds. Band: ± standard deviation."
    for result, line, band in zip(results, ax.lines, ax.collections, strict=False):
        accuracies = np.array([100 * run.epochs["val_accuracy"] for run in result.runs])
        np.testing.assert_allclose(line.get_ydata(), accuracies.mean(axis=0))
        edges = band.get_paths()[0].vertices
        spread_ = accuracies.std(axis=0, ddof=1)
        for epoch, (middle, off) in enumerate(zip(accuracies.mean(axis=0), spread_, strict=True), 1):
            of_epoch = edges[edges[:, 0] == epoch, 1]
            assert (of_epoch.min(), of_epoch.max()) == pytest.approx((middle - off, middle + off))


def with_runs(result, count):
    return replace(result, outcomes=result.outcomes[:count])


def test_one_seed_has_neither_band_nor_plus_minus(compared):
    results = [with_runs(result, 1) for result in collect(Comparison(compared[0]))]
    ax = all_figures(results)["accuracy"].axes[0]
    assert not ax.collections and ax.get_title(loc="left") == "One seed a row."
    table = score_table(results)
    assert "±" not in "".join(cell for line in table.rows for cell in line) and "there is no ±" in table.about
    mixed = [with_runs(results[0], 1), *collect(Comparison(compared[0]))[1:]]
    assert "standard deviation of 1 to 2 seeds; no ± where there is one." in score_table(mixed).about
    assert "mean of 1 to 2 seeds" in all_figures(mixed)["loss"].axes[0].get_title(loc="left")


def test_the_legend_of_curves_is_in_the_order_of_their_ends(compared):
    figure = all_figures(collect(Comparison(compared[0])))["accuracy"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [label[:3] for label in labels] == ["1  ", "2  ", "3  "]
    lines = {line.get_label(): line.get_ydata()[-1] for line in figure.axes[0].lines[:3]}
    best = sorted(lines, key=lambda name: -lines[name])
    assert labels == [f"{i}  {name}: {lines[name]:.1f}%" for i, name in enumerate(best, 1)]


@pytest.mark.slow
def test_many_rows_have_looks_of_their_own_and_no_bands(compared):
    first = collect(Comparison(compared[0]))[0]
    results = [replace(first, row=replace(first.row, name=f"row {i}")) for i in range(25)]
    ax = all_figures(results)["accuracy"].axes[0]
    assert not ax.collections and "Too many rows for bands" in ax.get_title(loc="left")
    assert len({(line.get_color(), line._unscaled_dash_pattern[1]) for line in ax.lines[:25]}) >= 25


def test_all_confusion_matrices_of_a_report_have_names_and_one_scale(copied):
    for head in ("softmax", "log_gumbel_softmax"):
        path = copied / head / "seed-0" / "classes.json"
        classes = read_json(path)
        names = [f"kind {i}" for i in range(2)]
        path.write_text(json.dumps(classes | {"coarse": [0, 1] * 5, "coarse_names": names}))
    figures = {name: f for name, f in all_figures(collect(Comparison(copied))).items() if name.startswith("confusion")}
    assert len(figures) == 3
    for name, figure in figures.items():
        ax, bar = figure.axes
        norm = ax.images[0].norm
        assert (norm.vmin, norm.vmax) == (0, 100) and bar.get_xlabel() == "share of the true class (%)"
        order = "0123456789" if "legacy" in name else "0246813579"
        assert "".join(label.get_text() for label in ax.get_yticklabels()) == order
        assert len(ax.patches) == (0 if "legacy" in name else 2)


def test_a_finished_run_that_lost_files_is_reported_as_far_as_it_goes(copied):
    (copied / "softmax" / "seed-0" / "metrics.csv").unlink()
    for name in ("steps.csv", "confusion.csv", "reliability.csv", "classes.json"):
        (copied / "legacy_double_softmax" / "seed-0" / name).unlink()
    for seed in (0, 1):
        (copied / "log_gumbel_softmax" / f"seed-{seed}" / "metrics.csv").unlink()
    results = collect(Comparison(copied))
    found = {table.heading: table for table in all_tables(results)}["Missing runs"].rows
    assert found[0] == ("softmax, seed 0", "finished, but without metrics.csv: not in all figures")
    assert "finished, but without steps.csv, confusion.csv, classes.json, reliability.csv" in found[1][1]
    lines = all_figures(results)["accuracy"].axes[0].lines
    assert [line.get_label() for line in lines[:2]] == ["softmax", "legacy_double_softmax"]


def test_columns_without_any_number_are_left_out(compared, monkeypatch, capsys):
    results = collect(Comparison(compared[0]))
    bare = []
    for result in results:
        outcomes = [
            replace(
                out, run=replace(out.run, summary=out.run.summary | {"test": out.run.summary["test"] | {"nll": None}})
            )
            for out in result.outcomes
        ]
        bare.append(replace(result, outcomes=tuple(outcomes)))
    assert "NLL" in score_table(results).columns and "NLL: mean" in score_table(results).about
    assert "NLL" not in score_table(bare).columns and "NLL" not in score_table(bare).about
    monkeypatch.setattr(sys.modules["npsoftmax.compare.collect"], "collect", lambda comparison: bare)
    print_scores(Comparison(compared[0]))
    assert "NLL" not in capsys.readouterr().out.splitlines()[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [np.array([1.0, np.inf]), np.array([np.nan, np.nan]), np.zeros(0)])
def test_losses_that_are_no_numbers_are_left_out_of_the_curves(compared, loss):
    results = collect(Comparison(compared[0]))
    epochs = {
        "epoch": np.arange(1.0, 1 + len(loss)),
        "val_loss": loss,
        "train_loss": loss,
        "val_accuracy": np.zeros(len(loss)),
    }
    results = [
        replace(result, outcomes=tuple(replace(out, run=replace(out.run, epochs=epochs)) for out in result.outcomes))
        for result in results
    ]
    figure = loss_figure(results)
    assert (figure is None) == (len(loss) == 0)
    if figure is not None:
        shown = [len(line.get_ydata()) for line in figure.axes[0].lines[:3]]
        assert shown == [int(np.isfinite(loss).sum())] * 3
        assert ("not a number" in figure.legends[0].get_texts()[0].get_text()) == (shown[0] == 0)


# ---------------------------------------------------------------- the page
def test_the_page_and_its_figures_have_a_dark_side(compared):
    page = (compared[0] / "report.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in page and "color-scheme: light dark" in page
    images = [source.partition(",")[2] for source in Page(page).sources]
    figures = [base64.b64decode(image).decode() for image in images]
    assert figures and all(svg.count("prefers-color-scheme: dark") == 1 for svg in figures)
    for svg in figures:
        xml.etree.ElementTree.fromstring(svg)
    for path in (compared[0] / "figures").iterdir():
        assert "prefers-color-scheme" not in path.read_text(encoding="utf-8")  # a file of its own has a white ground


def test_a_cell_breaks_before_plus_minus_only():
    table = Table("T", "", ("row", "a", "b"), [("x_y ± z", "1.0 ± 0.2", "8 to 9")])
    cells = html_table(table)
    assert '<td class="pm">1.0 <span>± 0.2</span></td><td>8 to 9</td>' in cells
    assert "<td>x_<wbr>y ± z</td>" in cells


CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_the_page_never_scrolls_sideways(copied, tmp_path):
    """In frames of several widths: whatever is too wide scrolls by itself."""
    comparison = Comparison(copied)
    comparison.title, comparison.commands = "T" * 300, ["c" * 500]
    comparison.rows["softmax"] = replace(comparison.rows["softmax"], config=TrainConfig(shortened="s" * 200))
    write_report(comparison)
    widths = (320, 390, 768, 1024, 1280, 1920)
    page = html.escape((copied / "report.html").read_text(encoding="utf-8"))
    frames = "".join(f'<iframe style="width: {width}px; border: 0" srcdoc="{page}"></iframe>' for width in widths)
    script = (
        "onload = () => { const found = [...document.querySelectorAll('iframe')].map(f => {"
        "const d = f.contentDocument; const sizes = e => [e.scrollWidth, e.clientWidth];"
        "return [sizes(d.documentElement), [...d.querySelectorAll('.wide')].map(sizes)] });"
        "document.body.replaceChildren('FOUND' + JSON.stringify(found) + 'END') }"
    )
    (tmp_path / "frames.html").write_text(f"<!doctype html><body>{frames}<script>{script}</script>", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--virtual-time-budget=5000", "--dump-dom"]
    words = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'frames.html'}"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    found = json.loads(shown.partition("<body>FOUND")[2].partition("END")[0])
    assert len(found) == len(widths)
    for width, ((scroll, client), tables) in zip(widths, found, strict=True):
        assert scroll <= client <= width, width
        assert any(inner > outer for inner, outer in tables) == (width < 1280), width


@pytest.mark.parametrize("title", [None, 3])
def test_a_title_that_is_no_text(copied, title):
    path = copied / "comparison.json"
    path.write_text(json.dumps(read_json(path) | {"title": title}))
    with pytest.raises(InputError, match="its title is no text"):
        Comparison(copied)


def test_the_loss_of_a_double_softmax_is_what_it_must_be(compared):
    folder, _ = compared
    runs = {result.row.name: result.runs for result in collect(Comparison(folder))}
    for run in runs["legacy_double_softmax"]:
        found = run.summary["double_normalisation"]
        assert found["loss"] == pytest.approx(found["mean_lse"] - found["mean_p_target"], abs=1e-6)
        assert found["loss"] == pytest.approx(run.summary["test"]["nll"], abs=1e-6)
        assert found["if_saturated"] == pytest.approx(np.log(np.e + 9) - run.summary["test"]["accuracy"])
    assert "double_normalisation" not in runs["softmax"][0].summary


def test_the_same_command_again_runs_nothing(compared, capsys):
    folder, words = compared
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/summary.json")}
    assert len(before) == 6
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*/summary.json")} == before
    assert "6 of 6 runs are finished already" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failed_run_is_named_and_the_others_stay(tmp_path, capsys):
    words = ["compare", "--heads", "softmax", "--out", str(tmp_path / "o"), *QUICK, "--optimizer", "sgd"]
    assert main([*words[:3], "--vary", "lr=0.1,1e30", *words[3:]]) == 1
    said = capsys.readouterr()
    assert "failed softmax lr=1e+30, seed 0" in said.err and "the network before the head diverged" in said.err
    assert "1 run failed; type the same command again" in said.err
    results = {result.row.name: result for result in collect(Comparison(tmp_path / "o"))}
    assert results["softmax lr=0.1"].runs and not results["softmax lr=1e+30"].runs
    report = (tmp_path / "o" / "report.md").read_text(encoding="utf-8")
    assert (
        "## Missing runs" in report
        and "the network before the head diverged" in report
        and "Missing: 1 run; the last" in report
    )


def test_a_shortened_recipe_is_labelled_everywhere(tmp_path, capsys):
    words = ["e3/softmax", "--out", str(tmp_path / "o"), "--epochs", "1", "--limit-train", "100"]
    monkeyed = [*words, "--limit-test", "100", "--data-dir", str(tmp_path)]
    assert main(["compare", *monkeyed]) == 2  # no CIFAR-100 there: nothing to report, and the report says why
    assert "CIFAR" in capsys.readouterr().err


def test_noise_in_evaluation_is_taken_away_beside_it(tmp_path):
    words = ["--head", "gumbel_softmax", "--head-opt", "eval_noise=true", "--out", str(tmp_path / "r"), "--quiet"]
    assert main(["train", *words, *QUICK, "--no-plots"]) == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["test_without_noise"]["accuracy"] > summary["test"]["accuracy"]


@pytest.mark.slow
def test_a_killed_comparison_goes_on_where_it_was(tmp_path):
    options = ["--heads", "softmax", "--out", str(tmp_path / "o")]
    words = [sys.executable, "-m", "npsoftmax.cli.main", "compare", *options]
    words += ["--data", "synthetic100", "--model", "mlp", "--epochs", "8"]
    process = subprocess.Popen(words)
    job = next(iter(_wait_for(lambda: list(Comparison(tmp_path / "o").jobs()))))
    _wait_for(lambda: progress_of(job) >= 2)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    done = progress_of(job)
    assert not finished(job) and done >= 2
    lines = (job.folder / "metrics.csv").read_text().splitlines()
    assert subprocess.run(words).returncode == 0
    assert finished(job)
    assert (job.folder / "metrics.csv").read_text().splitlines()[: len(lines)] == lines


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


# ---------------------------------------------------------------- pieces
def test_a_mean_is_over_the_epochs_that_all_runs_have():
    long, short = (np.arange(1, 4), np.array([1.0, 2, 3])), (np.arange(1, 3), np.array([3.0, 4]))
    epochs, values = mean_curve([long, short])
    assert epochs.tolist() == [1, 2] and values.mean(axis=0).tolist() == [2, 3]


def test_a_spread_needs_two_values():
    assert spread([], "{:.1f}") == "–"
    assert spread([0.5], "{:.1f}", 100) == "50.0"
    assert spread([0.4, 0.6], "{:.1f}", 100) == "50.0 ± 14.1"
    assert spread([0.4, 0.6], "{:+.1f}", 100) == "+50.0 ± 14.1"
    assert spread([0.02, 0.0202], "{:.3g}") == "0.0201 ± 0.0001"  # with the decimals of the mean


def test_a_sweep_of_words_is_no_line():
    assert sweep_lines([]) == []
