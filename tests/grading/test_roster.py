"""The list of a class as platforms and spreadsheets write it, and whose a hand-in is."""

from __future__ import annotations

import pytest

from npsoftmax.errors import InputError
from npsoftmax.grading.classroom.matching import match
from npsoftmax.grading.classroom.roster import read_roster

CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,a1 (991),Final Score\n"
    "    Points Possible,,,,,36,(read only)\n"
    '"Smith, Anna",123,S7001,asmith,A,,\n"Müller, Jürgen",124,S7002,jmuller,A,,\n"Student, Test",125,,x,A,,\n'
)
TABLES = {
    "plain": ("name,id,email\nAnna Smith,7001,anna@x.org\nJürgen Müller,7002,j@x.org\n", "utf-8", "table"),
    "a byte order mark and semicolons": (
        "Name;ID;E-Mail\nAnna Smith;7001;anna@x.org\nJürgen Müller;7002;\n",
        "utf-8-sig",
        "table",
    ),
    "tabs": ("name\tid\nAnna Smith\t7001\nJürgen Müller\t7002\n", "utf-16", "table"),
    "German, from Excel": ("Vorname;Nachname;Matrikelnummer\nAnna;Smith;7001\nJürgen;Müller;7002\n", "cp1252", "table"),
    "a line for Excel": ("sep=;\nname;id\nAnna Smith;7001\nJürgen Müller;7002\n", "utf-8", "table"),
    "Moodle's participants": (
        '"First name","Last name","ID number","Email address"\nAnna,Smith,7001,anna@x.org\nJürgen,Müller,7002,\n',
        "utf-8-sig",
        "table",
    ),
    "Moodle's worksheet": (
        "Identifier,Full name,Email address,Status,Grade,Maximum Grade\n"
        "Participant 7001,Anna Smith,anna@x.org,,,100\nParticipant 7002,Jürgen Müller,j@x.org,,,100\n",
        "utf-8",
        "worksheet",
    ),
    "Canvas's gradebook": (CANVAS, "utf-8-sig", "canvas"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_roster_is_read_however_it_is_written(name, tmp_path):
    text, encoding, kind = TABLES[name]
    (tmp_path / "r.csv").write_bytes(text.encode(encoding))
    roster = read_roster(tmp_path / "r.csv")
    assert roster.kind == kind and [p.name for p in roster.people] == ["Anna Smith", "Jürgen Müller"]
    assert [any(end in i for i in p.ids) for p, end in zip(roster.people, ("7001", "7002"), strict=True)] == [
        True,
        True,
    ]
    assert match("Anna Smith_7001_assignsubmission_file_", roster.people).person is roster.people[0]


BAD = {
    "nothing": (b"", "it is empty"),
    "headings alone": (b"name,id\n", "nobody below"),
    "no headings": (b"Anna Smith,7001\n", "columns such as name, id and email"),
    "a workbook": (b"PK\x03\x04...", "save it as CSV"),
    "an id twice": (b"name,id\nA B,1\nC D,1\n", "A B and C D have the same id '1'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_roster_that_cannot_be_used_is_told_in_one_sentence(name, tmp_path):
    data, said = BAD[name]
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_roster(tmp_path / "r.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_roster(tmp_path / "none.csv")


@pytest.fixture
def people(tmp_path):
    lines = [
        "name,id,email",
        "Anna Smith,7001,anna.smith@x.org",
        "Anna Maria Smith,7002,ams@x.org",
        "Jürgen Müller,7003,jm@x.org",
    ]
    lines += [
        "Wei Li,7004,wl@x.org",
        "Li Wei,7005,lw@x.org",
        "Łukasz Żak,7006,lz@x.org",
        "Nora,ab12cd,n@x.org",
        "An Na,7008,an@x.org",
    ]
    (tmp_path / "r.csv").write_text("\n".join(lines), encoding="utf-8")
    return {p.id: p for p in read_roster(tmp_path / "r.csv").people}


FITS = {
    "7001": "7001",
    "smithanna_7001_4567": "7001",
    "smithanna_123_4567": "7001",
    "Anna Smith_5001_assignsubmission_file_": "7001",
    "SMITH, anna": "7001",
    "anna_maria_smith": "7002",
    "maria_smith": "7002",
    "juergen_mueller": "7003",
    "Muller Jurgen": "7003",
    "Ju\u0308rgen-Mu\u0308ller": "7003",
    "lukasz.zak": "7006",
    "AB12CD": "ab12cd",
    "anna.smith@x.org": "7001",
    "wl": "7004",
    "wl@x.org_123": "7004",
    "liwei7004_1_2": "7004",
    "Wei_Li_7005": "7005",
    "nora": "ab12cd",
}


@pytest.mark.parametrize("handin", FITS)
def test_a_hand_in_is_given_to_its_student(handin, people):
    assert match(handin, people.values()).person is people[FITS[handin]]


UNSURE = {
    "Wei Li": "Wei Li (7004) or Li Wei (7005)",
    "Anna Smith_7003": "it could be",
    "7001 7002": "it could be",
    "smith": "is it Anna Smith (7001) or Anna Maria Smith (7002)",
    "Bob Jones": "nobody on the roster",
    "": "nobody on the roster",
}


@pytest.mark.parametrize("handin", UNSURE)
def test_between_two_nothing_is_guessed(handin, people):
    found = match(handin, people.values())
    assert found.person is None and UNSURE[handin] in found.why


def test_the_id_in_a_handout_counts_only_where_the_name_says_nothing(people):
    assert match("homework", people.values(), "7003").person is people["7003"]
    assert match("anna_smith", people.values(), "7003").person is people["7001"]
