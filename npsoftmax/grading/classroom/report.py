"""class.html: what a class got wrong, on one page that needs nothing else."""

from __future__ import annotations

from npsoftmax.grading.classroom.lookalikes import ENOUGH
from npsoftmax.grading.classroom.markup import Markup, joined, page, table, tag, wide
from npsoftmax.grading.classroom.room import Room, Student
from npsoftmax.grading.classroom.summary import (
    MOST,
    Pick,
    cause_of,
    causes,
    function_text,
    returning,
    shares,
    without_sizes,
    worth_discussing,
)
from npsoftmax.grading.exercises import ASSIGNMENTS

SIGNS = {
    "passed": ("✓", "passed", "passed"),
    "wrong": ("✗", "wrong", "wrong"),
    "not started": ("·", "none", "not started"),
}
NAMES = 8  # shown in a row; the rest on demand
CODE = 60  # lines of a function that are shown
STYLE = """
.map th, .map td { padding: .1rem .2rem; border: 0; }
.map thead th { vertical-align: bottom; border-bottom: 0; font-weight: 400; }
.map thead th.up span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; max-height: 21rem; }
.map tbody th, .map tfoot th, .map thead th:first-child { position: sticky; left: 0; background: var(--page);
  white-space: nowrap; max-width: min(14rem, 40vw); overflow: hidden; text-overflow: ellipsis; padding-right: .6rem;
  font-weight: 400; z-index: 1; }
.map td.first, .map th.first { border-left: 2px solid var(--rule); padding-left: .35rem; }
.map tbody tr:hover > * { background: var(--soft); } .map tfoot td { font-size: .75rem; text-align: center; color:
  var(--quiet); padding-top: .3rem; }
.pick { border: 1px solid var(--line); border-radius: 8px; padding: .25rem 1rem .75rem; margin: 1rem 0; }
.pick h3 { margin-top: .75rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
details.more { display: inline; } details.more[open] { display: block; }
"""


def class_page(room: Room) -> str:
    """The page as text."""
    parts = {
        "map": ("Who passed what", _map(room)),
        "causes": ("The most frequent causes", _causes(room)),
        "returns": ("What returns in a later assignment", _returns(room)),
        "discuss": ("Worth discussing in class", _discuss(room)),
        "flags": ("To look at", _flags(room)),
        "exercises": ("Exercise by exercise", _exercises(room)),
        "missing": ("Missing, and unknown", _missing(room)),
    }
    shown = {key: (title, body) for key, (title, body) in parts.items() if body}
    links = [tag("li", tag("a", title, href=f"#{key}")) for key, (title, _) in shown.items()]
    return page(
        f"{room.title}: the class",
        tag("h1", room.title),
        tag("p", _first_words(room), class_="quiet"),
        _tiles(room),
        tag("nav", tag("ul", *links), aria_label="Parts of this page"),
        *(tag("section", tag("h2", title, id=key), body) for key, (title, body) in shown.items()),
        style=STYLE,
    )


def counted(number: int, thing: str) -> str:
    """1 hand-in, 2 hand-ins."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _first_words(room: Room) -> str:
    of = f" of {len(room.roster.people)} on the roster" if room.roster else ""
    known = len(room.students) - len(room.strangers)
    handed = f"{counted(known, 'hand-in')}{of}" if room.roster else counted(len(room.students), "hand-in")
    exercises = counted(len(room.exercises), "exercise")
    return f"{handed}; {exercises}, {room.possible} points. This page names students: it is for you, not for the class."


def _tiles(room: Room) -> Markup:
    points = sorted(student.points for student in room.students)
    middle = (points[(len(points) - 1) // 2] + points[len(points) // 2]) / 2 if points else 0
    rows = [row for student in room.students for row in student.rows]
    passed = sum(row["state"] == "passed" for row in rows)
    tiles = [
        (f"{middle:g}", f"points of {room.possible} are the median"),
        (f"{round(100 * passed / max(1, len(rows)))} %", "of all exercises pass"),
        (str(sum(s.points == room.possible for s in room.students)), "have everything right"),
        (str(sum(not s.states("passed") and not s.states("wrong") for s in room.students)), "have begun nothing"),
    ]
    if room.roster:
        tiles.append((str(len(room.absent)), "are without a hand-in"))
    tiles.append((str(len(room.alike) + sum(bool(s.flags) for s in room.students)), "flags to look at"))
    return tag("ul", *(tag("li", tag("b", number), what) for number, what in tiles), class_="tiles")


def _sign(state: str, title: str = "") -> Markup:
    sign, style, words = SIGNS[state]
    return tag("span", sign, class_=f"s {style}", role="img", aria_label=words, title=title or words)


def link(student: Student) -> Markup:
    """A student's name, as a way to their page."""
    return tag("a", student.name, href=f"feedback/{student.slug}.html")


# ---------------------------------------------------------------- the heat map
def _map(room: Room) -> Markup:
    starts = {
        e.name for i, e in enumerate(room.exercises) if i == 0 or room.exercises[i - 1].assignment != e.assignment
    }
    count = shares(room)

    def style(name: str, more: str = "") -> str | None:
        return f"{more} {'first' if name in starts else ''}".strip() or None

    head = [tag("th", "student", scope="col"), tag("th", "points", scope="col", class_="n")]
    head += [
        tag(
            "th",
            tag("span", tag("a", f"{e.assignment} {e.name}", href=f"#x-{e.name}")),
            scope="col",
            class_=style(e.name, "up"),
        )
        for e in room.exercises
    ]
    lines = []
    for student in room.students:
        cells = [tag("th", link(student), scope="row", title=student.name), tag("td", str(student.points), class_="n")]
        for row in student.rows:
            told = f"{row['exercise']}: {row['state']}" + (f": {cause_of(row)}" if row["state"] == "wrong" else "")
            cells.append(tag("td", _sign(row["state"], told), class_=style(row["exercise"])))
        lines.append(tag("tr", *cells))
    share = [tag("th", "passed, %", scope="row"), tag("td", "")]
    for exercise in room.exercises:
        of = count[exercise.name]
        share.append(tag("td", str(round(100 * of["passed"] / max(1, of.total()))), class_=style(exercise.name)))
    body = tag(
        "table",
        tag("thead", tag("tr", *head)),
        tag("tbody", *lines),
        tag("tfoot", tag("tr", *share)),
        class_="map",
    )
    legend = tag("p", *(joined(_sign(state), f" {words}   ") for state, (_, _, words) in SIGNS.items()), class_="quiet")
    return joined(legend, wide(body, "Students and exercises"))


# ---------------------------------------------------------------- causes
def _people(students: list[Student]) -> Markup:
    def listed(some: list[Student]) -> Markup:
        return joined(*(joined(", " if i else "", link(s)) for i, s in enumerate(some)))

    if len(students) <= NAMES:
        return listed(students)
    rest = students[NAMES - 1 :]
    more = tag("details", tag("summary", f"and {len(rest)} more"), listed(rest), class_="more")
    return joined(listed(students[: NAMES - 1]), " ", more)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _causes(room: Room) -> Markup | None:
    found = causes(room)
    if not found:
        return tag("p", "No wrong answer has a known cause.") if room.students else None
    lines: list[list[object]] = [
        [cause.text, str(len(cause.students)), _few(cause.exercises), _people(cause.students)] for cause in found[:MOST]
    ]
    single = sum(len(cause.students) == 1 for cause in found[MOST:])
    rest = (
        f"{counted(len(found) - MOST, 'more cause')}, {single} of them with one student each." if found[MOST:] else ""
    )
    unknown = [r for s in room.students for r in s.states("wrong") if not r["cause"]]
    told = (
        f" {counted(len(unknown), 'wrong answer')} without a known cause: facts alone are in the feedback."
        if unknown
        else ""
    )
    names = ["cause", "students", "exercises", "who"]
    return joined(
        table(names, lines, "Causes that the grader could name, the most frequent first", frozenset((1,))),
        tag("p", rest + told, class_="quiet") if rest or told else None,
    )


def _returns(room: Room) -> Markup | None:
    if len(room.assignments) < 2:
        return None
    found = returning(room)
    if not found:
        return tag("p", "No misconception was found in two assignments of the same student.")
    blocks = []
    for concept, cases in found.items():
        items = []
        for student, rows in cases:
            parts = [tag("code", f"{row['assignment']} {row['exercise']}") for row in rows]
            items.append(tag("li", link(student), ": ", *(joined(", " if i else "", p) for i, p in enumerate(parts))))
        blocks += [tag("h3", f"{concept}: {counted(len(cases), 'student')}"), tag("ul", *items)]
    return joined(*blocks)


def _discuss(room: Room) -> Markup | None:
    picks = worth_discussing(room)
    if not picks:
        return None
    hint = tag("p", "Ask before you show somebody's code to the class, and leave the name out.", class_="quiet")
    return joined(hint, *map(_pick, picks))


def _pick(pick: Pick) -> Markup:
    code = function_text(pick.student.source(pick.exercise), pick.exercise).splitlines()
    shown = "\n".join(code[:CODE]) + (f"\n… {len(code) - CODE} more lines" if len(code) > CODE else "")
    title = joined(f"{pick.kind[0].upper()}{pick.kind[1:]}: ", tag("code", pick.exercise), " of ", link(pick.student))
    text = tag("pre", tag("code", shown), tabindex="0", aria_label=f"code of {pick.exercise}") if code else None
    return tag("div", tag("h3", title), tag("p", f"{pick.why[0].upper()}{pick.why[1:]}"), text, class_="pick")


# ---------------------------------------------------------------- flags
def _flags(room: Room) -> Markup:
    items = []
    for alike in room.alike:
        names = [next(s for s in room.students if s.handin == handin) for handin in alike.students]
        same = f"The same but for names, comments and layout: {', '.join(alike.exercises)}"
        letter = (
            f" To the letter, names and comments too: {', '.join(alike.to_the_letter)}." if alike.to_the_letter else ""
        )
        weight = f" {_chance(alike.bits)}"
        items.append(tag("div", tag("p", _people(names)), tag("p", f"{same}.{letter}{weight}"), class_="flag"))
    for student in room.students:
        if student.flags:
            told: dict[str, list[str]] = {}
            for exercise, sentence in student.flags:
                told.setdefault(sentence, []).append(exercise)
            about: dict[str, list[str]] = {}
            for sentence, where in told.items():
                about.setdefault(_few([name for name in where if name]), []).append(sentence)
            lines = [
                tag("p", tag("code", listed) if listed else None, ": " if listed else "", "; ".join(sentences))
                for listed, sentences in about.items()
            ]
            items.append(tag("div", tag("p", tag("b", link(student))), *lines, class_="flag"))
    why = tag("p", "These are reasons to look and to talk, not findings; no mark depends on them.", class_="quiet")
    return joined(why, *items) if items else tag("p", "Nothing was flagged.")


def _chance(bits: float) -> str:
    """How strong a sign it is, in words: bits count how unusual their lines are in this class."""
    if bits < 1.5 * ENOUGH:
        return "Two who work alone can write the same; look first."
    return "Few in this class write such lines; that two do so alone is unlikely."


# ---------------------------------------------------------------- the rest
def _exercises(room: Room) -> Markup:
    count, lines = shares(room), []
    for e in room.exercises:
        of = count[e.name]
        share = round(100 * of["passed"] / max(1, of.total()))
        bar = tag("span", tag("i", style=f"width: {share}%"), class_="bar", aria_hidden="true")
        found = [cause for cause in causes(room) if e.name in cause.exercises]
        first = f"{found[0].text} ({_of(found[0].students, e.name, found[0].text)})" if found else ""
        common = room.common.get(e.name, [])
        shared = f" {max(map(len, common))} have the same solution." if common else ""
        name = tag("span", f"{e.assignment} {e.name}", id=f"x-{e.name}")
        about = f"step {e.step} of {ASSIGNMENTS[e.assignment].folder}/README.md, {counted(e.points, 'point')}"
        cells: list[object] = [joined(name, tag("div", about, class_="quiet")), joined(bar, f" {share} %")]
        lines.append([*cells, str(of["wrong"]), str(of["not started"]), first + shared])
    names = ["exercise", "passed", "wrong", "not started", "most frequent cause"]
    return table(names, lines, "Share passed, and what went wrong most", frozenset((2, 3)))


def _of(students: list[Student], exercise: str, text: str) -> str:
    return counted(sum(without_sizes(s.row(exercise)["cause"]) == text for s in students), "student")


def _missing(room: Room) -> Markup | None:
    parts: list[Markup] = []
    if room.absent:
        names = tag("ul", *(tag("li", str(person)) for person in room.absent))
        parts += [tag("h3", f"On the roster, without a hand-in: {len(room.absent)}"), names]
    if room.strangers:
        items = [tag("li", link(s), f": {s.why}") for s in room.strangers]
        parts += [tag("h3", f"Hand-ins that could not be given to anybody: {len(items)}"), tag("ul", *items)]
    if remarked := [s for s in room.students if s.remark]:
        items = [tag("li", link(s), f": {s.remark}") for s in remarked]
        parts += [tag("h3", "Remarks on what was handed in"), tag("ul", *items)]
    if room.others:
        parts += [tag("h3", "Files that are nobody's"), tag("ul", *(tag("li", name) for name in room.others))]
    return joined(*parts) if parts else None
