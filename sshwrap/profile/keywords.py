"""The keywords of ssh_config(5), and those that a tunnel cannot leave to `ssh_options`, with why.

Keywords are compared without case, as ssh does; the spelling here is the manual's. The table holds
OpenSSH 8.4 to 10.x, the names that ssh keeps for old files, and what Debian, Fedora and Apple add.
"""

from __future__ import annotations

_NAMES = """
AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CanonicalDomains
CanonicalizeFallbackLocal CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs
CASignatureAlgorithms CertificateFile ChallengeResponseAuthentication ChannelTimeout CheckHostIP
Ciphers ClearAllForwardings Compression ConnectionAttempts ConnectTimeout ControlMaster
ControlPath ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar
ExitOnForwardFailure FingerprintHash ForkAfterAuthentication ForwardAgent ForwardX11
ForwardX11Timeout ForwardX11Trusted GatewayPorts GlobalKnownHostsFile GSSAPIAuthentication
GSSAPIClientIdentity GSSAPIDelegateCredentials GSSAPIKexAlgorithms GSSAPIKeyExchange
GSSAPIRenewalForcesRekey GSSAPIServerIdentity GSSAPITrustDns HashKnownHosts Host
HostbasedAcceptedAlgorithms HostbasedAuthentication HostbasedKeyTypes HostKeyAlgorithms
HostKeyAlias Hostname IdentitiesOnly IdentityAgent IdentityFile IgnoreUnknown Include IPQoS
KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms KnownHostsCommand LocalCommand
LocalForward LogLevel LogVerbose MACs Match NoHostAuthenticationForLocalhost
NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand
PermitRemoteOpen PKCS11Provider Port PreferredAuthentications ProxyCommand ProxyJump
ProxyUseFdpass PubkeyAcceptedAlgorithms PubkeyAcceptedKeyTypes PubkeyAuthentication
RefuseConnection RekeyLimit RemoteCommand RemoteForward RequestTTY RequiredRSASize RevokedHostKeys
SecurityKeyProvider SendEnv ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull
StreamLocalBindMask StreamLocalBindUnlink StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive
Tunnel TunnelDevice UpdateHostKeys UseKeychain User UserKnownHostsFile VerifyHostKeyDNS
VersionAddendum VisualHostKey WarnWeakCrypto XAuthLocation
"""

KEYWORDS = tuple(_NAMES.split())

_BY_LOWER = {keyword.lower(): keyword for keyword in KEYWORDS}

# Keyword -> the profile key that sets it.
PROFILE_KEYS = {
    "RemoteForward": "remote_forward",
    "LocalForward": "local_forward",
    "DynamicForward": "dynamic_forward",
    "User": "user",
    "Port": "port",
    "IdentityFile": "identity_file",
    "ProxyJump": "proxy_jump",
    "ServerAliveInterval": "server_alive_interval",
    "ServerAliveCountMax": "server_alive_count_max",
    "ConnectTimeout": "connect_timeout",
}

_OWN_SOCKET = "every tunnel has a control socket of its own"
_OWN_LOG = "sshwrap sets it to read what ssh says"
_NO_SESSION = "a tunnel opens no session, so it would do nothing"
_OWN_FLAGS = "sshwrap sets it: ssh stays in sshwrap's hands and opens no session"
_IN_A_FILE = 'it belongs in an ssh_config file; write ssh_config = "FILE"'

# Keyword -> why it cannot stand in ssh_options (besides those of PROFILE_KEYS).
REFUSED = {
    "BatchMode": "sshwrap sets it: ssh asks only where somebody can answer",
    "ClearAllForwardings": "it would take the profile's own forwards away",
    "ConnectionAttempts": "trying again is sshwrap's work",
    "ControlMaster": _OWN_SOCKET,
    "ControlPath": _OWN_SOCKET,
    "ControlPersist": _OWN_SOCKET,
    "ExitOnForwardFailure": 'it is always "yes": up means that every forward is confirmed',
    "ForkAfterAuthentication": _OWN_FLAGS,
    "ForwardAgent": _NO_SESSION,
    "ForwardX11": _NO_SESSION,
    "ForwardX11Timeout": _NO_SESSION,
    "ForwardX11Trusted": _NO_SESSION,
    "Host": _IN_A_FILE,
    "Include": _IN_A_FILE,
    "LocalCommand": "ssh would run it before the forwards are confirmed, and stand still meanwhile",
    "LogLevel": _OWN_LOG,
    "LogVerbose": _OWN_LOG,
    "Match": _IN_A_FILE,
    "PermitLocalCommand": "a tunnel runs no LocalCommand",
    "RemoteCommand": "a tunnel runs no command on the server",
    "RequestTTY": _OWN_FLAGS,
    "SessionType": _OWN_FLAGS,
    "StdinNull": _OWN_FLAGS,
    "Tunnel": "a network device is no forward",
    "TunnelDevice": "a network device is no forward",
}


def find_keyword(text: str) -> str | None:
    """The manual's spelling of a keyword in any case, with or without underscores."""
    return _BY_LOWER.get(text.lower()) or _BY_LOWER.get(text.lower().replace("_", ""))


def why_refused(keyword: str, value: str) -> str | None:
    """Why `keyword` (as `find_keyword` spells it) cannot stand in ssh_options with this value."""
    if keyword in PROFILE_KEYS:
        return f"it is a key of the profile; write {PROFILE_KEYS[keyword]} = …"
    if keyword in REFUSED:
        return REFUSED[keyword]
    if keyword == "StrictHostKeyChecking" and value.lower() in ("no", "off", "false"):
        return (
            f'"{value}" would take anybody\'s key for the server\'s; write "accept-new" to take'
            " an unknown key once and never a changed one"
        )
    return None
