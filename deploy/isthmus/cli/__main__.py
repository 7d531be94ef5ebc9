"""``python -m isthmus.cli`` is the ``isthmus`` command."""

import sys

from isthmus.cli.main import main

sys.exit(main())
