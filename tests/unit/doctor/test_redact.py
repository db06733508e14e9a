"""Nothing that names a person, a place or a key is left; what is the same everywhere stays."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import assume, given
from hypothesis import strategies as st

from sshwrap.doctor.facts import ClientConfig, Known
from sshwrap.doctor.redact import Names, names_of, redact
from tests.unit.doctor.samples import asked, forward, having, sound

NAMES = Names(users=("alice",), hosts=("vps.example.com", "vps"), home="/home/alice")


def test_the_same_name_is_the_same_word_everywhere() -> None:
    text = "alice@vps.example.com: Alice at VPS.example.com, not vps, in /home/alice/.ssh"
    assert redact(text, NAMES) == "user-1@host-1: user-1 at host-1, not host-2, in ~/.ssh"


def test_names_that_only_the_text_shows() -> None:
    text = "bob@db.example.org (/home/carol/x): bob, carol and db.example.org:22"
    shown = redact(text, Names())
    assert not any(word in shown for word in ("bob", "carol", "db.example.org"))
    assert shown.endswith(":22")


def test_what_is_the_same_on_every_machine_stays() -> None:
    text = (
        "root tunnel localhost 127.0.0.1 ::1 0.0.0.0 [::]:80 *:12345 10:19:02 OpenSSH_9.2p1 "
        "aes128-gcm@openssh.com curve25519-sha256@libssh.org GatewayPorts no"
    )
    assert redact(text, NAMES) == text


def test_addresses_are_numbered() -> None:
    text = "203.0.113.7:22, [2001:db8:aa::7]:443, 203.0.113.7 and 198.51.100.23; fe80::1%eth0"
    assert redact(text, Names()) == (
        "192.0.2.1:22, [2001:db8::1]:443, 192.0.2.1 and 192.0.2.2; 2001:db8::2%eth0"
    )


def test_no_key_is_left() -> None:
    body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
    pem = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----"
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7example0123456789 alice@laptop"
    print_ = "SHA256:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
    md5 = "MD5:" + ":".join(["ab"] * 16)
    shown = redact(f"{pem}\n{public}\n{print_} {md5} {print_} 52:54:00:12:34:56", Names())
    assert shown == (
        "[private key removed]\nssh-ed25519 [key removed] user-1@host-1\nkey-1 key-2 key-1 mac-1"
    )
    half = redact(f"-----BEGIN RSA PRIVATE KEY-----\n{body}", Names())
    assert body not in half


def test_what_profile_and_ssh_config_name_is_known() -> None:
    away = forward("12345:nas.lan:8080")
    config = ClientConfig(
        "real.example.net", "deploy", 22, {"host": ("vps",), "proxyjump": ("j@jump.example.net",)}
    )
    facts = having(sound(away), here={"config": Known(config)}, way={"jump": "jump.example.net"})
    what = asked(away, destination="erin@vps", proxy_jump="mallory@hop.example.net:2222")
    names = names_of(facts, what, "/home/frank", "laptop")
    text = "real.example.net deploy erin vps jump.example.net mallory hop.example.net nas.lan frank"
    shown = redact(f"{text} laptop", names)
    left = [word for word in f"{text} laptop".split() if word in shown.split()]
    assert left == []


@given(
    st.lists(st.from_regex(r"[a-z]{4,8}[0-9]{2}", fullmatch=True), min_size=1, max_size=4),
    st.lists(st.ip_addresses(v=4), max_size=4),
    st.lists(st.ip_addresses(v=6), max_size=4),
    st.sampled_from([" ", "\n", ", ", " (", ") "]),
)
def test_no_name_and_no_address_survives(
    words: list[str], four: list[IPv4Address], six: list[IPv6Address], between: str
) -> None:
    half = len(words) // 2
    names = Names(users=tuple(words[:half]), hosts=tuple(f"{one}.example" for one in words[half:]))
    secret = [*names.users, *names.hosts]
    addresses = [
        str(one) for one in (*four, *six) if not one.is_loopback and not one.is_unspecified
    ]
    assume(not any(one.startswith(("192.0.2.", "2001:db8::")) for one in addresses))
    shown = redact(between.join([*secret, *addresses]) + between, names)
    for one in [*secret, *addresses]:
        assert one not in shown.replace(between, " ").split()
