"""Assignments: exercises cut from the library's own source, one check for all, and reports that say where and why."""
