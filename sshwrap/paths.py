"""Where everything lives: the profiles file, the state directory, and every name inside it.

Laws. Every command of a user finds the same places: nothing depends on a login session, so neither
XDG_RUNTIME_DIR nor TMPDIR is asked. Every Unix socket's path is shorter than 85 bytes. No module is
imported here that json does not need as well: `status --json` passes here.
"""
# ruff: noqa: PTH100, PTH101, PTH102, PTH106, PTH110, PTH116, PTH117, PTH118, PTH120, PTH208
# Reason: pathlib alone costs a good part of what `status --json` may cost in all.

from __future__ import annotations

import os
import stat

from sshwrap.errors import UserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# sun_path holds 104 bytes on macOS (108 on Linux), and ssh binds a control socket under its name
# and 17 bytes more before it renames it (mux.c:muxserver_listen).
SOCKET_PATH_BYTES = 84
CONTROL_NAME_BYTES = 24  # names in `control_dir` may be this long
# Not tempfile.gettempdir(): cron, su and macOS's per-session TMPDIR would each give another one.
TEMPORARY = "/tmp"  # noqa: S108 - only a directory of ours in it is used, and it is checked

_CONTROL = "ssh"
_DEEPEST_SOCKET = 1 + len(_CONTROL) + 1 + CONTROL_NAME_BYTES  # the longest of them all


class Places:
    """The files of one user: `profiles_file` and `state_dir` (absolute), all others under them.

    `ssh` is the program to run, a path or a name to look for on PATH. `socket_dir` is the state
    directory, or where that is too deep for a Unix socket a directory in `temporary` that is
    named after the user and the state directory.
    """

    __slots__ = ("profiles_file", "socket_dir", "ssh", "state_dir")

    def __init__(
        self, profiles_file: str, state_dir: str, ssh: str = "ssh", *, temporary: str = TEMPORARY
    ) -> None:
        self.profiles_file = profiles_file
        self.state_dir = state_dir
        self.ssh = ssh
        self.socket_dir = state_dir
        if len(os.fsencode(state_dir)) + _DEEPEST_SOCKET > SOCKET_PATH_BYTES:
            self.socket_dir = os.path.join(temporary, _socket_dir_name(state_dir))

    @property
    def background_lock(self) -> str:
        return os.path.join(self.state_dir, "background.lock")

    @property
    def background_socket(self) -> str:
        return os.path.join(self.socket_dir, "background.sock")

    def front_lock(self, pid: int) -> str:
        return os.path.join(self.state_dir, "front", f"{pid}.lock")

    def front_socket(self, pid: int) -> str:
        return os.path.join(self.socket_dir, f"front-{pid}.sock")

    def front_pids(self) -> list[int]:
        """Supervisors in front that left a lock file; whether one still lives, its lock tells."""
        stems = _stems(os.path.join(self.state_dir, "front"), ".lock")
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def profile_lock(self, name: str) -> str:
        return os.path.join(self.state_dir, "lock", name + ".lock")

    def wanted_file(self, name: str) -> str:
        return os.path.join(self.state_dir, "wanted", name + ".json")

    def wanted_names(self) -> list[str]:
        return _stems(os.path.join(self.state_dir, "wanted"), ".json")

    def journal_file(self, name: str) -> str:
        return os.path.join(self.state_dir, "journal", name + ".jsonl")

    def journal_names(self) -> list[str]:
        return _stems(os.path.join(self.state_dir, "journal"), ".jsonl")

    def session_file(self, name: str) -> str:
        """Which session on the server is this tunnel's; needed when it outlives the tunnel."""
        return os.path.join(self.state_dir, "sessions", name + ".json")

    @property
    def control_dir(self) -> str:
        """For ssh's own control sockets, each a name of at most CONTROL_NAME_BYTES."""
        return os.path.join(self.socket_dir, _CONTROL)

    @property
    def known_cache(self) -> str:
        """What was last read from the profiles file: `status` asks it rather than parse TOML."""
        return os.path.join(self.state_dir, "known.json")

    def prepare_state_dir(self) -> None:
        """Make every directory, 0700 and ours; raises UserError with one line and what to type."""
        inside = ("front", "lock", "wanted", "journal", "sessions")
        directories = [self.state_dir, *(os.path.join(self.state_dir, name) for name in inside)]
        if self.socket_dir != self.state_dir:
            directories.append(self.socket_dir)
        for directory in (*directories, self.control_dir):
            _make_private(directory)


def tidy(places: Places) -> None:
    """Take away the directories for sockets where they are in the temporary one, and empty."""
    if places.socket_dir != places.state_dir:
        for directory in (places.control_dir, places.socket_dir):
            try:
                os.rmdir(directory)
            except OSError:
                return  # in use, or gone already


def find_places(environ: Mapping[str, str], *, profiles: str | None = None) -> Places:
    """The places of the user who runs this; `profiles` is what `--profiles` was given.

    An empty variable counts as unset, and a relative XDG one as well, as that specification has
    it. A relative SSHWRAP_ one is relative to the working directory. Raises UserError where there
    is no home directory and one is needed.
    """
    profiles_file = profiles or environ.get("SSHWRAP_PROFILES")
    if not profiles_file:
        config = _base_dir(environ, "XDG_CONFIG_HOME", ".config", wanted="SSHWRAP_PROFILES")
        profiles_file = os.path.join(config, "sshwrap", "profiles.toml")
    state_dir = environ.get("SSHWRAP_STATE_DIR")
    if not state_dir:
        state = _base_dir(environ, "XDG_STATE_HOME", ".local/state", wanted="SSHWRAP_STATE_DIR")
        state_dir = os.path.join(state, "sshwrap")
    ssh = environ.get("SSHWRAP_SSH") or "ssh"
    return Places(_absolute(profiles_file), _absolute(state_dir), ssh)


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise UserError(
            f'"{path}" is relative, and the working directory does not exist any more',
            advice="cd    (then once more)",
        ) from None


def _base_dir(environ: Mapping[str, str], variable: str, under_home: str, *, wanted: str) -> str:
    given = environ.get(variable, "")
    if os.path.isabs(given):
        return given
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        home = _passwd_home()
    if not os.path.isabs(home):
        raise UserError(
            f"no home directory: HOME is not set, and user {os.geteuid()} has none in passwd",
            advice=f"set HOME, or {wanted} to an absolute path",
        )
    return os.path.join(home, under_home)


def _passwd_home() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container that runs under a number
        return ""


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _socket_dir_name(state_dir: str) -> str:
    import hashlib

    digest = hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()
    return f"sshwrap-{os.geteuid()}-{digest[:12]}"


def _stems(directory: str, suffix: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:  # nothing was ever started here
        return []
    return sorted(n[: -len(suffix)] for n in names if n.endswith(suffix) and n != suffix)


def _make_private(directory: str) -> None:
    """One directory, 0700 and ours, and its missing parents as well (XDG asks for 0700 too)."""
    try:
        _make_parents(os.path.dirname(directory))
        _make(directory)
        link = os.lstat(directory)
        found = os.stat(directory)
    except OSError as error:
        raise _cannot_make(directory, error) from None
    uid = os.geteuid()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (uid, 0):
        # Somebody else's link in a directory for everybody could lead us anywhere.
        raise UserError(
            f'"{directory}" is a link that {_user_name(link.st_uid)} made', advice=_elsewhere(uid)
        )
    if not stat.S_ISDIR(found.st_mode):
        raise UserError(
            f'"{directory}" is not a directory',
            advice=f"mv {_quoted(directory)} {_quoted(directory + '.old')}",
        )
    if found.st_uid != uid:
        raise _not_ours(directory, found.st_uid, uid)
    if stat.S_IMODE(found.st_mode) != 0o700:
        try:
            os.chmod(directory, 0o700)
            found = os.stat(directory)
        except OSError as error:
            raise _cannot_make(directory, error) from None
        if stat.S_IMODE(found.st_mode) & 0o077:  # a file system without modes
            raise UserError(
                f'"{directory}" stays open to other users (its file system keeps no modes)',
                advice=_elsewhere(uid),
            )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UserError(f'"{directory}" is not writable', advice=_elsewhere(uid))


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return
    os.chmod(directory, 0o700)  # whatever the umask left of it


def _make_parents(directory: str) -> None:
    if not os.path.exists(directory):
        _make_parents(os.path.dirname(directory))
        _make(directory)


def _cannot_make(directory: str, error: OSError) -> UserError:
    uid = os.geteuid()
    parent = os.path.dirname(directory)
    while not os.path.exists(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    home = _passwd_home()
    advice = _elsewhere(uid)
    if isinstance(error, PermissionError) and home and (parent + "/").startswith(home + "/"):
        # Left behind by a first run under sudo, as a rule.
        advice = f"sudo chown {_user_name(uid)}: {_quoted(parent)} && chmod u+rwx {_quoted(parent)}"
    return UserError(f'"{directory}" cannot be made or used', said=error.strerror, advice=advice)


def _not_ours(directory: str, owner: int, uid: int) -> UserError:
    message = f'"{directory}" belongs to {_user_name(owner)}, and you are {_user_name(uid)}'
    if uid == 0:
        return UserError(message, advice=f"sudo -u {_user_name(owner)} sshwrap …")
    if owner == 0:
        return UserError(message, advice=f"sudo chown -R {_user_name(uid)}: {_quoted(directory)}")
    return UserError(message, advice=_elsewhere(uid))


def _elsewhere(uid: int) -> str:
    home = _passwd_home()
    if os.path.isabs(home) and os.access(home, os.W_OK | os.X_OK):
        return f"export SSHWRAP_STATE_DIR={_quoted(os.path.join(home, '.sshwrap-state'))}"
    return f"export SSHWRAP_STATE_DIR=/var/tmp/sshwrap-{uid}"


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
