"""The letters of ssh(1) and autossh(1), and what becomes of each in a profile (ssh.c:main)."""

from __future__ import annotations

_ITSELF = "sshwrap does that itself"
_NO_SESSION = "a tunnel opens no session, so it would do nothing"

# Letters with a value, glued or in the next word; -M is autossh's and is read apart.
TAKES_VALUE = frozenset("bcDeEFiIJlLmoOpPQRSwWB")

# Letters without one; those in DROPPED say why they are not carried over, "" says nothing because
# the tunnel does the same.
WITHOUT_VALUE = frozenset("2aAfnNqtTvxXyY")

# Letter without a value -> the keywords that it stands for (ssh.c:main).
AS_OPTION = {
    "4": (("AddressFamily", "inet"),),
    "6": (("AddressFamily", "inet6"),),
    "C": (("Compression", "yes"),),
    "k": (("GSSAPIDelegateCredentials", "no"),),
    "K": (("GSSAPIAuthentication", "yes"), ("GSSAPIDelegateCredentials", "yes")),
}

# Letter with a value -> the keyword that takes it.
VALUE_OF = {
    "b": "BindAddress",
    "B": "BindInterface",
    "c": "Ciphers",
    "I": "PKCS11Provider",
    "m": "MACs",
}

DROPPED = {
    "2": "",
    "a": "",
    "n": "",
    "N": "",
    "T": "",
    "x": "",
    "A": _NO_SESSION,
    "X": _NO_SESSION,
    "Y": _NO_SESSION,
    "t": _NO_SESSION,
    "e": _NO_SESSION,
    "f": "-d puts the tunnel into the background: sshwrap run -d …",
    "q": "sshwrap reads what ssh says; -q before `run` makes sshwrap quiet",
    "v": "ssh always says all to sshwrap; -v before `run` shows it",
    "y": "sshwrap keeps the log: sshwrap logs",
    "E": "sshwrap keeps the log: sshwrap logs",
    "M": "every tunnel has a control socket of its own",
    "S": "every tunnel has a control socket of its own",
}

REFUSED = {
    "1": "SSH protocol 1 is gone from OpenSSH",
    "G": "prints a configuration and makes no tunnel",
    "O": "commands another ssh and makes no tunnel",
    "P": "means another thing in every version of ssh; write -o Tag=NAME",
    "Q": "asks ssh what it can do and makes no tunnel",
    "s": "a tunnel runs no subsystem on the server",
    "V": "prints a version and makes no tunnel",
    "w": "a network device is no forward",
    "W": "connects one standard input and output, nothing that could be kept up; write -L",
}

_AUTOSSH = {
    "AUTOSSH_PATH": "to run another ssh set SSHWRAP_SSH",
    "AUTOSSH_GATETIME": "sshwrap tries again whatever the first try was",
    "AUTOSSH_POLL": "server_alive_interval says how often the line is looked at",
    "AUTOSSH_FIRST_POLL": "server_alive_interval says how often the line is looked at",
    "AUTOSSH_PORT": "ssh's own keepalive watches the line",
    "AUTOSSH_MESSAGE": "ssh's own keepalive watches the line",
    "AUTOSSH_MAXSTART": "sshwrap never gives up where trying again can help",
    "AUTOSSH_MAXLIFETIME": "sshwrap keeps a tunnel up until `sshwrap down`",
    "AUTOSSH_PIDFILE": "sshwrap status --json has the pids",
}


def autossh_note(variable: str) -> str:
    """Why a variable of autossh's environment has no effect here, and what has."""
    reason = _AUTOSSH.get(variable, "sshwrap keeps the log: sshwrap logs")
    return f"{variable}: dropped: {reason}"
