"""Recorded histories and who judges them: the same format and the same judges for simulation and real processes."""

from isthmus.chaos.history.errors import (
    HeaderError,
    HistoryError,
    HistoryFileError,
    RecordError,
)
from isthmus.chaos.history.kinds import KINDS, Field, Kind
from isthmus.chaos.history.record import SCHEMA, Header, History, Record, encode, read
from isthmus.chaos.history.recorder import Memory, Recorder, open_recorder, save

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
    "Record",
    "RecordError",
    "Recorder",
    "encode",
    "open_recorder",
    "read",
    "save",
]
