"""Our interpreter, its packages and the checkout, where everybody in the home may read them.

A folder of root's above them would be closed to an account without rights. They are bound, not
copied: the checkout in the home is the one under test.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PYTHON = f"/srv/python/bin/{Path(os.path.realpath(sys.executable)).name}"
PLACES = {
    "python": sys.base_prefix,
    "packages": sysconfig.get_path("purelib"),
    "checkout": str(REPOSITORY),
}


def bind(home_folder: Path) -> list[tuple[str, str]]:
    """[from, to] pairs for a host whose /srv is `home_folder`."""
    for name in PLACES:
        (home_folder / name).mkdir(mode=0o755)
    return [(source, f"/srv/{name}") for name, source in PLACES.items()]


def environment() -> dict[str, str]:
    """With it, `PYTHON -m sshwrap` runs in the home."""
    shared = {"LD_LIBRARY_PATH": "/srv/python/lib"}  # where libpython is one, and not the system's
    is_shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED")) and sys.base_prefix != "/usr"
    return {
        "PYTHONPATH": "/srv/checkout:/srv/packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        **(shared if is_shared else {}),
    }
