"""Whose hand-in it is: by id, by email and by name in either order; never guessed between two."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from npsoftmax.grading.classroom.roster import Person, plain, spellings, words

# Words that learning platforms and students put into the names of files and folders, which are nobody's name.
NOT_NAMES = frozenset(
    (
        "assignsubmission",
        "file",
        "onlinetext",
        "late",
        "submission",
        "submissions",
        "final",
        "copy",
        "zip",
        "py",
        "ipynb",
    )
)
SHORTEST = 3  # letters or digits of an id that is looked for inside a longer name


@dataclass(frozen=True)
class Match:
    """Whose a hand-in is: the person, or None and why."""

    person: Person | None
    why: str = ""


def match(handin: str, people: Iterable[Person], noted: str = "") -> Match:
    """The person whose hand-in has this name. noted: the id that is written in the hand-in itself; it only counts
    where the name says nothing, because a student can write there whatever they like."""
    people = list(people)
    evidence = [found for kind in (_by_id, _by_email, _by_name) if (found := kind(handin, people))]
    if not evidence and noted:
        evidence = [[person for person in people if plain(noted) in _plain_ids(person)]]
        evidence = [found for found in evidence if found]
    if not evidence:
        near = _near(handin, people)
        return Match(None, "nobody on the roster" + (f"; is it {_either(near)}?" if near else ""))
    common = [person for person in evidence[0] if all(person in found for found in evidence)]
    if len(common) == 1:
        return Match(common[0])
    several = common or list(dict.fromkeys(person for found in evidence for person in found))
    return Match(None, f"it could be {_either(several)}: rename it to the id of one of them")


def _either(people: list[Person]) -> str:
    return " or ".join(map(str, people[:3])) + (f" or one of {len(people) - 3} more" if len(people) > 3 else "")


# ---------------------------------------------------------------- kinds of evidence
def _plain_ids(person: Person) -> set[str]:
    """Its ids as they are looked for; of Moodle's "Participant 12345" the number."""
    found = {plain(value) for value in person.ids}
    return found | {number[1] for value in found if (number := re.fullmatch(r"\D+ (\d+)", value))}


def _by_id(handin: str, people: list[Person]) -> list[Person]:
    whole, parts = plain(handin).strip(), {*words(handin), *re.findall(r"\d+", handin)}
    joined = "".join(words(handin))

    def has(value: str) -> bool:
        if value == whole or "".join(words(value)) == joined:
            return True
        inside = words(value)
        return len(value) >= SHORTEST and (value in parts if len(inside) == 1 else _within(inside, words(handin)))

    return [person for person in people if any(has(value) for value in _plain_ids(person) if value)]


def _by_email(handin: str, people: list[Person]) -> list[Person]:
    text = plain(handin)

    def has(person: Person) -> bool:
        mail = plain(person.email)
        if "@" not in mail:
            return False
        return (
            bool(re.search(rf"(?<![^\W_]){re.escape(mail)}(?![^\W_])", text)) or text.strip() == mail.partition("@")[0]
        )

    return [person for person in people if has(person)]


def _by_name(handin: str, people: list[Person]) -> list[Person]:
    """Those all of whose names stand in it; of these the ones with the most names."""
    said = [set(spelt) for spelt in spellings(handin)]
    apart, joined = [], []  # "anna_smith", and Canvas's "smithanna"
    for person in people:
        spelt = [names for names in spellings(person.name) if names]
        if any(set(names) <= parts for names in spelt for parts in said):
            apart.append(person)
        elif any({"".join(n), "".join(n[::-1]), "".join(n[-1:] + n[:-1])} & parts for n in spelt for parts in said):
            joined.append(person)
    found = apart or joined
    if found:
        return [person for person in found if not any(_more_names(other, person) for other in found)]
    # A middle name may be missing: first and last name, and nothing else.
    rest = [{w for w in parts if not w.isdigit() and w not in NOT_NAMES} for parts in said]
    rest = [parts for parts in rest if len(parts) >= 2]
    return [p for p in people if any(parts <= set(spelt) for spelt in spellings(p.name) for parts in rest)]


def _more_names(other: Person, person: Person) -> bool:
    return set(words(other.name)) > set(words(person.name))


def _near(handin: str, people: list[Person]) -> list[Person]:
    """Those who share a name with it: to be suggested, not taken."""
    parts = {w for w in words(handin) if not w.isdigit() and w not in NOT_NAMES and len(w) >= SHORTEST}
    return [p for p in people if parts & set(words(p.name))][:3]


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))
