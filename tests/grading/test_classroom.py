"""A class: graded, matched, summed up, and looked at; what is written is safe to open and says what is true."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import folders
import pytest

from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.grading import stubs
from npsoftmax.grading.cells import as_csv, harmless
from npsoftmax.grading.classroom import imports, summary, variants
from npsoftmax.grading.classroom.copied import copied, copied_in_all
from npsoftmax.grading.classroom.gather import gather
from npsoftmax.grading.classroom.lookalikes import look_alikes
from npsoftmax.grading.classroom.markup import tag
from npsoftmax.grading.classroom.room import Room, Student
from npsoftmax.grading.classroom.roster import read_roster
from npsoftmax.grading.classroom.trees import form
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
from npsoftmax.grading.mistakes import all_mistakes
from npsoftmax.grading.trial import trials_of

SCRIPT = "<script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://x","y")'
IMPORTS = "import numpy as np\n"

DENSE = "dx, dw = dy @ w.T, x.T @ dy\nreturn dx, dw, dy.sum(axis=0) if has_bias else None"
MEAN = "n = len(x)\nreturn dy @ w.T, x.T @ dy / n, dy.sum(axis=0) / n if has_bias else None"
ROWS = {
    "Smith_Anna": {"dense_backward": DENSE},
    "7002": {"dense_backward": MEAN},
    "bo@x.org": {"dense_backward": MEAN, "relu_backward": "return dy"},
    "Kim_5004_assignsubmission_file_": {},
    "Nobody Known": {"dense_backward": DENSE},
}


def hand_in(folder, codes):
    """A hand-in of a2 with these bodies, the rest as it was handed out."""
    place = folder / "a2_layers"
    place.mkdir(parents=True)
    text = stubs.stub_file(ASSIGNMENTS["a2"], "layers.py")
    parts = [folders.function(name, body) for name, body in codes.items()]
    (place / "layers.py").write_text("\n\n".join([text, *parts]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A small class, through the command line."""
    folder = tmp_path_factory.mktemp("class")
    for name, codes in ROWS.items():
        hand_in(folder / "submissions" / name, codes)
    lines = [["First name", "Last name", "ID number", "Email address"], ["Anna", "Smith", "7001", "anna@x.org"]]
    lines += [[SCRIPT, "Tag", "7002", ""], [FORMULA, "Bo", "7003", "bo@x.org"], ["Kim", "", "7004", "k@x.org"]]
    lines += [["Nora", "Absent", "7005", "nora@x.org"]]
    with (folder / "roster.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(lines)
    words = [
        "--class",
        str(folder / "submissions"),
        "--roster",
        str(folder / "roster.csv"),
        "--out",
        str(folder / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "npsoftmax.cli.main", "grade", "dense_backward", "relu_backward", *words],
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out", done.stdout


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_marks_are_those_of_the_hand_ins(graded):
    lines = {line["hand-in"]: line for line in table(graded[0] / "marks.csv")}
    assert {name: line["points"] for name, line in lines.items()} == {
        **{"Smith_Anna": "2", "7002": "0", "bo@x.org": "0", "Kim_5004_assignsubmission_file_": "0"},
        **{"Nobody Known": "2", "": ""},
    }
    assert lines["7002"]["name"] == f"{SCRIPT} Tag" and lines[""]["name"] == "Nora Absent"
    assert lines["Nobody Known"]["id"] == "" and "nobody on the roster" in lines["Nobody Known"]["remarks"]


def test_import_files_have_the_columns_of_the_platforms(graded):
    moodle, canvas = table(graded[0] / "moodle.csv"), table(graded[0] / "canvas.csv")
    assert [(x["ID number"], x["a2 layers"]) for x in moodle] == [
        ("7003", "0"),
        ("7004", "0"),
        ("7001", "2"),
        ("7002", "0"),
    ]
    assert list(canvas[0])[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert canvas[0]["Student"].strip() == "Points Possible" and canvas[0]["a2 layers"] == "3"
    assert {x["SIS User ID"] for x in canvas[1:]} == {"7001", "7002", "7003", "7004"}


def test_no_cell_is_a_formula(graded):
    for name in ("marks.csv", "moodle.csv", "canvas.csv"):
        text = (graded[0] / name).read_text(encoding="utf-8-sig")
        assert "'=HYPERLINK" in text
        for line in csv.reader(text.splitlines()):
            assert not any(re.match(r"[=+@\-\t\r](?!\d+$)", cell) for cell in line)
    assert harmless("-1.5") == "-1.5" and harmless("-") == "-" and harmless("-1+1") == "'-1+1"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = set(), [], []

    def handle_starttag(self, name, attributes):
        self.tags.add(name)
        self.links += [value for key, value in attributes if key in ("href", "src")]

    def handle_data(self, data):
        self.text.append(data)


def test_pages_hold_no_script_and_nothing_from_the_network(graded):
    pages = [graded[0] / "class.html", *(graded[0] / "feedback").iterdir()]
    assert len(pages) == 6
    for page in pages:
        tags = Tags()
        tags.feed(page.read_text(encoding="utf-8"))
        assert not tags.tags & {"script", "link", "img", "iframe"} and "onload" not in page.read_text(encoding="utf-8")
        assert all(link.startswith(("#", "feedback/")) for link in tags.links)
    assert all((graded[0] / link).is_file() for link in tags.links if link.startswith("feedback/"))
    assert str(tag("td", SCRIPT, title='"x')) == '<td title="&quot;x">&lt;script&gt;alert(1)&lt;/script&gt;</td>'


def test_the_page_says_what_went_wrong_and_whose(graded):
    tags = Tags()
    tags.feed((graded[0] / "class.html").read_text(encoding="utf-8"))
    text = " ".join(" ".join(tags.text).split())
    assert "4 hand-ins of 5 on the roster" in text and "Nora Absent (7005)" in text
    assert "you averaged over the batch" in text and "Nobody Known : nobody on the roster" in text
    cause = text.partition("you averaged over the batch")[2][:300]
    assert f"{SCRIPT} Tag" in cause and "Bo" in cause
    assert "The same but for names, comments and layout" not in text  # tiny functions are alike by themselves


def test_feedback_is_about_one_student_alone(graded):
    names = ("Anna", "Tag", "HYPERLINK", "Kim", "Nobody Known")
    for page, own in (("7001", "Anna"), ("7002", "Tag"), ("7003", "HYPERLINK"), ("7004", "Kim")):
        text = (graded[0] / "feedback" / f"{page}.html").read_text(encoding="utf-8")
        assert [name for name in names if name in text] == [own]
    assert "averaged over the batch" in text or "averaged over the batch" in (
        graded[0] / "feedback" / "7002.html"
    ).read_text(encoding="utf-8")


def test_the_command_says_what_it_wrote_and_what_needs_a_look(graded):
    assert "class.html" in graded[1] and "Nobody Known" in graded[1] and "without a hand-in: Nora Absent" in graded[1]


WORDS = {
    "no folder for it": (["grade", "a2", "--class", "x"], "--out DIR"),
    "a roster alone": (["grade", "a2", "--roster", "x"], "goes with --class"),
    "more without a class": (
        ["grade", "a2", ".", "a3"],
        "a2 . a3: one assignment at a time, such as npsoftmax grade a2 a3",
    ),
    "no such folder": (["grade", "a2", "--class", "x", "--out", "y"], "--class x: there is no such folder"),
    "no such exercise": (["grade", "a2", "a9", "--class", "x", "--out", "y"], "unknown assignment or exercise 'a9'"),
    "no id": (["assignments", "start", "a2", "--student", " "], "is no id"),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_cannot_be_done_is_told(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, said = WORDS[name]
    assert main(words) == 2 and said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- gradebooks
def test_an_exported_gradebook_and_a_worksheet_come_back_with_their_columns(graded, tmp_path):
    exported = "Student,ID,SIS User ID,Section,Homework a2: layers (77),Notes\n    Points Possible,,,,3,\n"
    (tmp_path / "canvas.csv").write_text(
        f'{exported}"Smith, Anna",1,7001,A,,=1\n"Bo, B",2,7002,A,2,\n', encoding="utf-8"
    )
    sheet = "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Feedback comments\n"
    (tmp_path / "moodle.csv").write_text(
        f"{sheet}Participant 1,Anna Smith,a@x,,,100.00,\nParticipant 2,B Bo,b@x,,,100.00,\n", encoding="utf-8"
    )
    row = {
        "assignment": "a2",
        "exercise": "dense_backward",
        "state": "passed",
        "points": 2,
        "of": 2,
        "file": "layers.py",
    }
    exercises = [EXERCISES["dense_backward"]]
    room = Room(exercises, [], read_roster(tmp_path / "canvas.csv"))
    room.students.append(Student("x", room.roster.people[0], "", [row]))
    lines = imports.canvas(room)
    assert lines[0] == room.roster.lines[0] and [line[4] for line in lines[1:]] == ["3", "2", "2"]
    assert "'=1" in as_csv(lines)
    room = Room(exercises, [], read_roster(tmp_path / "moodle.csv"))
    room.students.append(Student("x", room.roster.people[0], "", [row]))
    assert [line[4] for line in imports.moodle(room)] == ["Grade", "100", ""]


def test_an_assignment_of_which_nothing_was_handed_in_has_no_mark(tmp_path):
    (tmp_path / "canvas.csv").write_text('Student,ID,SIS User ID,Section,a2 (77)\n"Smith, Anna",1,7001,A,2\n')
    rows = [
        {"assignment": "a1", "exercise": "softmax_forward", "state": "passed", "points": 2, "of": 2, "file": "x.py"},
        {"assignment": "a2", "exercise": "dense_backward", "state": "not started", "points": 0, "of": 2, "file": None},
    ]
    room = Room([EXERCISES["softmax_forward"], EXERCISES["dense_backward"]], [], read_roster(tmp_path / "canvas.csv"))
    room.students.append(Student("x", room.roster.people[0], "", rows))
    assert imports.canvas(room)[1][4:] == ["2", "2"]  # what stood there for a2 stays, and a1 is new
    assert [imports.total(room.students[0], name) for name in ("a1", "a2")] == ["2", ""]


# ---------------------------------------------------------------- variants
def test_each_student_has_numbers_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["assignments", "start", "a2", "--student", "S 7001"]) == 0
    seed = variants.seed_of("s7001")
    assert f"seed {seed}" in capsys.readouterr().out
    assert main(["grade", "dense_forward"]) == 0
    assert f"the numbers of student S 7001 (seed {seed})" in capsys.readouterr().out
    file = tmp_path / "a2_layers" / "layers.py"
    file.write_text(file.read_text() + "\n" + folders.function("dense_forward", "return x, None"))
    assert main(["grade", "dense_forward"]) == 1 and f"seed {seed}" in capsys.readouterr().out.partition("\n")[2]
    assert main(["grade", "dense_forward", "--seed", "5"]) == 1 and "seed 5" in capsys.readouterr().out
    assert variants.noted([file]) == ("S 7001", seed) and seed != variants.seed_of("s7001", 5) != variants.seed_of(
        "s7002"
    )


def test_a_notebook_has_them_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["assignments", "start", "a2", "--student", "7001", "--notebook"]) == 0
    assert main(["grade", "dense_forward"]) == 0
    assert f"the numbers of student 7001 (seed {variants.seed_of('7001')})" in capsys.readouterr().out


@pytest.mark.parametrize("student", ["", "  ", "a\nb", 'x"y', "a, seed: 5"])
def test_an_id_that_cannot_be_noted_is_refused(student):
    with pytest.raises(InputError, match="is no id"):
        variants.note(student)


def test_an_answer_that_fits_somebody_elses_numbers_is_told(tmp_path):
    exercise = EXERCISES["relu_forward"]
    trials = trials_of(exercise, variants.seed_of("7002"))
    known = [(t.case.args["x"].shape, t.expected["y"][0].tolist()) for t in trials]
    body = (
        f"for shape, y in {known!r}:\n    if x.shape == shape:\n        y = np.array(y, x.dtype)\n        return y, y\n"
        "return x, x"
    )
    hand_in(tmp_path / "s" / "7001", {"relu_forward": body})
    hand_in(tmp_path / "s" / "7002", {"relu_forward": "y = np.maximum(x, 0)\nreturn y, y"})
    changed = tmp_path / "s" / "7002" / "a2_layers" / "layers.py"
    changed.write_text("# student: 7009, seed: 12 (…)\n" + changed.read_text())
    (tmp_path / "r.csv").write_text("name,id\nAnna,7001\nBo,7002\n")
    room = gather(tmp_path / "s", [exercise], read_roster(tmp_path / "r.csv"))
    told = {s.handin: " | ".join(sentence for _, sentence in s.flags) for s in room.students}
    assert room.students[0].points == 0 and "right on those of Bo" in told["7001"]
    assert room.students[1].points == 1 and "made for another student, '7009'" in told["7002"]
    assert "seed in its first line was changed" in told["7002"]


# ---------------------------------------------------------------- look-alikes
ONE = """s = z / temperature
m = s.max(axis=-1, keepdims=True)
lse = m + np.log(np.exp(s - m).sum(axis=-1, keepdims=True))
lp = s - lse
n = len(t)
hard = lp[np.arange(n), t]
soft = lp.mean(axis=-1)
loss = -((1 - label_smoothing) * hard + label_smoothing * soft).mean()
return loss, (np.exp(lp), t, label_smoothing, temperature)"""
OTHER = '''"""Mine."""
logits = z/temperature   # first
biggest = np.max(logits, axis=-1,
                 keepdims=True)
total = np.log(np.sum(np.exp(logits - biggest), -1, keepdims=True)) + biggest
logp = logits - total
count = len(t)
a = logp[np.arange(count), t]
b = np.mean(logp, axis=-1)
value = -(label_smoothing * b + a * (1 - label_smoothing)).mean()
print("here")
return value, (np.exp(logp), t, label_smoothing, temperature)'''
LOSS = EXERCISES["softmax_cross_entropy_forward"]


def shape_of(body, exercise=LOSS):
    return form(exercise, IMPORTS + folders.function(exercise, body))


def test_names_comments_layout_and_order_make_no_difference():
    assert shape_of(ONE).key == shape_of(OTHER).key
    assert shape_of(ONE).key != shape_of(ONE.replace("lp.mean(axis=-1)", "lp.sum(axis=-1) / lp.shape[-1]")).key
    assert shape_of(ONE).key != shape_of(ONE.replace("s - lse", "lse - s")).key


QUITE = """q = np.full(z.shape, label_smoothing / z.shape[1], z.dtype)
q[np.arange(len(t)), t] += 1 - label_smoothing
p, _ = softmax_forward(z / temperature)
return -(q * np.log(p)).sum() / len(t) + 0 * {0}, (p, t, label_smoothing, temperature)"""


def test_two_alike_are_told_and_what_a_class_has_in_common_is_not():
    others = {f"s{i}": shape_of(QUITE.format(i)) for i in range(20)}
    alike, common = look_alikes({LOSS.name: others | {"a": shape_of(ONE), "b": shape_of(OTHER)}})
    assert [x.students for x in alike] == [("a", "b")] and not alike[0].to_the_letter and common == {}
    alike, _ = look_alikes({LOSS.name: others | {"a": shape_of(ONE), "b": shape_of(ONE)}})
    assert alike[0].to_the_letter == (LOSS.name,)
    alike, common = look_alikes({LOSS.name: others | {f"c{i}": shape_of(ONE) for i in range(20)}})
    assert alike == [] and len(common[LOSS.name][0]) == 20
    tiny = {name: shape_of("return dy * (y > 0)", EXERCISES["relu_backward"]) for name in "abcd"}
    assert look_alikes({"relu_backward": tiny}) == ([], {})


def test_the_librarys_own_text_is_told_wherever_it_is_copied():
    for exercise in EXERCISES.values():
        source = IMPORTS + stubs.librarys(exercise)
        said = copied(exercise, form(exercise, source), source)
        assert "library's own text" in said or exercise.name in SMALL
    assert copied(LOSS, shape_of(ONE), IMPORTS + folders.function(LOSS, ONE)) == ""


def test_a_hand_in_that_is_all_solutions_is_told():
    sources = {e.name: IMPORTS + stubs.solution(e) for e in EXERCISES.values()}
    forms = {name: form(EXERCISES[name], source) for name, source in sources.items()}
    assert "80 of 80 functions are what --solution shows" in copied_in_all(forms)
    few = {name: forms[name] for name in list(forms)[:7]}
    assert copied_in_all(few) == "" and copied(LOSS, forms[LOSS.name], sources[LOSS.name])


# Library functions that call nothing of its own and are so short that right answers are the same by themselves.
SMALL = {"gumbel_softmax_backward", "log_gumbel_softmax_backward", "taylor_polynomial", "merge_heads", "balanced"}


# ---------------------------------------------------------------- misconceptions
def test_a_misconception_is_known_in_several_assignments():
    found = {name: set() for name in summary.MISCONCEPTIONS}
    for mistakes in all_mistakes().values():
        for mistake in mistakes:
            for name in summary.concepts(mistake.sentence):
                found[name].add(EXERCISES[mistake.exercise].assignment)
    unseen = {"float32 becomes float64", "nothing returned, or not all of it"}  # of these there are rules, no mistakes
    assert {name for name, assignments in found.items() if len(assignments) < 2} <= unseen


# ---------------------------------------------------------------- thirty of them
@pytest.mark.slow
def test_a_class_of_thirty_with_zips_and_notebooks(tmp_path):
    """Marks as they were made, everybody found, nothing of one student on another's page."""
    subs, expected = tmp_path / "s", {}
    lines = ["name,id,email"]
    options = {"dense_backward": [DENSE, MEAN, None], "relu_backward": ["return dy * (y > 0)", "return dy * y", None]}
    for number in range(30):
        name, ident = f"Student{chr(65 + number % 26)} Family{number:02}", f"{70000 + number}"
        lines.append(f"{name},{ident},m{number}@x.org")
        codes = {e: bodies[(number + i) % 3] for i, (e, bodies) in enumerate(options.items())}
        codes = {e: body for e, body in codes.items() if body is not None}
        points = {"dense_backward": 2, "relu_backward": 1}
        expected[ident] = sum(points[e] for e, body in codes.items() if body == options[e][0])
        first, last = name.split()
        folder = (
            subs
            / [f"{name}_{5000 + number}_assignsubmission_file_", f"{last}_{first}", ident, f"m{number}@x.org"][
                number % 4
            ]
        )
        hand_in(folder, codes)
        file = folder / "a2_layers" / "layers.py"
        if number % 5 == 1:
            cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": file.read_text().splitlines(True)}
            book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
            file.with_suffix(".ipynb").write_text(json.dumps(book))
            file.unlink()
        elif number % 5 == 2:
            file.rename(subs / f"{last}{first}_{ident}_{9000 + number}_layers.py".lower())
            shutil.rmtree(folder)
        elif number % 5 == 3 and number % 4:
            shutil.make_archive(str(folder), "zip", folder)
            shutil.rmtree(folder)
    (tmp_path / "r.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ["--class", str(subs), "--roster", str(tmp_path / "r.csv"), "--out", str(tmp_path / "out")]
    for _ in range(2):  # the second time it goes on from what is there
        assert main(["grade", "dense_backward", "relu_backward", *words]) == 0
        marks = table(tmp_path / "out" / "marks.csv")
        assert {line["id"]: int(line["points"]) for line in marks} == expected
    names = [line.split(",")[0] for line in lines[1:]]
    for page in (tmp_path / "out" / "feedback").iterdir():
        text = page.read_text(encoding="utf-8")
        assert [name for name in names if name in text] == [names[int(page.stem) - 70000]]


CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_no_page_scrolls_sideways(graded, tmp_path):
    """On a phone and on a desk: what is too wide scrolls by itself."""
    widths, pages = (320, 390, 1280), [graded[0] / "class.html", graded[0] / "feedback" / "7002.html"]
    texts = [html.escape(page.read_text(encoding="utf-8")) for page in pages]
    frames = "".join(
        f'<iframe style="width: {width}px; border: 0" srcdoc="{text}"></iframe>' for text in texts for width in widths
    )
    script = (
        "onload = () => document.body.replaceChildren('FOUND' + JSON.stringify([...document.querySelectorAll('iframe')]"
        ".map(f => { const d = f.contentDocument.documentElement; return [d.scrollWidth, d.clientWidth] })) + 'END')"
    )
    (tmp_path / "frames.html").write_text(f"<!doctype html><body>{frames}<script>{script}</script>", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--virtual-time-budget=5000", "--dump-dom"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'frames.html'}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = json.loads(shown.partition("<body>FOUND")[2].partition("END")[0])
    assert len(found) == 6 and all(scroll <= client for scroll, client in found)
