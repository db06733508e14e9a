"""The shell text that changes sshd_config on the server and takes it back, for any POSIX sh.

Laws. dash, BusyBox ash and bash run it alike. No step trusts the one before: what is installed is
asked of sshd before it is reloaded, and again after. A change is pending, confirmed, being undone
or undone: a file of that name in its folder says which, and rename(2) alone takes it from one to
the next, so that of two who want to decide it one does. The text holds no value of its own: those
stand before it, each quoted once (fix_script.py).
"""

from __future__ import annotations

# `lock`, `check`, `dumps`, `compare`, `reread`, `take_back`: what installing and undoing share.
SHARED = r"""
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
# A line that is cut must not stop this half way; with an action, programs start with the default.
trap : HUP PIPE
why= said=
candidate=${target%/*}/.${target##*/}.sshwrap-new

pause() { sleep 0.1 2>/dev/null || sleep 1; }
step() { echo "step $*"; }
no() {
    echo "no $1"
    [ -z "$said" ] || printf '%s\n' "$said" | head -n 20 | sed 's/^/| /'
}

# --- the lock --------------------------------------------------------------------------------

identity() { # of this shell: boot, pid, when it started
    read -r boot </proc/sys/kernel/random/boot_id
    read -r stat <"/proc/$$/stat"
    set -- ${stat##*) }
    echo "$boot $$ ${20}"
}
lives() { # IDENTITY
    set -- $1
    [ $# = 3 ] || return 1
    read -r boot </proc/sys/kernel/random/boot_id
    [ "$1" = "$boot" ] || return 1
    began=$3
    { read -r stat <"/proc/$2/stat"; } 2>/dev/null || return 1
    set -- ${stat##*) }
    [ "${20}" = "$began" ] && [ "$1" != Z ]
}
lock() {
    why=unwritable
    said=$(mkdir -p "$home" 2>&1) || return 1
    tries=0
    until said=$(mkdir "$home/lock" 2>&1); do
        why=unwritable
        [ -d "$home/lock" ] || [ "$tries" -lt 3 ] || return 1
        holder=$(cat "$home/lock/owner" 2>/dev/null)
        # Between its two lines a lock has no owner yet.
        if ! lives "$holder" && { [ -n "$holder" ] || [ "$tries" -ge 20 ]; }; then
            mv "$home/lock" "$home/lock-$$" 2>/dev/null &&
                if [ "$(cat "$home/lock-$$/owner" 2>/dev/null)" = "$holder" ]; then
                    rm -rf "$home/lock-$$"
                else
                    mv "$home/lock-$$" "$home/lock"
                fi
        fi
        why=busy
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || return 1
        pause
    done
    identity >"$home/lock/owner"
    said= why=
}
unlock() { rm -rf "$home/lock"; }

# --- asking sshd -----------------------------------------------------------------------------

check() { # CONFIG: whether sshd would start with it; what it says is in `said`
    said=$(run_sshd "$1" -t 2>&1 </dev/null) && return
    case $said in
        *'Missing privilege separation directory: '*)
            missing=${said##*separation directory: }
            mkdir -p -m 755 "${missing%%[!-A-Za-z0-9_./]*}" # not there before its first start
            said=$(run_sshd "$1" -t 2>&1 </dev/null)
            ;;
        *) return 1 ;;
    esac
}
dumps() { # CONFIG PREFIX: the effective values of everybody in `people`, a file each
    number=0
    while IFS= read -r who; do
        number=$((number + 1))
        connection="user=$who,host=$host,addr=$address,laddr=$local_address,lport=$local_port"
        run_sshd "$1" -T -C "$connection" >"$2.$number" 2>"$change/said" </dev/null || {
            said=$(cat "$change/said")
            return 1
        }
    done <"$change/people"
}
compare() { # OLD NEW: only what is wanted differs, and only for whom it is wanted
    number=0
    while IFS= read -r who; do
        number=$((number + 1))
        may=$others_may
        [ "$number" != 1 ] || may=$account_may
        old=$(grep -Eiv "$may" "$1.$number")
        new=$(grep -Eiv "$may" "$2.$number")
        if [ "$old" != "$new" ]; then
            why=more
            said="$who: $(diff "$1.$number" "$2.$number" 2>/dev/null | grep '^[<>]')"
            return 1
        fi
    done <"$change/people"
    holds "$2.1"
}
holds() { # DUMP: of the account, with every wanted value
    while IFS= read -r line; do
        [ -z "$line" ] || grep -Fixq -- "$line" "$1" || {
            why=overridden
            said=$(grep -i "^${line%% *} " "$1")
            return 1
        }
    done <<END_OF_WANTED
$wanted
END_OF_WANTED
}

# --- the listener ----------------------------------------------------------------------------

inodes() { # of the sockets that listen at the port
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        while read -r a local b state c d e f g inode rest; do
            case $state:$local in 0A:*:"$port_hex") echo "$inode" ;; esac
        done
}
listener() { # the sshd that has one of them open: titles and pid files may be anybody's
    sockets=" $(inodes | tr '\n' ' ')"
    ls -l /proc/[0-9]*/fd 2>/dev/null | while read -r line; do
        case $line in
            /proc/*/fd:) one=${line#/proc/} one=${one%%/*} ;;
            *'socket:['*)
                socket=${line##*'socket:['}
                case $sockets in
                    *" ${socket%%]*} "*)
                        case $(readlink "/proc/$one/exe") in
                            */sshd | */sshd' (deleted)') echo "$one" ;;
                        esac
                        ;;
                esac
                ;;
        esac
    done | head -n 1
}
reload() { # never a restart, and never by name: a session that is sent HUP ends
    case $reloader in
        systemd) systemctl reload "$unit" ;;
        systemd_socket) ! systemctl is-active --quiet "$unit" || systemctl reload "$unit" ;;
        openrc) rc-service "$unit" reload ;;
        service) service "$unit" reload ;;
        pidfile) kill -HUP "$(listener)" ;;
    esac
}
start() { # where it is gone
    case $reloader in
        systemd) systemctl reset-failed "$unit"; systemctl start "$unit" ;;
        systemd_socket) systemctl start "${unit%.service}.socket" ;;
        openrc) rc-service "$unit" start ;;
        service) service "$unit" start ;;
        pidfile) start_sshd ;;
    esac </dev/null >/dev/null 2>&1
}
are_new() { # OLD: somebody listens, by none of those sockets: they are closed one by one
    now=$(inodes)
    [ -n "$now" ] || return 1
    for inode in $1; do
        case " $(echo $now) " in *" $inode "*) return 1 ;; esac
    done
}
reread() { # sshd reads its files and listens again
    pid=$(listener)
    before=$(inodes)
    said=$(reload 2>&1 </dev/null) || return 1
    [ -n "$pid" ] || return 0 # who starts it for the next connection listens for it
    tries=0 missed=0
    while [ "$tries" -lt 50 ] && [ "$missed" -lt 20 ]; do
        case $reloader in
            pidfile | systemd | openrc | service) are_new "$before" && return ;;
            *) [ -n "$(inodes)" ] && return ;;
        esac
        [ -d "/proc/$pid" ] || missed=$((missed + 1))
        tries=$((tries + 1))
        pause
    done
    said="nobody listens at port $local_port"
    [ -n "$(inodes)" ]
}

# --- taking it back --------------------------------------------------------------------------

is_same() { [ "$(cat "$1"; echo .)" = "$(cat "$2"; echo .)" ]; }
label() { ! command -v restorecon >/dev/null || restorecon "$target" >/dev/null 2>&1; }
settle() { sync "$target" 2>/dev/null || sync; }
take_back() { # the file is as it was, and was not lost where somebody has edited it since
    rm -f "$candidate"
    why=edited said="$target was edited meanwhile"
    case $kind in
        create)
            [ -e "$target" ] || return 0
            is_same "$target" "$change/after" || return 1
            rm -f "$target" || return 1
            [ ! -e "$change/made" ] || rmdir "${target%/*}" 2>/dev/null
            ;;
        replace)
            is_same "$target" "$change/before" && return 0
            is_same "$target" "$change/after" || return 1
            ;;
        remove)
            if [ -e "$target" ]; then is_same "$target" "$change/before"; return; fi
            ;;
    esac
    if [ "$kind" != create ]; then
        cp -p "$change/backup" "$candidate" && mv -f "$candidate" "$target" || return 1
        label
    fi
    settle
}
undo() { # the file, and then the sshd that has read it
    take_back || { no edited; return 1; }
    if check "$config"; then
        reread
        [ -n "$(inodes)" ] || start
    fi
    tries=0
    until [ -n "$(inodes)" ] || [ "$tries" -ge 50 ]; do
        tries=$((tries + 1))
        pause
    done
    [ -n "$(inodes)" ] || [ "$reloader" = none ] || { said= ; no gone; return 1; }
    echo undone
}
decide() { mv "$change/$1" "$change/$2" 2>/dev/null; }

confirm() {
    [ -e "$change/pending" ] || { no late; return; }
    dumps "$config" "$change/now" && holds "$change/now.1" || { no overridden; return; }
    decide pending confirmed || { no late; return; }
    if [ -n "$undoes" ]; then # what takes a change back is none that could be taken back
        mv "$home/$undoes/confirmed" "$home/$undoes/undone" 2>/dev/null
        decide confirmed undone
    fi
    echo confirmed
}
now() {
    decide pending undoing || decide confirmed undoing || [ -e "$change/undoing" ] ||
        { no late; return; }
    finish
}
finish() { if undo; then decide undoing undone; else decide undoing left; fi; }
watch() { # SECONDS: takes it back unless somebody confirms it
    identity >"$change/guard"
    left=$1
    while [ "$left" -gt 0 ]; do
        sleep 1
        [ -e "$change/pending" ] || return 0
        left=$((left - 1))
    done
    decide pending undoing || return 0
    locked=yes
    lock || locked= # who holds it for so long hangs
    finish >"$change/log" 2>&1
    [ -z "$locked" ] || unlock
}
decided() { # confirm | now | held | watch SECONDS
    case ${1-now} in
        watch) watch "$2" ;;
        held) now ;; # by somebody who has the lock
        confirm | now) lock || { no "$why"; return; }; "${1-now}"; unlock ;;
    esac
}
"""

# `install` answers with its steps, with "change ID", and with "no WHY" and words where it stops.
INSTALL = r"""
fixed() { # PATH: whether it can be changed by nobody
    flags=$(lsattr -d "$1" 2>/dev/null)
    case ${flags%% *} in *[ia]*) ;; *) return 1 ;; esac
}
everybody() { # the account, and some of those to whom nothing shall happen
    printf '%s\n' "$account"
    for who in $others; do [ "$who" = "$account" ] || printf '%s\n' "$who"; done
    found=0
    while IFS=: read -r who a uid rest; do
        case $uid in '' | *[!0-9]* | ?????????*) continue ;; esac
        [ "$uid" -ge 1000 ] && [ "$uid" -lt 60000 ] && [ "$who" != "$account" ] || continue
        found=$((found + 1))
        [ "$found" -le 3 ] || break
        printf '%s\n' "$who"
    done </etc/passwd
}
is_as_planned() {
    case $kind in
        create) [ ! -e "$target" ] && [ ! -L "$target" ] ;;
        *) [ -f "$target" ] && is_same "$target" "$change/before" ;;
    esac
}
unfinished() { # a change that waits for its proof, or that a lost server never proved
    for other in "$home"/*/pending "$home"/*/undoing; do
        [ -e "$other" ] || continue
        other=${other%/*}
        why=waiting
        lives "$(cat "$other/guard" 2>/dev/null)" && return
        why=unfinished
        sh "$other/undo" held >/dev/null 2>&1
        return
    done
    return 1
}
tidy() { # what was never begun, and what is over
    for other in "$home"/*-*/; do
        [ -e "$other/confirmed" ] || [ -e "$other/left" ] || [ ! -e "$other/people" ] ||
            rm -rf "$other"
    done
}
arm() {
    printf '%s\n' "change='$change'" "$text" 'decided "$@"' >"$change/undo"
    set -- sh "$change/undo" watch "$seconds"
    if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null &&
        systemd-run --quiet --collect --unit="sshwrap-doctor-$nonce" "$@" \
            </dev/null >/dev/null 2>&1; then
        : # a cgroup of its own, which no end of a session reaches
    elif command -v setsid >/dev/null; then
        setsid "$@" </dev/null >/dev/null 2>&1 &
    else
        nohup "$@" </dev/null >/dev/null 2>&1 &
    fi
    tries=0
    until [ -s "$change/guard" ] || [ "$tries" -ge 50 ]; do
        tries=$((tries + 1))
        pause
    done
    lives "$(cat "$change/guard" 2>/dev/null)"
}
build() { # the candidate beside the target, with its owner, mode and label
    if [ ! -d "${target%/*}" ]; then
        mkdir -m 755 "${target%/*}" && : >"$change/made" || return 1
    fi
    rm -f "$candidate"
    if [ "$kind" = replace ]; then
        cp -p "$target" "$candidate" || return 1
    else
        : >"$candidate" && chmod 644 "$candidate" || return 1
    fi
    cat "$change/after" >"$candidate" && is_same "$candidate" "$change/after"
}
try() { # the candidate, by a main file of our own where it is one of several
    main=$candidate
    if [ "$target" != "$main_file" ]; then
        main=$change/main
        { echo "Include $candidate"; cat "$config"; } >"$main" || return 1
    fi
    why=invalid
    check "$main" && dumps "$main" "$change/try" && compare "$change/old" "$change/try"
}
refuse() { # WHY: nothing was changed
    rm -f "$candidate"
    [ ! -e "$change/made" ] || rmdir "${target%/*}" 2>/dev/null
    no "$1"
    rm -rf "$change"
}
installing() {
    told=
    if unfinished; then no "$why"; return; fi
    tidy
    utc=$(date -u +%Y%m%dT%H%M%SZ)
    change=$home/$utc-$nonce
    if ! said=$(mkdir "$change" 2>&1); then no unwritable; return; fi
    everybody >"$change/people"
    printf %s "$text_before" >"$change/before"
    printf %s "$text_after" >"$change/after"
    case $target in /nix/store/* | /gnu/store/*) said=$target; refuse managed; return ;; esac
    for path in "${target%/*}" "$target"; do
        if fixed "$path"; then said=$path; refuse immutable; return; fi
    done
    if ! is_as_planned; then said=$target; refuse changed; return; fi
    check "$config" && dumps "$config" "$change/old" || { refuse broken; return; }
    step baseline
    if [ "$kind" != remove ]; then
        said=$(build 2>&1) || { refuse unwritable; return; }
        try || { refuse "$why"; return; }
        step candidate
    fi
    if [ "$kind" != create ]; then
        said=$(cp -p "$target" "$change/backup" 2>&1) && is_same "$target" "$change/backup" &&
            { [ "$target" != "$main_file" ] || [ -n "$undoes" ] ||
                said=$(cp -p "$target" "$target.sshwrap-$utc" 2>&1); } ||
            { refuse unwritable; return; }
    fi
    printf '%s\n' "target $target" "kind $kind" "account $account" "may $account_may" \
        "others $others_may" >"$change/record"
    : >"$change/pending"
    sync
    echo "change $utc-$nonce"
    if ! arm; then decide pending undone; refuse guard; return; fi
    step armed
    if ! is_as_planned; then
        decide pending undone
        echo undone
        said=$target
        refuse changed
        return
    fi
    put || { back_out "$why"; return; }
    why=invalid
    check "$config" && dumps "$config" "$change/new" && compare "$change/old" "$change/new" ||
        { back_out "$why"; return; }
    step installed
    told=yes
    reread || { back_out reload; return; }
    step reloaded
}
put() { # at one stroke, unless it has been decided meanwhile that it is too late
    why=late
    [ -e "$change/pending" ] || return 1
    why=unwritable
    if [ "$kind" = remove ]; then
        said=$(rm -f "$target" 2>&1) || return 1
    else
        said=$(mv -f "$candidate" "$target" 2>&1) || return 1
    fi
    label
    settle
}
back_out() { # WHY
    words=$said
    if decide pending undoing; then
        if [ -n "$told" ]; then
            finish
        elif take_back; then # sshd has never known of it
            decide undoing undone
            echo undone
        else
            decide undoing left
        fi
    fi
    said=$words
    no "$1"
}
install() {
    said=
    [ "$(id -u)" = 0 ] || { no root; return; }
    lock || { no "$why"; return; }
    chmod 700 "$home"
    installing
    unlock
}
"""

# The last change that was confirmed: its record, and both texts between lines of the nonce.
LAST = r"""
last() {
    [ "$(id -u)" = 0 ] || { echo 'no root'; return; }
    found=
    for one in "$home"/*/confirmed; do [ ! -e "$one" ] || found=${one%/*}; done
    [ -n "$found" ] || { echo 'no none'; return; }
    echo "change ${found##*/}"
    cat "$found/record"
    for name in before after; do
        echo "file $name $nonce"
        cat "$found/$name"
        echo
        echo "over $name $nonce"
    done
}
"""
