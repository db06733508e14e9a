"""The one script that asks a server everything that a session of the account can be asked.

Laws. It is one POSIX script on the standard input of `sh`, so that any login shell sees two plain
words. All of it is read before any of it runs: a program in it cannot eat the rest. It reads and
never writes, but for a throw-away key in a folder of its own that it takes away (sshd tells an
account that is not root nothing without one). It never asks for a password. Every part stands
between two lines with a number that nobody could know before, and counts only where it is whole;
what programs and files say stands behind "|", and so is never taken for a word of the script.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sshwrap.ssh.look import COMMAND as COMMAND
from sshwrap.ssh.look import look_function

FILE_BYTES = 65536  # of each file of sshd's configuration
FILES_MOST = 40
ANSWER_BYTES = 4 << 20  # of all of it: what FILES_MOST of FILE_BYTES come to, and the rest
SUDO_GROUPS = ("sudo", "wheel", "admin")


@dataclass(frozen=True, slots=True)
class Asked:
    """`user`: for whom sshd's configuration is asked; `ports` and `paths`: whose listeners are
    looked at; `recorded_pid`: the session of our own record."""

    nonce: str
    user: str
    ports: Collection[int] = ()
    paths: Sequence[str] = ()
    recorded_pid: int | None = None


def server_script(asked: Asked) -> bytes:
    """The script; `answers.py` and `ssh.look.read_look` read what it says."""
    paths = " ".join(shlex.quote(path) for path in asked.paths) or "''"
    account = _ACCOUNT.format(
        nonce=asked.nonce,
        paths=paths,
        recorded=asked.recorded_pid or "none",
        groups="|".join(f"*' {name} '*" for name in SUDO_GROUPS),
    )
    inside = _INSIDE.format(
        nonce=asked.nonce, file_bytes=FILE_BYTES, most=FILES_MOST, ports=_ports(asked.ports)
    )
    text = "".join(
        (
            look_function(asked.nonce, asked.ports, asked.paths),
            account,
            _SERVER.format(inside=shlex.quote(inside), user=shlex.quote(asked.user)),
            "{ account; look; server; } 2> /dev/null < /dev/null\nexit 0\n",
        )
    )
    return text.encode("utf-8", "surrogateescape")


def _ports(ports: Collection[int]) -> str:
    """An extended regular expression for the local end of a row of ss."""
    return f":({'|'.join(str(port) for port in sorted(ports))}) " if ports else "^-$"


_ACCOUNT = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
LC_ALL=C
export PATH LC_ALL
limit=
timeout 5 true < /dev/null > /dev/null 2>&1 && limit='timeout 3'
account() {{
    echo
    echo 'part account {nonce}'
    name=$(id -un)
    echo "uid $(id -u)"
    echo "user $name"
    echo "groups $(id -Gn)"
    line=$(getent passwd "$name" || grep "^$name:" /etc/passwd)
    echo "shell ${{line##*:}}"
    echo "connection $SSH_CONNECTION"
    echo "system $(uname -s)"
    echo "os $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
    echo "date $(date)"
    [ -d "$HOME" ] && if [ -w "$HOME" ]; then echo 'home yes'; else echo 'home no'; fi
    echo "unprivileged $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"
    for path in {paths}; do
        if [ -e "$path" ] || [ -h "$path" ]; then echo 'path yes'; else echo 'path no'; fi
    done
    stat=
    [ -r /proc/{recorded}/stat ] && read -r stat < /proc/{recorded}/stat && echo "recorded $stat"
    echo 'table addresses'
    {{ ip -o addr || ifconfig -a || cat /proc/net/fib_trie /proc/net/if_inet6; }} |
        head -n 400 | sed 's/^/|/'
    rights=none
    if [ "$(id -u)" = 0 ]; then rights=root; else
        case " $(id -Gn) " in
            {groups})
                if command -v sudo > /dev/null; then
                    rights=sudo_password
                    $limit sudo -n true && rights=sudo
                fi ;;
        esac
    fi
    echo "rights $rights"
    echo 'over account {nonce}'
}}
"""

# The topmost sshd above us is the one that listens, or the end of those that are ours.
_SERVER = r"""
server() {{
    top= pid=$PPID
    while [ "${{pid:-0}}" -gt 1 ]; do
        name= parent=
        while read -r key value rest; do
            case $key in Name:) name=$value ;; PPid:) parent=$value ;; esac
        done < "/proc/$pid/status"
        case $name in sshd*) top=$pid ;; *) [ -n "$top" ] && break ;; esac
        pid=$parent
    done
    before=
    [ "$rights" = sudo ] && before='sudo -n'
    # Addresses and ports hold no space: SSH_CONNECTION is four words.
    set -- $SSH_CONNECTION
    $before sh -c {inside} sh {user} "$1" "$3" "$4" "$top" "$limit"
}}
"""

_INSIDE = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
LC_ALL=C
export PATH LC_ALL
user=$1 address=$2 here=$3 port=$4 top=$5 limit=$6
program= config=/etc/ssh/sshd_config options= pid=
lines='
'
part() {{
    echo
    echo "part $1 {nonce}"
}}
over() {{
    echo "over $1 {nonce}"
}}
quoted() {{
    head -c 262144 | sed 's/^/|/'
}}

is_listener() {{
    title=$(tr '\0' '\n' < "/proc/$1/cmdline")
    case $title in
        '') return 1 ;;
        'sshd: '*'[listener]'*) return 0 ;;
        sshd:* | sshd-session:*) return 1 ;;
        *sshd"$lines"-i | *sshd"$lines"-i"$lines"*) return 1 ;;
        *sshd | *sshd"$lines"*) return 0 ;;
    esac
    return 1
}}
find_listener() {{
    for pid in $top $(head -n 1 /run/sshd.pid) $(head -n 1 /var/run/sshd.pid); do
        is_listener "$pid" && return 0
    done
    # A session that has outlived its listener has no other way to the next one. Containers' are
    # no children of this system's first process.
    for pid in $(grep -lF '[listener]' /proc/[0-9]*/cmdline | head -n 20 | tr -dc '0-9\n'); do
        grep -Eq '^PPid:[[:space:]]*[01]$' "/proc/$pid/status" && is_listener "$pid" && return 0
    done
    pid= title=
    # Not Linux: the arguments as ps has them.
    [ -d /proc/self ] || {{
        title=$(ps -axo pid=,args= | grep -F '[listener]' | grep -vF grep | head -n 1)
        set -- $title
        pid=$1
        [ $# -gt 1 ] && shift && title=$*
    }}
    [ -n "$pid" ]
}}
read_arguments() {{
    case $title in
        'sshd: '*)
            title=${{title#sshd: }}
            title=${{title%%\[listener\]*}}
            set -f
            set -- $title
            set +f ;;
        *)
            set -f
            IFS=$lines
            set -- $title
            unset IFS
            set +f ;;
    esac
    case $1 in /*) program=$1 ;; esac
    while [ $# -gt 1 ]; do
        shift
        case $1 in
            -f) config=$2; shift ;;
            -f?*) config=${{1#-f}} ;;
            -o) options=$options$lines$2; shift ;;
            -o?*) options=$options$lines${{1#-o}} ;;
            -[bCcEghkpu]) shift ;;
        esac
    done
}}

part sshd
echo "as $(id -u)"
echo "groups $(id -Gn "$user")"
if find_listener; then
    echo "pid $pid"
    read_arguments
    exe=$(readlink "/proc/$pid/exe")
    [ -n "$exe" ] && [ -x "$exe" ] && program=$exe
fi
[ -x "$program" ] || for program in /usr/sbin/sshd /usr/local/sbin/sshd /usr/bin/sshd \
    /opt/*/sbin/sshd; do
    [ -x "$program" ] && break
done
[ -x "$program" ] && printf 'program %s\n' "$program"
printf 'config %s\nreal %s\n' "$config" "$(readlink -f "$config")"
echo 'table options'
printf '%s\n' "$options" | quoted
echo 'table version'
$limit "$program" -V 2>&1 | head -n 3 | quoted
echo 'table systemd'
[ -d /run/systemd/system ] &&
    $limit systemctl show --no-pager -p Id -p ActiveState -p MainPID -p LoadState \
        ssh.service sshd.service ssh.socket sshd.socket | quoted
echo 'table pidfiles'
for file in /run/sshd.pid /var/run/sshd.pid; do
    [ -r "$file" ] && printf '|%s %s\n' "$(head -n 1 "$file")" "$file"
done
for script in /etc/init.d/sshd /etc/init.d/ssh /etc/rc.d/sshd; do
    [ -x "$script" ] && printf 'script %s\n' "$script"
done
[ -e /run/openrc/softlevel ] && echo 'openrc yes'
command -v service > /dev/null && echo 'service yes'
over sshd

part effective
set -- -f "$config"
set -f
IFS=$lines
for one in $options; do
    set -- "$@" -o "$one"
done
unset IFS
set +f
if [ "$(id -u)" != 0 ] && folder=$(mktemp -d); then
    trap 'rm -rf "$folder"' EXIT
    trap 'exit 1' HUP INT TERM
    $limit ssh-keygen -q -t ed25519 -N '' -f "$folder/key" < /dev/null > /dev/null 2>&1 &&
        set -- "$@" -h "$folder/key"
fi
if [ -x "$program" ]; then
    whom="user=$user,host=$address,addr=$address,laddr=$here,lport=$port"
    $limit "$program" -t "$@" > /dev/null 2>&1
    echo "valid $?"
    echo 'table fault'
    $limit "$program" -t "$@" 2>&1 | head -n 20 | quoted
    echo 'table said'
    $limit "$program" -T "$@" -C "$whom" 2>&1 > /dev/null | head -n 20 | quoted
    echo 'table effective'
    $limit "$program" -T "$@" -C "$whom" 2> /dev/null | quoted
    file=$($limit "$program" -T "$@" -C "$whom" 2> /dev/null |
        sed -n 's/^[Pp][Ii][Dd][Ff][Ii][Ll][Ee] //p')
    echo 'table pidfile'
    [ -r "$file" ] && printf '|%s %s\n' "$(head -n 1 "$file")" "$file"
fi
over effective

list() {{
    printf '%s\n' "$1"
    [ "$2" -lt 17 ] && sed -n \
        's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=]\{{1,\}}//p' "$1" |
        sed 's/[[:space:]]#.*//; s/"//g' | while read -r patterns; do
            for pattern in $patterns; do
                case $pattern in /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
                for file in $pattern; do
                    [ -e "$file" ] && list "$file" $(($2 + 1))
                done
            done
        done
}}
part files
list "$config" 1 | head -n {most} | while read -r file; do
    if [ -r "$file" ] && [ -f "$file" ]; then
        printf 'table %s\n' "$file"
        {{ head -c {file_bytes} "$file"; echo; }} | sed 's/^/|/'
        [ "$(head -c $(({file_bytes} + 1)) "$file" | wc -c)" -gt {file_bytes} ] &&
            printf 'long %s\n' "$file"
    else
        printf 'closed %s\n' "$file"
    fi
done
over files

part firewall
if [ "$(id -u)" = 0 ]; then
    if command -v ufw > /dev/null; then
        echo 'table ufw'
        $limit ufw status verbose | quoted
    fi
    if command -v firewall-cmd > /dev/null; then
        echo 'table firewalld'
        {{ $limit firewall-cmd --state; $limit firewall-cmd --list-all; }} 2>&1 | quoted
    fi
    if command -v nft > /dev/null; then
        echo 'table nft'
        $limit nft list ruleset | quoted
    elif command -v iptables > /dev/null &&
        {{ iptables -V | grep -q nf_tables || [ -s /proc/net/ip_tables_names ]; }}; then
        # Of the old kind only where there are tables already: the question alone would make them.
        echo 'table iptables'
        $limit iptables -S | quoted
        echo 'table ip6tables'
        $limit ip6tables -S | quoted
    fi
else
    echo 'closed root'
    [ -r /etc/ufw/ufw.conf ] && sed -n 's/^ENABLED=/ufw /p' /etc/ufw/ufw.conf
    [ -d /run/systemd/system ] &&
        echo "firewalld $($limit systemctl is-active firewalld.service)"
fi
over firewall

part programs
echo 'table ss'
$limit ss -ltnp | grep -E '{ports}' | head -n 100 | quoted
over programs
"""
