"""The list of a class, read from CSV as Moodle, Canvas or a spreadsheet writes it; and who a hand-in belongs to."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from npsoftmax.errors import InputError

# What columns are called, without accents, signs and spaces. The first that a table has is taken.
FULL = ("name", "fullname", "student", "studentname", "displayname", "vollstandigername", "nomcomplet", "naam")
FIRST = ("firstname", "first", "givenname", "forename", "vorname", "prenom", "nombre", "nome")
LAST = ("lastname", "last", "surname", "familyname", "nachname", "nom", "apellidos", "apellido", "cognome")
IDS = (
    *("idnumber", "studentid", "studentnumber", "matriculationnumber", "matriculation", "matrikelnummer", "matrikel"),
    *("sisuserid", "sisid", "sid", "username", "sisloginid", "loginid", "login", "user", "netid", "number", "id"),
    *("identifier", "participant", "kennung", "benutzername", "numerodidentification", "anmeldename"),
)
EMAIL = ("email", "emailaddress", "mail", "emailadresse", "adressedecourriel", "courriel", "correo")
CANVAS = {"student", "id", "section"}  # columns of its exported gradebook
WORKSHEET = {"identifier", "grade"}  # columns of Moodle's grading worksheet
LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa"})
SIGNS = ",;\t|"


@dataclass(eq=False)
class Person:
    """Somebody on the roster. ids: student number, login and what else identifies them, the most official first;
    row: the cells of their line."""

    name: str
    ids: tuple[str, ...]
    email: str
    row: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The most official id, "" where the roster has none."""
        return self.ids[0] if self.ids else ""

    def __str__(self) -> str:
        """The name, and what tells two of the same name apart."""
        told = self.id or self.email
        return f"{self.name} ({told})" if told and told != self.name else self.name


@dataclass(eq=False)
class Roster:
    """A class. kind: "canvas" for its exported gradebook, "worksheet" for Moodle's, else "table"; lines: all cells as
    they were, the header first, with lines that are nobody's, such as Canvas's points possible."""

    kind: str
    people: list[Person]
    lines: list[list[str]]


# ---------------------------------------------------------------- words of names
def plain(text: str) -> str:
    """Small letters without accents."""
    text = text.casefold().translate(LETTERS)
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def words(text: str) -> tuple[str, ...]:
    """The words and numbers in a text, plain."""
    return tuple(re.findall(r"[^\W_]+", plain(text)))


def spellings(text: str) -> set[tuple[str, ...]]:
    """Its words, and those with ae, oe and ue for ä, ö and ü, as file names often have them."""
    composed = unicodedata.normalize("NFC", text.casefold())
    return {words(text), words(composed.translate(UMLAUTS))}


# ---------------------------------------------------------------- reading
def read_roster(path: Path) -> Roster:
    """The roster in a CSV file: with or without a byte order mark, with commas, semicolons or tabs.

    Raises InputError where there is no file, no column with names or ids, or the same id twice.
    """
    lines = _cells(path)
    keys = ["".join(words(cell)) for cell in lines[0]]
    full, first, last = (_column(keys, names) for names in (FULL, FIRST, LAST))
    ids = [keys.index(name) for name in IDS if name in keys]
    email = _column(keys, EMAIL)
    if full is None and first is None and last is None and not ids and email is None:
        raise InputError(
            f"--roster {path}: its first line is {', '.join(lines[0])!r:.120}, but columns such as name, id and email "
            "were expected; give it a line of such headings."
        )
    kind = "canvas" if set(keys) >= CANVAS else "worksheet" if set(keys) >= WORKSHEET else "table"
    people = []
    for line in lines[1:]:
        line += [""] * (len(keys) - len(line))
        if kind == "canvas" and ("points possible" in line[0].casefold() or words(line[0]) == ("student", "test")):
            continue
        mail = line[email].strip() if email is not None else ""
        own = tuple(dict.fromkeys(value for i in ids if (value := line[i].strip())))
        name = line[full].strip() if full is not None else ""
        if not name:
            name = " ".join(line[i].strip() for i in (first, last) if i is not None).strip()
        if kind == "canvas" and name.count(",") == 1:
            name = " ".join(part.strip() for part in reversed(name.split(",")))
        if name or own or mail:
            people.append(Person(name or (own[0] if own else mail), own, mail, line))
    if not people:
        raise InputError(f"--roster {path}: it has headings, but nobody below them.")
    seen: dict[str, Person] = {}
    for person in people:
        other = seen.setdefault(person.id.casefold(), person) if person.id else person
        if other is not person:
            raise InputError(f"--roster {path}: {other.name} and {person.name} have the same id {person.id!r}.")
    return Roster(kind, people, lines)


def _cells(path: Path) -> list[list[str]]:
    """The lines that are not empty, as cells."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"--roster {path}: it cannot be read ({error.strerror}); name the CSV file of your class."
        ) from error
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(f"--roster {path}: this is a workbook of a spreadsheet; save it as CSV first.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")  # what spreadsheets on Windows write
    if re.match(r"sep=.\r?\n", text):  # a line for Excel alone
        text = text.partition("\n")[2]
    head = next((line for line in text.splitlines() if line.strip()), "")
    sign = max(SIGNS, key=head.count)
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=sign) if any(c.strip() for c in line)]
    if not lines:
        raise InputError(f"--roster {path}: it is empty; a line of headings and a line a student were expected.")
    return lines


def _column(keys: list[str], names: tuple[str, ...]) -> int | None:
    return next((keys.index(name) for name in names if name in keys), None)
