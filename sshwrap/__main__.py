"""`python -m sshwrap`."""

import sys

from sshwrap.cli import main

sys.exit(main())
