"""What every microcontroller stands on: reconcile loop, work queue, leadership, health (DESIGN section 5)."""

from isthmus.microcontroller.clock import Surroundings
from isthmus.microcontroller.controller import Context, Listener, Microcontroller, Traits
from isthmus.microcontroller.errors import Later, MicrocontrollerError, NotLeader
from isthmus.microcontroller.health import Health
from isthmus.microcontroller.leadership import LeadershipSettings
from isthmus.microcontroller.metrics import prometheus_text
from isthmus.microcontroller.queue import BackOff, WorkQueue
from isthmus.microcontroller.runtime import Runner
from isthmus.microcontroller.shadow import Difference, ShadowReport, ShadowWrite
from isthmus.microcontroller.state import Known, State
from isthmus.microcontroller.writer import Fence, Writer

__all__ = [
    "BackOff",
    "Context",
    "Difference",
    "Fence",
    "Health",
    "Known",
    "Later",
    "LeadershipSettings",
    "Listener",
    "Microcontroller",
    "MicrocontrollerError",
    "NotLeader",
    "Runner",
    "ShadowReport",
    "ShadowWrite",
    "State",
    "Surroundings",
    "Traits",
    "WorkQueue",
    "Writer",
    "prometheus_text",
]
