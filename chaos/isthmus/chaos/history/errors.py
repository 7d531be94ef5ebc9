"""What can be wrong with a history::

HistoryError
├── HistoryFileError      the file cannot be read at all
├── HeaderError           its first line is not a header of this format
└── RecordError           a line is not a record: says which line, which field, what was expected
"""

from __future__ import annotations


class HistoryError(Exception):
    """Base; the text is one sentence for a person."""


class HistoryFileError(HistoryError):
    """The file is absent, or not readable."""


class HeaderError(HistoryError):
    """Line 1 is not the header."""


class RecordError(HistoryError):
    """Line ``line`` is not a record of this format."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
