"""`python -m sshwrap.supervisor FD`: the background supervisor, as `up -d` starts it."""

import sys

from sshwrap.supervisor.background import main

sys.exit(main(int(sys.argv[1])))
