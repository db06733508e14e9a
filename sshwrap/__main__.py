"""`python -m sshwrap`, and the console script; Ctrl-C while we are being loaded is no error."""

import sys


def main() -> int:
    try:
        from sshwrap.cli import main as run
    except KeyboardInterrupt:
        return 130  # ExitStatus.INTERRUPTED, which may not be loaded yet
    return run()


if __name__ == "__main__":
    sys.exit(main())
