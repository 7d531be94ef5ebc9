"""Recorded histories and who judges them: the same format and the same judges for simulation and real processes."""

from isthmus.chaos.history.errors import (
    HeaderError,
    HistoryError,
    HistoryFileError,
    RecordError,
)
from isthmus.chaos.history.judge import judge_all, unkept
from isthmus.chaos.history.kinds import KINDS, Field, Kind
from isthmus.chaos.history.record import SCHEMA, Header, History, Record, encode, read
from isthmus.chaos.history.recorder import Memory, Recorder, open_recorder, save
from isthmus.chaos.history.report import json_report, text_report
from isthmus.chaos.history.verdict import Outcome, Verdict

__all__ = [
    "KINDS",
    "SCHEMA",
    "Field",
    "Header",
    "HeaderError",
    "History",
    "HistoryError",
    "HistoryFileError",
    "Kind",
    "Memory",
    "Outcome",
    "Record",
    "RecordError",
    "Recorder",
    "Verdict",
    "encode",
    "json_report",
    "judge_all",
    "open_recorder",
    "read",
    "save",
    "text_report",
    "unkept",
]
