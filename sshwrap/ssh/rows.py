"""The table of what ssh says: one row a message, in OpenSSH's own formats; knowledge, no logic.

Laws. The first row that matches is the meaning. Read from the sources of 8.4, 9.2 and 10.0; `since`
and `until` stand where a message is not in all of 8.4 to 10.x.
"""

from __future__ import annotations

from sshwrap.ssh.messages import Progress, Row, Where

_P, _LOG, _TERMINAL = Progress, Where.LOG, Where.TERMINAL
# What many messages begin with.
_TO = "ssh: connect to host {host} port {port}: "
_KEX = "kex_exchange_identification: "
_LINE = "debug1: kex_exchange_identification: banner line {}: "
_FAILED = "debug1: remote forward failure for: listen "
_ERROR = "Error: remote port forwarding failed for listen "
_BIND = "unix_listener: cannot bind to path "
_TCP_BIND = "channel_setup_fwd_listener_tcpip: "

# Sources in OpenSSH.
_CHANNELS = "channels.c"
_TCPIP = "clientloop.c:client_request_forwarded_tcpip"
_STREAM = "clientloop.c:client_request_forwarded_streamlocal"
_SSH = "ssh.c:ssh_init_forwarding"
_DROP = "sshd.c:drop_connection"
_SOURCE = "sshconnect.c:ssh_create_socket"
_AUTH = "sshconnect2.c:ssh_userauth2"
_FILE = "authfile.c:sshkey_perm_ok"
_NOLOGIN = "pam_nologin, systemd's /run/nologin"
_GLOBAL = "serverloop.c:server_input_global_request"
_UNIX = "misc.c:unix_listener"
_CONFIRM = "ssh.c:ssh_confirm_remote_forward"
_DIRECT = "sshconnect.c:ssh_connect_direct"
_GREETING = "kex.c:kex_exchange_identification"
_VFATAL = "packet.c:sshpkt_vfatal"
_READ = "packet.c:ssh_packet_read_poll_seqnr"
_LISTEN = "channels.c:channel_setup_fwd_listener_tcpip"
_HOST_KEY = "sshconnect.c:check_host_key"
_CHANGED = "sshconnect.c:warn_changed_key"
_PUBKEY = "sshconnect2.c:sign_and_send_pubkey"
_MAIN = "ssh.c:main"
_SHELL = "sshconnect.c:ssh_proxy_connect, the user's shell"

ROWS: tuple[Row, ...] = (
    # Visitors. A busy tunnel says these hundreds of times a second: first of their buckets.
    Row(
        _P.VISITOR_OPENED,
        "debug1: client_request_forwarded_tcpip: listen {listen_host} port {listen_port},"
        " originator {address} port {port}",
        _TCPIP,
    ),
    Row(
        _P.VISITOR_OPENED,
        "debug1: client_request_forwarded_streamlocal: request: {listen_path}",
        _STREAM,
    ),
    Row(
        _P.VISITOR_OPENED,  # -L, -D; who it is stands in the name of the freed channel
        "debug1: Connection to port {listen_port} forwarding to {} port {} requested.",
        _CHANNELS,
    ),
    Row(
        _P.CHANNEL_NEW,
        "debug1: channel {channel}: new {kind} [{name}] (inactive timeout: {})",
        _CHANNELS,
        since="9.2",
    ),
    Row(_P.CHANNEL_NEW, "debug1: channel {channel}: new [{name}]", _CHANNELS, until="9.1"),
    Row(_P.CHANNEL_FREED, "debug1: channel {channel}: free: {name}, nchannels {}", _CHANNELS),
    Row(_P.TARGET_CONNECTED, "debug1: channel {channel}: connected to {host} port {}", _CHANNELS),
    Row(_P.TARGET_REFUSED, "connect_to {path} port -2: failed.", _CHANNELS),
    Row(_P.TARGET_REFUSED, "connect_to {host} port {port}: failed.", _CHANNELS),
    Row(_P.TARGET_REFUSED, "connect_to {host}: unknown host ({reason})", _CHANNELS),
    Row(_P.TARGET_REFUSED, "connect to {path} port -2 failed: {reason}", _CHANNELS),
    Row(_P.TARGET_REFUSED, "connect to {host} port {port} failed: {reason}", _CHANNELS),
    # -L, -D: the far side cannot reach it, or forbids it
    Row(_P.TARGET_REFUSED, "channel {channel}: open failed: {reason}", _CHANNELS, _LOG),
    Row(_P.MUX_REQUEST, "debug1: multiplexing control connection", _CHANNELS),
    # a forward that was asked for live: who asked is told by its own client
    Row(_P.NOTICE, "mux_confirm_remote_forward: {text}", "mux.c:mux_confirm_remote_forward", _LOG),
    # Connecting.
    Row(_P.CONNECTING, "debug1: Connecting to {host} [{address}] port {port}.", _DIRECT),
    Row(_P.ADDRESS_FAILED, "debug1: connect to address {address} port {port}: {reason}", _DIRECT),
    Row(_P.CONNECTED, "debug1: Connection established.", _DIRECT),
    Row(_P.PROXY_STARTED, "debug1: Executing proxy command: {command}", "sshconnect.c"),
    Row(_P.PROXY_STARTED, "debug1: Executing proxy dialer command: {command}", "sshconnect.c"),
    Row(
        _P.SERVER_VERSION,
        "debug1: Remote protocol version {}, remote software version {software}",
        _GREETING,
    ),
    Row("name_not_resolved", "ssh: Could not resolve hostname {host}: {reason}", "ssh.c"),
    Row("refused", _TO + "Connection refused", _DIRECT),
    Row("timed_out", _TO + "Connection timed out", _DIRECT),
    Row("timed_out", _TO + "Operation timed out", _DIRECT),
    Row("no_route", _TO + "No route to host", _DIRECT),
    Row("no_route", _TO + "Host is down", _DIRECT),
    Row("network_unreachable", _TO + "Network is unreachable", _DIRECT),
    Row("network_unreachable", _TO + "Network is down", _DIRECT),
    Row("network_unreachable", _TO + "Cannot assign requested address", _DIRECT),
    Row("connect_blocked", _TO + "Permission denied", _DIRECT),
    Row("connect_blocked", _TO + "Operation not permitted", _DIRECT),
    Row("closed_before_sign_in", _TO + "Connection reset by peer", _DIRECT),
    # "failure" stands where another line has said why
    Row("source_address_missing", _TO + "failure", _DIRECT),
    Row("connect_failed", _TO + "{reason}", _DIRECT),
    Row(_P.NOTICE, "bind [{listen_host}]:{listen_port}: {reason}", _LISTEN),
    Row("source_address_missing", "bind {source}: {reason}", _SOURCE),
    Row("source_address_missing", "getifaddrs: {source}: {reason}", _SOURCE),
    # The greeting ("banner exchange") and the key exchange.
    Row("throttled", _LINE + "Exceeded MaxStartups", _DROP),
    Row("throttled", _LINE + "Not allowed at this time", _DROP),
    Row("not_ssh", _LINE + "HTTP/{reason}", _GREETING),
    Row(_P.NOTICE, _LINE + "{text}", _GREETING, _LOG),
    Row("closed_before_sign_in", _KEX + "Connection closed by remote host", _GREETING),
    Row("closed_before_sign_in", _KEX + "read: {reason}", _GREETING),
    Row("closed_before_sign_in", _KEX + "write: {reason}", _GREETING),
    Row("not_ssh", _KEX + "banner line {reason}", _GREETING),
    Row("not_ssh", _KEX + "No SSH version received in {}", _GREETING),
    Row("not_ssh", "Bad remote protocol version identification: '{reason}'", _GREETING),
    Row("not_ssh", "Protocol major versions differ: {} vs. {}", _GREETING),
    Row("greeting_timeout", "Connection timed out during banner exchange", _GREETING),
    Row("proxy_failed", "Connection closed by UNKNOWN port 65535", _VFATAL),
    Row("proxy_failed", "Connection reset by UNKNOWN port 65535", _VFATAL),
    Row("closed_before_sign_in", "Connection closed by {address} port {port}", _VFATAL),
    Row("closed_before_sign_in", "Connection reset by {address} port {port}", _VFATAL),
    Row("stalled", "Connection to {address} port {port} timed out", _VFATAL),
    Row(
        "no_common_algorithm",
        "Unable to negotiate with {address} port {port}: no matching {what} found."
        " Their offer: {offer}",
        _VFATAL,
    ),
    Row("not_ssh", "banner exchange: Connection to {address} port {port}: invalid format", _VFATAL),
    Row("reset", "{}: Connection to {address} port {port}: Broken pipe", _VFATAL),
    Row("reset", "{}: Connection to {address} port {port}: Connection timed out", _VFATAL),
    Row("reset", "{}: Connection to {address} port {port}: No route to host", _VFATAL),
    Row("corrupted", "{}: Connection to {address} port {port}: {reason}", _VFATAL),
    Row("corrupted", "Bad packet length {}.", "packet.c:ssh_packet_read_poll2"),
    Row("corrupted", "Corrupted MAC on input.", "packet.c:ssh_packet_read_poll2"),
    Row("corrupted", "Disconnecting {address} port {port}: {reason}", "packet.c"),
    # The host key.
    Row(
        "host_key_unknown",
        "No {type} host key is known for {known_as} and you have requested strict checking.",
        _HOST_KEY,
    ),
    Row(
        "host_key_changed", "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", _CHANGED
    ),
    Row(
        "host_key_changed", "@       WARNING: POSSIBLE DNS SPOOFING DETECTED!          @", _HOST_KEY
    ),
    Row("host_key_changed", "SHA256:{digest}.", _CHANGED),
    Row("host_key_changed", "Offending key for IP in {file}:{line}", _HOST_KEY),
    Row("host_key_changed", "Offending {type} key in {file}:{line}", _HOST_KEY),
    Row(
        "host_key_changed",
        "Host key for {known_as} has changed and you have requested strict checking.",
        _HOST_KEY,
        since="8.5",
    ),
    Row(
        "host_key_changed",
        "{type} host key for {known_as} has changed and you have requested strict checking.",
        _HOST_KEY,
        until="8.4",
    ),
    Row("host_key_changed", "Error: forwarding disabled due to host key check failure", _HOST_KEY),
    Row(
        "host_key_revoked", "@       WARNING: REVOKED HOST KEY DETECTED!               @", _HOST_KEY
    ),
    Row(
        "host_key_revoked",
        "{type} host key for {known_as} was revoked and you have requested strict checking.",
        _HOST_KEY,
    ),
    Row("host_key_revoked", "Host key {type} {} revoked by file {file}", "sshconnect.c"),
    Row("host_key_unknown", "Host key verification failed.", "sshconnect2.c"),
    # Signing in.
    Row(_P.SIGNING_IN, "debug1: Authenticating to {host}:{port} as '{user}'", "sshconnect.c"),
    Row(_P.SERVICE_ACCEPTED, "debug1: SSH2_MSG_SERVICE_ACCEPT received", "sshconnect2.c"),
    Row(_P.KEY_ACCEPTED, "debug1: Server accepts key: {path} {type} {fingerprint}", _AUTH),
    Row(_P.METHODS_LEFT, "debug1: Authentications that can continue: {methods}", _AUTH),
    Row(
        _P.PARTIAL_SUCCESS,
        'Authenticated using "{method}" with partial success.',
        _AUTH,
        since="8.5",
    ),
    Row(_P.PARTIAL_SUCCESS, "Authenticated with partial success.", _AUTH, until="8.4"),
    Row(
        _P.AUTHENTICATED,
        'Authenticated to {host} ([{address}]:{port}) using "{method}".',
        _AUTH,
        since="8.5",
    ),
    Row(
        _P.AUTHENTICATED,
        'Authenticated to {host} (via proxy) using "{method}".',
        _AUTH,
        since="8.5",
    ),
    Row(_P.AUTHENTICATED, "Authenticated to {host} ([{address}]:{port}).", _AUTH, until="8.4"),
    Row(_P.AUTHENTICATED, "Authenticated to {host} (via proxy).", _AUTH, until="8.4"),
    Row("key_unreadable", "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @", _FILE),
    Row("key_unreadable", "Permissions {mode} for '{path}' are too open.", _FILE),
    Row("key_unreadable", 'Load key "{path}": {reason}', _PUBKEY),
    Row("key_missing", "Warning: Identity file {path} not accessible: {reason}.", _MAIN, _TERMINAL),
    Row(
        "agent_refused",
        'sign_and_send_pubkey: signing failed for {type} "{path}" from agent: {reason}',
        _PUBKEY,
    ),
    Row(
        "agent_refused",
        'sign_and_send_pubkey: signing failed for {type} "{path}": {reason}',
        _PUBKEY,
    ),
    Row("key_type_refused", "debug1: send_pubkey_test: no mutual signature algorithm", _PUBKEY),
    Row("key_type_refused", "sign_and_send_pubkey: no mutual signature supported", _PUBKEY),
    Row(
        "too_many_keys",
        "Received disconnect from {address} port {port}:2: Too many authentication failures{}",
        _READ,
    ),
    Row("permission_denied", "{user}@{host}: Permission denied ({methods}).", _AUTH),
    Row("permission_denied", "Authentication failed.", _AUTH),
    Row(_P.NOTICE, "Permission denied, please try again.", "sshconnect2.c"),  # not the end
    Row("server_booting", "System is booting up. {}", _NOLOGIN, _TERMINAL),
    Row("server_booting", "System is going down. {}", _NOLOGIN, _TERMINAL),
    # Remote forwards.
    Row(_P.INTERACTIVE, "debug1: Entering interactive session.", "clientloop.c:client_loop"),
    Row(_P.EXPECTING, "debug1: ssh_init_forwarding: expecting replies for {count} forwards", _SSH),
    Row(
        _P.FORWARD_CONFIRMED,
        "debug1: remote forward success for: listen {listen}, connect {connect}",
        _CONFIRM,
    ),
    Row(
        _P.ALL_CONFIRMED,
        "debug1: forwarding_success: all expected forwarding replies received",
        _SSH,
    ),
    Row(
        _P.PORT_ALLOCATED,
        "Allocated port {port} for remote forward to (null):-2",
        _CONFIRM,
        until="9.0",
    ),
    Row(
        _P.PORT_ALLOCATED, "Allocated port {port} for remote forward to {connect_path}:-2", _CONFIRM
    ),
    Row(
        _P.PORT_ALLOCATED,
        "Allocated port {port} for remote forward to {connect_host}:{connect_port}",
        _CONFIRM,
    ),
    Row(
        _P.OVERRIDDEN,
        'debug1: Remote: Forwarding listen address "{listen_host}" overridden by server'
        " GatewayPorts",
        "channels.c:channel_fwd_bind_addr",
    ),
    Row(_P.KEY_OPTIONS, "debug1: Remote: {}: key options:{options}", "auth.c:auth_log_authopts"),
    Row("forwarding_refused", "debug1: Remote: Server has disabled port forwarding.", _GLOBAL),
    Row(
        "forwarding_refused", "debug1: Remote: Server has disabled streamlocal forwarding.", _GLOBAL
    ),
    Row(
        "port_not_permitted",
        "debug1: Remote: port forwarding refused",
        "channels.c:channel_setup_remote_fwd_listener",
    ),
    Row(_P.REMOTE_SAYS, "debug1: Remote: {text}", _READ),
    Row("socket_path_taken", _FAILED + "{listen_path}:-2, connect {}", _CONFIRM, _LOG),
    Row("port_taken", _FAILED + "{listen_host}:{listen_port}, connect {}", _CONFIRM, _LOG),
    Row("port_taken", _FAILED + "{listen_port}, connect {}", _CONFIRM, _LOG),
    Row("port_taken", _ERROR + "port {listen_port}", _CONFIRM, _LOG),
    Row("socket_path_taken", _ERROR + "path {listen_path}", _CONFIRM, _LOG),
    Row(_P.NOTICE, "Warning: remote port forwarding failed for listen {}", _CONFIRM),
    Row("bad_forward", "Could not request remote forwarding.", _SSH),
    # Listeners here: -L, -D, and our control socket (bound under a name that another follows).
    Row("control_socket_failed", _BIND + "{control_path}: {reason}", "mux.c:muxserver_listen"),
    Row("local_port_taken", _BIND + "{listen_path}: Address already in use", _UNIX),
    Row("local_listen_failed", _BIND + "{listen_path}: {reason}", _UNIX),
    Row("path_too_long", 'unix_listener: path "{path}" too long for Unix domain socket', "misc.c"),
    Row("path_too_long", "ControlPath too long ('{path}' >= {} bytes)", "mux.c:muxclient"),
    Row("path_too_long", "Local listening path too long: {path}", _CHANNELS),
    Row("path_too_long", "Local connecting path too long: {path}", _CHANNELS),
    Row(_P.NOTICE, "ControlSocket {path} already exists, disabling multiplexing", "mux.c"),
    Row("local_port_taken", _TCP_BIND + "cannot listen to port: {listen_port}", _LISTEN),
    Row("local_listen_failed", _TCP_BIND + "getaddrinfo({listen_host}): {reason}", _LISTEN),
    Row("local_port_taken", "Could not request local forwarding.", _SSH),
    # An end after the sign-in. The first three go to the terminal (quit_message).
    Row("dropped", "Connection to {host} closed by remote host.", "clientloop.c"),
    Row("reset", "Read from remote host {host}: {reason}", "clientloop.c"),
    Row("dropped", "Connection to {host} closed.", "clientloop.c:client_loop"),
    Row("keepalive_timeout", "Timeout, server {host} not responding.", "clientloop.c"),
    Row("server_disconnected", "Received disconnect from {address} port {port}:{}: {text}", _READ),
    Row("server_disconnected", "Disconnected from {address} port {port}", _VFATAL),
    Row("reset", "client_loop: send disconnect: {reason}", "clientloop.c:client_loop"),
    Row("ended_by_signal", "Killed by signal {number}.", "clientloop.c:client_loop"),
    # The command line and ssh_config.
    Row("bad_forward", "Bad remote forwarding specification '{spec}'", _MAIN, _TERMINAL),
    Row("bad_forward", "Bad local forwarding specification '{spec}'", _MAIN, _TERMINAL),
    Row("bad_forward", "Bad dynamic forwarding specification '{spec}'", _MAIN, _TERMINAL),
    Row("bad_forward", "vdollar_percent_expand: env var {reason} has no value", "misc.c"),
    Row(
        "bad_option",
        "command-line: line 0: Bad configuration option: {reason}",
        "readconf.c",
        _TERMINAL,
    ),
    Row("bad_option", "command-line line 0: {reason}", "readconf.c", _TERMINAL),
    Row("bad_option", "Bad port '{reason}'", _MAIN, _TERMINAL),
    Row("bad_option", "unknown option -- {reason}", _MAIN, _TERMINAL),
    Row("bad_option", "usage: ssh {}", "ssh.c:usage", _TERMINAL),
    Row("bad_option", "Invalid -J argument", _MAIN, _TERMINAL),
    Row("bad_option", "jumphost loop via {reason}", _MAIN),
    Row("bad_option", "inconsistent options: ProxyCommand+ProxyJump", _MAIN),
    Row("bad_option", "hostname contains invalid characters", _MAIN),
    Row("bad_option", "remote username contains invalid characters", _MAIN),
    Row(
        "bad_ssh_config",
        "{config_file}: line {line}: Bad configuration option: {reason}",
        "readconf.c:parse_token",
    ),
    Row("bad_ssh_config", "{config_file} line {line}: {reason}", "readconf.c"),
    Row(
        "bad_ssh_config",
        "{config_file}: terminating, {count} bad configuration options",
        "readconf.c",
    ),
    Row("bad_ssh_config", "Bad owner or permissions on {config_file}", "readconf.c"),
    Row("bad_ssh_config", "Can't open user config file {file}: {reason}", "ssh.c"),
    Row("no_such_uid", "No user exists for uid {uid}", _MAIN),
    # ProxyCommand, and the ssh that ProxyJump starts.
    Row(
        "proxy_refused",
        "channel {channel}: open failed: administratively prohibited: {reason}",
        _CHANNELS,
        _TERMINAL,
    ),
    Row("proxy_failed", "channel {channel}: open failed: {reason}", _CHANNELS, _TERMINAL),
    Row("proxy_failed", "stdio forwarding failed", "ssh.c:ssh_stdio_confirm", _TERMINAL),
    Row("proxy_not_found", "{}sh: {}: exec: {command}: not found", _SHELL, _TERMINAL),
    Row("proxy_not_found", "{}sh: {}: {command}: No such file or directory", _SHELL, _TERMINAL),
    Row("proxy_not_found", "{}sh: {}: {command}: Permission denied", _SHELL, _TERMINAL),
    Row("proxy_not_found", "{}sh: {}: {command}: cannot execute{}", _SHELL, _TERMINAL),
    Row("proxy_not_found", "zsh:{}: command not found: {command}", _SHELL, _TERMINAL),
    Row("proxy_not_found", "zsh:{}: no such file or directory: {command}", _SHELL, _TERMINAL),
    # Worth keeping.
    Row(_P.NOTICE, "Warning: Permanently added {} to the list of known hosts.", _HOST_KEY),
    Row(_P.NOTICE, "Failed to add the host to the list of known hosts ({}).", _HOST_KEY),
    Row(_P.NOTICE, "WARNING: Server requests forwarding for unknown {}", _CHANNELS),
    Row(_P.NOTICE, "Warning: this server does not support rekeying.", "packet.c", since="10.3"),
    Row(_P.NOTICE, "This session will eventually fail", "packet.c", since="10.3"),
    # Known, and nothing to anybody.
    Row(_P.CHATTER, "OpenSSH_{}, {}", _MAIN),
    Row(_P.CHATTER, "Transferred: sent {}, received {} bytes, in {} seconds", "clientloop.c"),
    Row(_P.CHATTER, "Bytes per second: sent {}, received {}", "clientloop.c"),
    Row(_P.CHATTER, "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@", _CHANGED),
    Row(_P.CHATTER, "IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!", _CHANGED),
    Row(_P.CHATTER, "Someone could be eavesdropping on you right now {}", _CHANGED),
    Row(_P.CHATTER, "It is also possible that a host key has just been changed.", _CHANGED),
    Row(_P.CHATTER, "The fingerprint for the {} key sent by the remote host is", _CHANGED),
    Row(_P.CHATTER, "Please contact your system administrator.", _CHANGED),
    Row(_P.CHATTER, "The {} host key for {} is marked as revoked.", _HOST_KEY),
    Row(_P.CHATTER, "This could mean that a stolen key is being used to", _HOST_KEY),
    Row(_P.CHATTER, "impersonate this host.", _HOST_KEY),
    Row(_P.CHATTER, "Add correct host key in {} to get rid of this message.", _HOST_KEY),
    Row(_P.CHATTER, "  remove with:", "Debian's sshconnect.c"),
    Row(_P.CHATTER, "  ssh-keygen -f {}", "Debian's sshconnect.c"),
    Row(_P.CHATTER, "{} is disabled to avoid man-in-the-middle attacks.", _HOST_KEY),
    Row(_P.CHATTER, "UpdateHostkeys is disabled because the host key is not trusted.", _HOST_KEY),
    Row(
        _P.CHATTER,
        "It is required that your private key files are NOT accessible by others.",
        _FILE,
    ),
    Row(_P.CHATTER, "This private key will be ignored.", _FILE),
    Row(_P.CHATTER, "** {}", "sshconnect.c:ssh_login, WarnWeakCrypto", since="10.1"),
)
