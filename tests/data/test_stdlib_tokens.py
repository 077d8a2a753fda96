"""The next token of source files: what a token is, which files there are, words, windows, splits, the cache."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.data import load_dataset, source, training_split
from npsoftmax.data.source import LONGEST, read_beginning, read_source, tokens_of
from npsoftmax.data.stdlib_tokens import HELD_OUT, WINDOW, load_stdlib_tokens, window_before_the_end
from npsoftmax.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "sources")


def write(folder, count=12):
    """So many small modules, each with words of its own beside those of all."""
    folder.mkdir()
    for i in range(count):
        own = "".join(f"    own_{i} = name({k})\n" for k in range(i % 4 + 1))
        (folder / f"module_{i}.py").write_text(f"import os\n\ndef f(x):  # a comment\n{own}    return x + own_{i}\n")
    return folder


def words_of(data, row):
    return [(*data.class_names, "<other>", "<before>")[number] for number in row]


# ---------------------------------------------------------------- tokens
def test_tokens_are_texts_and_changes_of_indentation():
    text = 'if a:  # why\n\n    b = f"{x!r:>{n}} {{}}" + \'c\'\nd = """two\nlines"""\n'
    assert list(tokens_of(text)) == [
        *("if", "a", ":", "<newline>", "<indent>", "b", "=", 'f"{x!r:>{n}} {{}}"', "+", "'c'", "<newline>"),
        *("<dedent>", "d", "=", '"""two\nlines"""', "<newline>"),
    ]
    assert list(tokens_of('x = f"""a\n{b}""" f\'{f"{c}"}\'\n'))[3:] == ["f'{f\"{c}\"}'", "<newline>"]


def test_which_files_are_read(folder):
    for place in ("test/a.py", "pack/tests/a.py", "site-packages/a.py", "lib-dynload/a.py", "pack/__pycache__/a.py"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("x = 1\n")
    for name in ("pack/__init__.py", "pack/inner.py", "pack/data.txt", "_sysconfigdata_linux.py", "a-b.py", ".c.py"):
        (folder / name).write_text("x = 1\n")
    found = read_source(folder)
    assert found.files == (*sorted(f"module_{i}.py" for i in range(12)), "pack/__init__.py", "pack/inner.py")
    assert found.ends[-1] == len(found.tokens) and found.unread == 0


def test_what_is_no_python_is_left_out_and_said(folder):
    (folder / "bad.py").write_text("x = (1,\n")
    (folder / "bytes.py").write_bytes(b"x = '\xff'\n")
    (folder / "tabs.py").write_text("if x:\n        a\n    b\n")
    found = load_stdlib_tokens(folder)
    assert found.note.endswith("; 3 files that are no Python of this version are left out")
    assert found.fingerprint == load_stdlib_tokens(write(folder.parent / "others")).fingerprint


def test_long_tokens_and_those_of_several_lines_are_no_words(folder):
    (folder / "module_0.py").write_text(f"a = '{'x' * LONGEST}'\nb = '''\n'''\nc = '{'x' * (LONGEST - 2)}'\n")
    found = read_source(folder)
    first = found.tokens[: found.ends[0]]
    assert [i for i, number in enumerate(first) if number == source.TOO_LONG] == [2, 6]


# ---------------------------------------------------------------- words and windows
def test_words_come_from_training_files_by_frequency(folder):
    data = load_stdlib_tokens(folder, 25)
    assert data.n_classes == 25 and data.words == 27 and data.class_names[0] == "<newline>"
    training, held_out = training_split(data, 0.1, 0)
    counts = np.bincount(data.y_train[training], minlength=25)
    assert (np.diff(counts) <= 0).all() and counts.min() > 0, "no class without a sample"
    of_one_file = [name for name in data.class_names if name.startswith("own_")]
    assert of_one_file, "the tail is there"
    for part in (data.y_train[held_out], data.y_test):
        assert not any(data.class_names[label].startswith("own_") for label in part), "files are held out whole"


def test_windows_are_what_stands_before_the_word(folder):
    data = load_stdlib_tokens(folder)
    first = data.class_names.index("import")
    begins = data.x_train[data.y_train == first]
    assert all(words_of(data, row) == ["<before>"] * WINDOW for row in begins)
    x = data.x_train[data.y_train == data.class_names.index("os")]
    assert all(words_of(data, row) == ["<before>"] * (WINDOW - 1) + ["import"] for row in x)
    x = data.x_train[data.y_train == data.class_names.index("def")]
    assert all(words_of(data, row)[-4:] == ["<before>", "import", "os", "<newline>"] for row in x)


def test_what_is_no_word_is_in_windows_and_nobody_guesses_it(folder):
    few, all_words = load_stdlib_tokens(folder, 12), load_stdlib_tokens(folder)
    assert few.y_train.max() < 12 and (few.x_train == 12).any() and few.words == 14
    assert len(few.y_train) < len(all_words.y_train)
    assert "12 words; " in few.note and "nobody guesses them" in few.note


def test_the_same_files_make_the_same_data_wherever_they_lie(folder, tmp_path):
    one, other = load_stdlib_tokens(folder, 20), load_stdlib_tokens(write(tmp_path / "elsewhere"), 20)
    assert one.fingerprint == other.fingerprint and one.class_names == other.class_names
    for name in ("x_train", "y_train", "x_test", "y_test", "held_out"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    (folder / "module_3.py").write_text("import os\n")
    assert load_stdlib_tokens(folder, 20).fingerprint != one.fingerprint


def test_limits_leave_some_to_validate_with_and_are_evenly_spaced(folder):
    data = load_dataset("stdlib_tokens", folder, limit_train=40, limit_test=7)
    whole = load_dataset("stdlib_tokens", folder)
    assert len(data.y_train) == 40 and len(data.y_test) == 7
    share = whole.held_out.mean()
    assert data.held_out.sum() == round(40 * share)
    n = len(whole.y_test)
    np.testing.assert_array_equal(data.x_test, whole.x_test[np.arange(7) * n // 7])


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (1, "--vocabulary is 1, but a whole number from 2 to 50,000"),
        (50_001, "--vocabulary is 50001"),
    ],
)
def test_a_vocabulary_out_of_range(vocabulary, message, folder):
    with pytest.raises(InputError, match=message):
        load_dataset("stdlib_tokens", folder, vocabulary=vocabulary)


def test_what_cannot_be_read_says_what_to_type(tmp_path):
    with pytest.raises(InputError, match=r"does not exist, but a folder of Python's source files was expected"):
        load_dataset("stdlib_tokens", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no Python source files \(.py\): give another folder with --data-dir"):
        load_dataset("stdlib_tokens", tmp_path / "empty")
    with pytest.raises(InputError, match="2 files that can be read, but at least 3"):
        load_dataset("stdlib_tokens", write(tmp_path / "two", 2))
    with pytest.raises(InputError, match="--vocabulary is for stdlib_tokens, but digits has images"):
        load_dataset("digits", vocabulary=100)


# ---------------------------------------------------------------- the cache
def test_tokens_are_kept_and_read_anew_where_a_file_has_changed(folder, monkeypatch):
    read = []
    real = source.tokens_of
    monkeypatch.setattr(source, "tokens_of", lambda text: read.append(text) or real(text))
    first, again = read_source(folder), read_source(folder)
    assert len(read) == 12 and again.files == first.files and again.texts == first.texts
    np.testing.assert_array_equal(again.tokens, first.tokens)
    np.testing.assert_array_equal(again.ends, first.ends)
    (folder / "module_5.py").write_text("y = 2\n")
    assert len(read_source(folder).tokens) != len(first.tokens) and len(read) == 24


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 damaged", None])
def test_a_damaged_cache_is_made_again(folder, tmp_path, content):
    first = read_source(folder)
    (kept,) = (tmp_path / "cache" / "npsoftmax" / "tokens").iterdir()
    kept.write_bytes(kept.read_bytes()[:-200] if content is None else content)
    again = read_source(folder)
    np.testing.assert_array_equal(again.tokens, first.tokens)


def test_without_a_home_that_can_be_written_nothing_is_kept(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(read_source(folder).files) == 12


# ---------------------------------------------------------------- beginnings of files
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("for i in ", ["for", "i", "in"]),
        ("def f(x):\n    return x", ["return", "x"]),
        ("def f(x):\n    return x\n", ["return", "x", "<newline>"]),
        ("f(a, [b,\n", ["[", "b", ","]),
        ("if x:\n    y\n\n\n", ["<indent>", "y", "<newline>"]),
        ("x = '''unended\n", ["x", "="]),
        ("", []),
    ],
)
def test_a_beginning_ends_where_its_text_does(tmp_path, text, last):
    path = tmp_path / "begun.py"
    path.write_text(text)
    assert read_beginning(path)[-len(last) or 99 :] == last
    names = ("x", "return", "<newline>", "in", "i")
    window = window_before_the_end(read_beginning(path), names, 3)
    before = (3 - len(last)) * [6] if len(read_beginning(path)) < 3 else []
    assert window[: len(before)].tolist() == before and window.dtype == np.uint16
    assert window[3 - len(last) :].tolist() == [names.index(word) if word in names else 5 for word in last]


def test_a_beginning_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read as Python's source"):
        read_beginning(tmp_path / "nowhere.py")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe x")
    with pytest.raises(InputError, match="cannot be read as Python's source"):
        read_beginning(tmp_path / "bytes.py")


# ---------------------------------------------------------------- the standard library itself
@pytest.mark.slow
def test_the_standard_library_of_this_interpreter():
    if not (Path(sysconfig.get_path("stdlib")) / "os.py").exists():
        pytest.skip("this Python has its library in a file")
    data = load_dataset("stdlib_tokens", vocabulary=20_000)
    assert f"Python {sys.version.split()[0]}'s standard library" in data.note
    assert data.n_classes == 20_000 and data.x_train.shape[1] == WINDOW and len(data.y_train) > 500_000
    assert len(data.y_test) == data.held_out.sum() == HELD_OUT
    counts = np.bincount(data.y_train[~data.held_out], minlength=20_000)
    assert counts[-1] >= 1 and (counts < 5).mean() > 0.3, "a long tail"
