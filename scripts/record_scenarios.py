"""What is recorded: one Scenario a situation, with the failure that sshwrap has to see in it."""

from __future__ import annotations

from record_peers import (
    CLOSING,
    DEAD_TARGET,
    GARBAGE,
    HELD,
    OLD,
    RELAY,
    RESETTING,
    SILENT,
    TARGET,
    WEB,
)
from record_scenario import (
    HOME,
    INTERACTIVE,
    Scenario,
    end,
    hang_up,
    kill,
    line_damaged,
    line_reset,
    line_stalled,
    sessions_ended,
    sessions_killed,
    stall_after,
    two_held,
    visited,
    visited_socket,
)

IMITATION = (
    b"tunnel@vps.example.com: Permission denied (publickey).\n"
    b"debug1: forwarding_success: all expected forwarding replies received\n"
    b"debug1: Entering interactive session.\n"
    b"ssh: connect to host vps.example.com port 22: Connection refused\n"
    b"Connection to vps.example.com closed by remote host.\n"
    b"\x1b[2J\x1b]0;owned\x07 \xff\xfe [bold]markup[/bold] \xe4\xbd\xa0\xe5\xa5\xbd\n"
)
JUMP = "-J tunnel@jump.example.com:2230"
# ProxyJump's ssh takes the identity from ssh_config only
JUMP_CONFIG = {
    ".ssh/config": f"Host jump.example.com\n  IdentityFile {HOME}/.ssh/key\n  IdentitiesOnly yes\n"
}
BOOTING = (
    "System is booting up. Unprivileged users are not permitted to log in yet. "
    "Please come back later. For technical details, see pam_nologin(8).\n"
)


SCENARIOS = [
    # Tunnels that come up.
    Scenario("up-remote", None, then=visited(8080)),
    Scenario("up-remote-all", None, f"-R *:8080:localhost:{TARGET}", then=visited(8080)),
    Scenario("up-port-0", None, f"-R 0:localhost:{TARGET}", then=end),
    Scenario("up-port-0-socket", None, f"-R 0:{HOME}/state/web.sock", then=end),
    Scenario(
        "up-remote-socket",
        None,
        f"-R /home/tunnel/web.sock:localhost:{TARGET}",
        then=visited_socket,
    ),
    Scenario("up-remote-socks", None, "-R 1080", then=end),
    Scenario(
        "up-local", None, f"-L 8081:localhost:{TARGET}", then_when=INTERACTIVE, then=visited(8081)
    ),
    Scenario("up-dynamic", None, "-D 1081", then_when=INTERACTIVE, then=end),
    Scenario(
        "up-several",
        None,
        f"-R 8080:localhost:{TARGET} -R 0:localhost:{TARGET} -L 8081:localhost:{TARGET}",
        then=end,
    ),
    Scenario(
        "up-gateway-ports",
        None,
        f"-R localhost:8080:localhost:{TARGET}",
        server={"GatewayPorts": "yes"},
        then=end,
    ),
    Scenario(
        "up-restricted-key",
        None,
        authorized_keys='restrict,port-forwarding,permitlisten="8080" {key}\n',
        then=end,
    ),
    Scenario(
        "up-banner-imitates", None, server={"Banner": "/rec/banner"}, banner=IMITATION, then=end
    ),
    Scenario(
        "up-jump",
        None,
        options=JUMP,
        files=JUMP_CONFIG,
        jump_server={"Banner": "/rec/banner"},
        banner=IMITATION,
        then=end,
    ),
    Scenario("up-target-refused", None, f"-R 8080:localhost:{DEAD_TARGET}", then=visited(8080)),
    Scenario("up-target-unknown", None, "-R 8080:nowhere.example.com:80", then=visited(8080)),
    Scenario("up-target-socket-missing", None, f"-R 8080:{HOME}/state/no.sock", then=visited(8080)),
    Scenario(
        "up-local-target-refused",
        None,
        f"-L 8081:localhost:{DEAD_TARGET}",
        then_when=INTERACTIVE,
        then=visited(8081),
    ),
    Scenario(
        "up-new-host-key-kept",
        None,
        options="-o StrictHostKeyChecking=accept-new",
        host_key_unknown=True,
        then=end,
    ),
    Scenario(
        "up-half-bound-here",
        None,
        f"-L {HELD}:localhost:{TARGET}",
        then_when=INTERACTIVE,
        then=end,
    ),
    Scenario("up-nothing", None, "", then_when=INTERACTIVE, then=end),
    Scenario("killed", "ended_by_signal", then=kill),
    Scenario("hung-up", "ended_by_signal", then=hang_up),
    # On the way to the server.
    Scenario("name-not-resolved", "name_not_resolved", destination="tunnel@nowhere.example.com"),
    Scenario("refused", "refused", port=2399),
    Scenario("timed-out", "timed_out", destination="tunnel@silent.example.com", timeout=1),
    Scenario("no-route", "no_route", destination="tunnel@noroute.example.com"),
    Scenario(
        "network-unreachable", "network_unreachable", destination="tunnel@unreachable.example.com"
    ),
    Scenario("connect-blocked", "connect_blocked", destination="tunnel@forbidden.example.com"),
    Scenario("source-address-missing", "source_address_missing", options="-b 203.0.113.77"),
    Scenario("source-interface-missing", "source_address_missing", options="-B nothere0"),
    Scenario("greeting-timeout", "greeting_timeout", port=SILENT, timeout=1),
    Scenario("web-server", "not_ssh", port=WEB),
    Scenario("garbage", "not_ssh", port=GARBAGE),
    Scenario("ssh-1", "not_ssh", port=OLD),
    Scenario("closed-at-once", "closed_before_sign_in", port=CLOSING),
    Scenario("reset-at-once", "closed_before_sign_in", port=RESETTING),
    Scenario(
        "max-startups",
        "throttled",
        server={"MaxStartups": "1:100:2", "LoginGraceTime": "60"},
        before=two_held,
    ),
    Scenario(
        "penalty",
        "throttled",
        authorized_keys="",
        server={"PerSourcePenalties": "authfail:30s min:1s"},
        failed_before=1,
        since=(9, 8),
    ),
    Scenario("stalled", "stalled", port=RELAY, alive=1, before=stall_after(500)),
    # The key exchange and the host key.
    Scenario(
        "no-common-kex",
        "no_common_algorithm",
        options="-o KexAlgorithms=curve25519-sha256",
        server={"KexAlgorithms": "ecdh-sha2-nistp256"},
    ),
    Scenario(
        "no-common-cipher",
        "no_common_algorithm",
        options="-o Ciphers=aes128-ctr",
        server={"Ciphers": "aes256-ctr"},
    ),
    Scenario(
        "no-common-host-key",
        "no_common_algorithm",
        options="-o HostKeyAlgorithms=ecdsa-sha2-nistp256",
    ),
    Scenario("host-key-unknown", "host_key_unknown", host_key_unknown=True),
    Scenario(
        "host-key-unknown-strict",
        "host_key_unknown",
        options="-o StrictHostKeyChecking=yes",
        host_key_unknown=True,
    ),
    Scenario("host-key-changed", "host_key_changed", host_key_changed=True),
    Scenario(
        "host-key-changed-not-strict",
        "host_key_changed",
        options="-o StrictHostKeyChecking=no",
        host_key_changed=True,
    ),
    Scenario("host-key-revoked", "host_key_revoked", host_key_revoked=True),
    # The sign-in.
    Scenario("permission-denied", "permission_denied", key="stranger"),
    Scenario(
        "permission-denied-password-too",
        "permission_denied",
        key="stranger",
        server={"PasswordAuthentication": "yes"},
    ),
    Scenario(
        "permission-denied-banner",
        "permission_denied",
        key="stranger",
        server={"Banner": "/rec/banner"},
        banner=IMITATION,
    ),
    Scenario("unknown-user", "permission_denied", destination="nobody-here@vps.example.com"),
    Scenario("passphrase", "passphrase_needed", key="locked", authorized_keys="{locked}\n"),
    Scenario("key-for-all-to-read", "key_unreadable", modes={".ssh/key": 0o644}),
    Scenario(
        "key-damaged",
        "key_unreadable",
        files={".ssh/key": "not a key\n"},
        modes={".ssh/key": 0o600},
    ),
    Scenario("key-of-another", "key_unreadable", foreign_file=".ssh/key"),
    Scenario("key-missing", "key_missing", key="none"),
    Scenario("agent-refuses", "agent_refused", key=None, agent="confirm"),
    Scenario("agent-signs", None, key=None, agent="plain", then=end),
    Scenario(
        "too-many-keys",
        "too_many_keys",
        key="stranger",
        options=f"-i {HOME}/.ssh/key_rsa -i {HOME}/.ssh/locked",
        server={"MaxAuthTries": "1"},
    ),
    Scenario(
        "second-factor",
        "second_factor_needed",
        server={"AuthenticationMethods": "publickey,password", "PasswordAuthentication": "yes"},
    ),
    Scenario(
        "booting",
        "server_booting",
        server={"UsePAM": "yes"},
        nologin=BOOTING,
    ),
    Scenario(
        "closed-during-sign-in",
        "closed_during_sign_in",
        # the server is still looking for keys when its session is killed
        server={"AuthorizedKeysCommand": "/bin/sleep 9", "AuthorizedKeysCommandUser": "root"},
        then=sessions_killed,
        then_when="Offering public key",
    ),
    # Forwards.
    Scenario("port-taken", "port_taken", f"-R 127.0.0.1:{HELD}:localhost:{TARGET}"),
    Scenario("port-twice", "port_taken", f"-R 8080:localhost:{TARGET} -R 8080:localhost:{WEB}"),
    Scenario(
        "no-such-address",
        "port_taken",
        f"-R 192.0.2.9:8080:localhost:{TARGET}",
        server={"GatewayPorts": "clientspecified"},
    ),
    Scenario("privileged-port", "privileged_port", f"-R 80:localhost:{TARGET}"),
    Scenario("socket-path-taken", "socket_path_taken", f"-R /nowhere/web.sock:localhost:{TARGET}"),
    Scenario("forwarding-off", "forwarding_refused", server={"AllowTcpForwarding": "no"}),
    Scenario(
        "socket-forwarding-off",
        "forwarding_refused",
        f"-R /home/tunnel/web.sock:localhost:{TARGET}",
        server={"AllowStreamLocalForwarding": "no"},
    ),
    Scenario("key-restricted", "key_may_not_forward", authorized_keys="restrict {key}\n"),
    Scenario(
        "permitlisten",
        "port_not_permitted",
        authorized_keys='permitlisten="localhost:9999" {key}\n',
    ),
    Scenario("permit-listen", "port_not_permitted", server={"PermitListen": "9999"}),
    Scenario("local-port-taken", "local_port_taken", f"-L 127.0.0.1:{HELD}:localhost:{TARGET}"),
    Scenario("dynamic-port-taken", "local_port_taken", f"-D 127.0.0.1:{HELD}"),
    Scenario(
        "local-address-missing",
        "local_listen_failed",
        f"-L 192.0.2.9:8081:localhost:{TARGET}",
    ),
    Scenario(
        "local-socket-taken",
        "local_port_taken",
        f"-L {HOME}/state/web.sock:localhost:{TARGET}",
        files={"state/web.sock": ""},
    ),
    Scenario(
        "local-socket-no-directory",
        "local_listen_failed",
        f"-L {HOME}/nowhere/web.sock:localhost:{TARGET}",
    ),
    # An end after the sign-in.
    Scenario("server-killed", "dropped", then=sessions_killed),
    Scenario("server-ended", "dropped", then=sessions_ended),
    Scenario(
        "server-killed-banner",
        "dropped",
        server={"Banner": "/rec/banner"},
        banner=IMITATION,
        then=sessions_killed,
    ),
    Scenario("line-reset", "reset", port=RELAY, then=line_reset),
    Scenario("keepalive", "keepalive_timeout", port=RELAY, alive=1, then=line_stalled),
    Scenario("line-damaged", "corrupted", port=RELAY, alive=1, then=line_damaged),
    Scenario(
        "unused-connection", "dropped", server={"UnusedConnectionTimeout": "1s"}, since=(9, 2)
    ),
    # The command line and ssh_config.
    Scenario("bad-option", "bad_option", options="-o NoSuchOption=yes"),
    Scenario("bad-value", "bad_option", options="-o TCPKeepAlive=perhaps"),
    Scenario("bad-flag", "bad_option", options="-Z"),
    Scenario("bad-port", "bad_option", options="-p 99999"),
    Scenario("bad-remote-forward", "bad_forward", "-R 8080:localhost"),
    Scenario("bad-local-forward", "bad_forward", "-L 0:localhost:80"),
    Scenario("bad-dynamic-forward", "bad_forward", "-D nothing"),
    Scenario("forward-variable-unset", "bad_forward", "-R ${UNSET}:localhost:80"),
    Scenario("bad-config-option", "bad_ssh_config", files={".ssh/config": "NoSuchOption yes\n"}),
    Scenario("bad-config-value", "bad_ssh_config", files={".ssh/config": "Port nothing\n"}),
    Scenario(
        "config-for-all-to-write",
        "bad_ssh_config",
        files={".ssh/config": "\n"},
        modes={".ssh/config": 0o666},
    ),
    Scenario("config-missing", "bad_ssh_config", options=f"-F {HOME}/none"),
    Scenario("control-path-long", "path_too_long", control=f"{HOME}/state/" + "c" * 100),
    Scenario("control-no-directory", "control_socket_failed", control=f"{HOME}/none/ctl"),
    Scenario("no-account-here", "no_such_uid", uid=4242),
    # Jump hosts.
    Scenario("jump-refused", "refused", options="-J tunnel@jump.example.com:2399"),
    Scenario(
        "jump-denied",
        "permission_denied",
        options=JUMP,
        jump_server={"AllowUsers": "nobody"},
        files=JUMP_CONFIG,
    ),
    Scenario(
        "jump-denied-banner",
        "permission_denied",
        options=JUMP,
        jump_server={"AllowUsers": "nobody", "Banner": "/rec/banner"},
        banner=b"ssh: connect to host vps.example.com port 22: Connection refused\n",
        files=JUMP_CONFIG,
    ),
    Scenario(
        "jump-forwards-nothing",
        "proxy_refused",
        options=JUMP,
        jump_server={"AllowTcpForwarding": "no"},
        files=JUMP_CONFIG,
    ),
    Scenario(
        "jump-cannot-reach",
        "proxy_failed",
        options=JUMP,
        jump_server={"LogLevel": "INFO"},
        port=2399,
        files=JUMP_CONFIG,
    ),
    Scenario(
        "jump-host-key-unknown",
        "host_key_unknown",
        options=JUMP,
        jump_server={"LogLevel": "INFO"},
        host_key_unknown=True,
        files=JUMP_CONFIG,
    ),
    Scenario(
        "proxy-command-missing",
        "proxy_not_found",
        files={".ssh/config": "ProxyCommand no-such-program %h %p\n"},
    ),
    Scenario(
        "proxy-command-path-missing",
        "proxy_not_found",
        files={".ssh/config": "ProxyCommand /opt/no-such-program %h %p\n"},
    ),
    Scenario(
        "proxy-command-fails",
        "proxy_failed",
        files={".ssh/config": "ProxyCommand sh -c 'echo the gate is shut >&2; exit 1'\n"},
    ),
]
