"""Every kind of failure: what sshwrap does next, what a beginner reads, the one thing to do.

Laws. The names are published (`status --json`, journals, hooks): one is added, none is renamed.
A {name} in a sentence is filled by ssh/failure.py; what is not known there is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Disposition(StrEnum):
    RETRY = "retry"  # network: try again by the backoff
    SLOW = "slow"  # throttled: at least 20 s, the whole destination
    PORT = "port"  # the port is taken: every 1-5 s for 3 minutes, then 30 s
    PERSON = "person"  # only a person can help: slow retries
    CONFIG = "config"  # bad option or file: failed until reload


@dataclass(frozen=True, slots=True)
class Entry:
    disposition: Disposition
    summary: str
    advice: str
    meaning: str  # for docs/failures.md


_RETRY, _SLOW, _PORT = Disposition.RETRY, Disposition.SLOW, Disposition.PORT
_PERSON, _CONFIG = Disposition.PERSON, Disposition.CONFIG

CATALOGUE: dict[str, Entry] = {
    # On the way to the server.
    "name_not_resolved": Entry(
        _RETRY,
        "the name {host} has no address right now{because}",
        "check the spelling, and that this machine is online: ping {host_word}",
        "Either there is no such name, or this machine cannot reach a name server: without a "
        "network ssh cannot tell the two apart.",
    ),
    "refused": Entry(
        _RETRY,
        "{host} refuses the connection{on_port}",
        "see that sshd runs there and listens{on_port}, and that this is the port you mean",
        "The machine is there and no program listens on that port: sshd is down, the machine is "
        "still booting, or the port is wrong.",
    ),
    "timed_out": Entry(
        _RETRY,
        "{host} does not answer (timed out)",
        "see that it is switched on, and that no firewall drops port {port_or_22}: "
        "nc -vz {host_word} {port_or_22}",
        "Nothing came back at all: the machine is off, its address has changed, or a firewall "
        "drops the packets.",
    ),
    "no_route": Entry(
        _RETRY,
        "there is no way to {host} (no route to host)",
        "check its address and the network here; a firewall in front of it can answer so too",
        "A router or the local network says that it cannot deliver to that address.",
    ),
    "network_unreachable": Entry(
        _RETRY,
        "this machine has no network that leads to {host}",
        "connect this machine; the tunnel comes up by itself as soon as there is a network",
        "There is no route here at all: no link, no address yet, or IPv6 only on one side.",
    ),
    "connect_blocked": Entry(
        _RETRY,
        "this machine forbids the connection to {host}{on_port}{because}",
        "look at this machine's firewall, VPN or SELinux rules",
        "The system here refused to send: a local firewall, a VPN that is down, SELinux.",
    ),
    "source_address_missing": Entry(
        _RETRY,
        "the address or interface to connect from is not there{from_source}",
        "bring that network up, or change BindAddress or BindInterface in ~/.ssh/config",
        "ssh is told to connect from an address or interface that this machine does not have "
        "now, as after a VPN has dropped.",
    ),
    "connect_failed": Entry(
        _RETRY,
        "no connection to {host}{on_port}{because}",
        "run its command by hand and see where it stops: sshwrap show {profile}",
        "The system gave a reason that is none of the usual ones; it stands in the words.",
    ),
    "proxy_failed": Entry(
        _RETRY,
        "the way to {host} by ProxyJump or ProxyCommand broke off{because}",
        "run its command by hand and see where it stops: sshwrap show {profile}",
        "The jump host, or the program that ProxyCommand names, ended before the server was "
        "reached.",
    ),
    "proxy_refused": Entry(
        _PERSON,
        "the jump host does not pass connections on to {host}{because}",
        "allow it in the jump host's sshd_config: AllowTcpForwarding, PermitOpen",
        "The sign-in on the jump host worked; its sshd forbids the onward connection.",
    ),
    "proxy_not_found": Entry(
        _PERSON,
        "the ProxyCommand for {host} cannot be started{command_quoted}",
        "install that program, or correct ProxyCommand in ~/.ssh/config",
        "The shell found no such program, or may not run it.",
    ),
    # The greeting and the key exchange.
    "greeting_timeout": Entry(
        _RETRY,
        "something answers at {host}{on_port}, but sends no SSH greeting",
        "see that this is sshd's port and that the server is not overloaded",
        "TCP works and the other side is silent: an overloaded sshd, another service, or a "
        "network that answers for everybody.",
    ),
    "closed_before_sign_in": Entry(
        _RETRY,
        "{host} closed the connection before the sign-in",
        "if it goes on, read sshd's log on the server: sudo journalctl -u ssh -n 50",
        "sshd is starting or full, it does not like this address (fail2ban, tcp wrappers), or "
        "a load balancer has nobody behind it.",
    ),
    "stalled": Entry(
        _RETRY,
        "{host} stopped answering during the sign-in",
        "if it goes on: the server is overloaded, or the way drops large packets (MTU)",
        "Packets came and then no more, before ssh had signed in.",
    ),
    "throttled": Entry(
        _SLOW,
        "{host} takes no more sign-ins for a while",
        "wait; if it goes on, put forwards to one server into one profile",
        "sshd limits unfinished sign-ins (MaxStartups) and shuts out addresses that failed "
        "often (PerSourcePenalties). Trying harder makes it longer.",
    ),
    "not_ssh": Entry(
        _PERSON,
        "what answers at {host}{on_port} is not an SSH server",
        "check host and port; in a hotel or on a train, sign in on its web page first",
        "The first line was not SSH's: a web server, or a network that shows its own page.",
    ),
    "no_common_algorithm": Entry(
        _PERSON,
        "ssh here and {host} have no {what_word} in common",
        "update the older side; until then, in the profile: ssh_options = {{ {option} = "
        '"+{first_offer}" }}',
        "One side is much older than the other, or its algorithms have been restricted.",
    ),
    # The host key.
    "host_key_unknown": Entry(
        _PERSON,
        "{host} is new here: nobody has accepted its host key yet",
        "{ssh}    (compare the fingerprint with the server's, then answer yes)",
        "ssh asks once whether this is really the server, and nobody was there to answer.",
    ),
    "host_key_changed": Entry(
        _PERSON,
        "{host} shows another host key than the one you accepted",
        "only if you know why (a reinstalled server): ssh-keygen{known_hosts} -R {known_word}",
        "A reinstalled server, a hotel's sign-in page, or somebody in between. Nothing was "
        "sent. sshwrap never accepts a changed key.",
    ),
    "host_key_revoked": Entry(
        _PERSON,
        "{host} shows a host key that is marked as revoked",
        "do not connect; ask whoever runs the server",
        "Somebody has listed this key as stolen or out of use.",
    ),
    # The sign-in.
    "permission_denied": Entry(
        _PERSON,
        "{host} does not let {user_or_you} sign in",
        "put this account's public key on the server: {copy_id}",
        "The server knows none of the keys, or this account may not sign in. It does not tell "
        "which: an unknown user, a wrong key and a locked account look the same.",
    ),
    "passphrase_needed": Entry(
        _PERSON,
        "the key {path} needs its passphrase, and nobody is there to type it",
        "ssh-add {path_word}",
        "The server knows the key; the file is encrypted and no agent holds it.",
    ),
    "second_factor_needed": Entry(
        _PERSON,
        "{host} wants more than the key (a password or a code)",
        "for a tunnel, let sshd take the key alone for this account: AuthenticationMethods "
        "publickey",
        "The key was accepted as the first of several steps.",
    ),
    "key_unreadable": Entry(
        _PERSON,
        "the key {path} cannot be used{because}",
        "{key_remedy}",
        "The file may be read by others, belongs to somebody else, or is damaged.",
    ),
    "key_missing": Entry(
        _PERSON,
        "the key {path} is not there",
        "correct identity_file, or make a key: ssh-keygen -t ed25519 -f {path_word}",
        "The profile or the command line names a file that does not exist.",
    ),
    "key_type_refused": Entry(
        _PERSON,
        "{host} takes no kind of signature that the key can make",
        'in the profile: ssh_options = {{ PubkeyAcceptedAlgorithms = "+ssh-rsa" }}, or use an '
        "ed25519 key",
        "An RSA key and a server that knows only its oldest signature, which ssh has turned off.",
    ),
    "agent_refused": Entry(
        _PERSON,
        "the key {path} is known, but the agent or card does not sign with it{because}",
        "unlock the agent or plug the card in: ssh-add -l",
        "The agent is locked, wants a confirmation, or the card or token is not plugged in.",
    ),
    "too_many_keys": Entry(
        _PERSON,
        "{host} was shown too many keys and hung up",
        "name the key in the profile: identity_file = …, and ssh_options = "
        '{{ IdentitiesOnly = "yes" }}',
        "The agent offered its keys one by one, and sshd counts each as a failed try.",
    ),
    "closed_during_sign_in": Entry(
        _RETRY,
        "{host} closed the connection during the sign-in",
        "if it goes on, read sshd's log on the server: sudo journalctl -u ssh -n 50",
        "The sign-in took too long (LoginGraceTime), or the account's own rules (PAM) ended it.",
    ),
    "server_booting": Entry(
        _RETRY,
        "{host} is starting up or shutting down and lets nobody in yet",
        "nothing: the tunnel comes up by itself when the server is ready",
        "systemd keeps users out until the boot is done.",
    ),
    # The forwards.
    "port_taken": Entry(
        _PORT,
        "{taken} on {host}{or_no_address}",
        "see who holds it, on the server: sudo ss -ltnp 'sport = :{listen_port}'",
        "Another program listens there, or a dead session of this tunnel still holds it until "
        "the server notices.",
    ),
    "privileged_port": Entry(
        _PORT,
        "{listen} cannot be opened on {host}: below 1024 only root may, or it is taken",
        "use a port from 1024 on in remote_forward, or sign in as root",
        "sshd gives no reason; for an account other than root this is the likely one.",
    ),
    "socket_path_taken": Entry(
        _PERSON,
        "{listen} cannot be opened on {host}; most likely an old one is there",
        "{remove_there}    (or for good: StreamLocalBindUnlink yes in its sshd_config)",
        "sshd never removes the socket file, not even after a clean end.",
    ),
    "forwarding_refused": Entry(
        _PERSON,
        "{host} does not allow this account to forward ports",
        "in its sshd_config: AllowTcpForwarding yes (AllowStreamLocalForwarding for sockets), "
        "no DisableForwarding; then reload sshd",
        "sshd's configuration forbids forwarding for this account or for everybody.",
    ),
    "key_may_not_forward": Entry(
        _PERSON,
        "{host} does not allow this key to forward ports",
        "add port-forwarding behind restrict at this key, in ~/.ssh/authorized_keys there",
        "The key's line on the server says restrict or no-port-forwarding.",
    ),
    "port_not_permitted": Entry(
        _PERSON,
        "{host} does not allow {listen} for this account or key",
        'allow it there: permitlisten="{listen_port}" at the key in authorized_keys, or '
        "PermitListen in sshd_config",
        "Only certain ports may be opened by this account or key; the spelling of the address "
        "counts too (localhost and 127.0.0.1 differ).",
    ),
    "local_port_taken": Entry(
        _PORT,
        "{listen} is taken on this machine",
        "see who holds it: {local_holder}",
        "Another program listens there, or an ssh of an earlier run still does.",
    ),
    "local_listen_failed": Entry(
        _PERSON,
        "this machine cannot listen on {listen}{because}",
        "choose another address, port or path in local_forward or dynamic_forward",
        "The address is not this machine's, the port needs root, or the directory is missing.",
    ),
    # The command line and ssh's own files.
    "bad_option": Entry(
        _CONFIG,
        "ssh does not take an option of this profile{because}",
        "correct the profile; the exact command is shown by: sshwrap show {profile}",
        "A keyword or value that this version of ssh does not know.",
    ),
    "bad_forward": Entry(
        _CONFIG,
        "ssh does not take the forward {spec_quoted}{because}",
        "correct it in the profile, then: sshwrap check",
        "The spec is not one of ssh's forms, or names an unset variable.",
    ),
    "bad_ssh_config": Entry(
        _CONFIG,
        "ssh does not accept its configuration{in_file}{because}",
        "correct that file until this is silent: ssh -G {host_word} > /dev/null",
        "An option or value that this version does not know, or a file that others may write.",
    ),
    "path_too_long": Entry(
        _CONFIG,
        "the path {path} is too long for a socket",
        "use a shorter one; for the state directory set SSHWRAP_STATE_DIR",
        "The system takes about 100 bytes for the path of a socket.",
    ),
    "control_socket_failed": Entry(
        _RETRY,
        "ssh cannot make its control socket{because}",
        "see that the state directory is there, yours and not full{control_dir}",
        "sshwrap talks with a running ssh over a socket in its state directory.",
    ),
    "no_such_uid": Entry(
        _CONFIG,
        "ssh needs an account for uid {uid}, and this machine has none",
        "add one to /etc/passwd; in a container, start it as a user that exists",
        "Usual in containers that run under a number only.",
    ),
    # An end after the sign-in.
    "dropped": Entry(
        _RETRY,
        "{host} closed the connection",
        "nothing; if it comes back again and again: sshwrap logs {profile}",
        "The server was restarted, its sshd ended the session, or somebody did. Soon after "
        "every start, think of UnusedConnectionTimeout or of a rule of the server.",
    ),
    "reset": Entry(
        _RETRY,
        "the connection to {host} broke{because}",
        "nothing; if it comes back again and again: sshwrap logs {profile}",
        "A router, a firewall or a changed address cut the line.",
    ),
    "keepalive_timeout": Entry(
        _RETRY,
        "{host} stopped answering",
        "nothing; the tunnel comes back when the network or the server does",
        "Nothing came back for server_alive_interval × (server_alive_count_max + 1) seconds.",
    ),
    "line_dead": Entry(
        _RETRY,
        "the line to {host} is dead{because}",
        "nothing; it is set up anew at once",
        "A second sign-in got through while nothing came over this line any more: the network "
        "has changed under it. Waiting for the keepalive would only take longer.",
    ),
    "server_disconnected": Entry(
        _RETRY,
        "{host} ended the session{because}",
        "nothing; if it comes back again and again, ask whoever runs the server",
        "The server said good-bye in so many words.",
    ),
    "corrupted": Entry(
        _RETRY,
        "what came from {host} was damaged or out of order{because}",
        "nothing; if it goes on, a device on the way damages packets",
        "ssh checks every packet and ends rather than go on with a wrong one.",
    ),
    # Ends that ssh does not explain.
    "start_timeout": Entry(
        _RETRY,
        "{host} was not ready in time",
        "see where it stopped: sshwrap logs {profile}",
        "The start took longer than a minute; ssh itself waits without end for names and "
        "for a server that went silent.",
    ),
    "ended_by_signal": Entry(
        _RETRY,
        "ssh was ended by {signal}",
        "nothing; the tunnel starts again by itself",
        "Somebody or something on this machine ended ssh: kill, the system short of memory, a "
        "shutdown.",
    ),
    "ended": Entry(
        _RETRY,
        "ssh ended without a word{with_status}",
        "run its command by hand and see where it stops: sshwrap show {profile}",
        "There is nothing to tell why.",
    ),
    "spawn_failed": Entry(
        _RETRY,
        "ssh cannot be started here{because}",
        "see that this machine is not out of processes, files or memory: ulimit -a",
        "The system refused to start another program.",
    ),
    "unknown": Entry(
        _RETRY,
        "ssh ended with words that sshwrap does not know",
        "read them; what led to it: sshwrap logs {profile}",
        "No row of the table fits. The words are shown as they came; sshwrap does not guess.",
    ),
}
