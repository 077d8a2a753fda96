"""What grading a class leaves in a folder: class.html, marks.csv, files to import, and a page for each student."""

from __future__ import annotations

from pathlib import Path

from npsoftmax.files import write_replacing
from npsoftmax.grading.cells import as_csv
from npsoftmax.grading.classroom.feedback import feedback_page
from npsoftmax.grading.classroom.imports import canvas, marks, moodle
from npsoftmax.grading.classroom.report import class_page
from npsoftmax.grading.classroom.room import Room


def write_class(room: Room, out: Path) -> list[Path]:
    """Write them all; the paths, the page of the class first. Import files need a roster."""
    files = {"class.html": class_page(room).encode()}
    files["marks.csv"] = as_csv(marks(room)).encode("utf-8-sig")  # spreadsheets read UTF-8 by its mark
    if room.roster is not None:
        files["moodle.csv"] = as_csv(moodle(room)).encode()
        files["canvas.csv"] = as_csv(canvas(room)).encode()
    for student in room.students:
        files[f"feedback/{student.slug}.html"] = feedback_page(room, student).encode()
    (out / "feedback").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_replacing(out / name, data)
    return [out / name for name in files]
