"""`npsoftmax heads`: the table, and one head with its options."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from npsoftmax.cli import heads
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS
from npsoftmax.options import option_defaults


def shown(capsys, *words):
    parser = argparse.ArgumentParser()
    heads.add_parser(parser.add_subparsers())
    args = parser.parse_args(["heads", *words])
    assert args.run(args) == 0
    return capsys.readouterr().out


def test_the_table_has_every_head_with_its_formula_and_cost(capsys):
    text = shown(capsys)
    for name, cls in HEADS.items():
        [line] = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert cls.card.formula.split()[0] in line
    correct, legacy = text.split("Published miswirings")
    assert "legacy_" not in correct
    assert "O(C log C)" in correct
    assert all(name in legacy for name, cls in HEADS.items() if cls.legacy)


@pytest.mark.parametrize("name", HEADS)
def test_one_head_is_shown_with_its_docstring_and_its_options(name, capsys):
    text = shown(capsys, name)
    assert text.startswith(f"{name}: {HEADS[name].__doc__.strip().splitlines()[0]}")
    _, options = text.split("--head-opt KEY=VALUE")
    rows = {line.split()[0]: line.split()[1] for line in options.splitlines() if len(line.split()) == 2}
    assert set(option_defaults(HEADS[name])) <= set(rows)
    assert rows.get("bias", "true") == "true"  # as one would type it
    assert ("what is wrong" in text) == HEADS[name].legacy


def test_brackets_in_a_formula_are_no_markup(capsys):
    assert "-p[target]" in shown(capsys, "legacy_nll_on_probabilities")


def test_an_unknown_head_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'softmax'"):
        heads.describe("sofmax")


def test_a_terminal_without_unicode_gets_question_marks_and_no_error(monkeypatch):
    class Ascii:
        encoding = "ascii"
        text = ""

        def isatty(self):
            return False

        def write(self, text):
            self.text += text.encode("ascii").decode()

        def flush(self):
            pass

    stream = Ascii()
    monkeypatch.setattr("sys.stdout", stream)
    heads.show(*heads.describe("gumbel_softmax"))
    assert "softmax((z + g) / ?)" in stream.text


def test_what_a_head_refers_to_is_there(monkeypatch, tmp_path):
    """Its source in any install; the pages of docs/ in a checkout only, and elsewhere it says where to find them."""
    text, facts, _ = heads.describe("hierarchical")
    assert "docs/hierarchical.md." in text
    assert list(facts.columns[0].cells)[-1].plain == "source"
    assert Path(list(facts.columns[1].cells)[-1].plain).name == "hierarchical.py"
    monkeypatch.setattr(heads, "__file__", str(tmp_path / "npsoftmax" / "cli" / "heads.py"))
    assert "docs/hierarchical.md in the source distribution." in heads.describe("hierarchical")[0]
