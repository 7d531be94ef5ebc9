"""The host agent with the shipped functions: ``python -m isthmus.functions.agent --help``.

The agent itself (:mod:`isthmus.vnf.agent`) knows no function; whoever ships others starts it with his own registry.
"""

from __future__ import annotations

import sys

from isthmus.functions import shipped
from isthmus.vnf.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], shipped(), "isthmus.functions.agent"))
