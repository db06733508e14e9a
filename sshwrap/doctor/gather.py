"""Ask everything that doctor's checks judge: this machine, the way, the account, the server, live.

Laws. It records and never concludes. It always ends: every question has its time, and all of them
together `BUDGET` seconds. One sign-in, and none where the tunnel is up. Nothing is written on the
server, and nobody is asked for a password. What it opened for a second is closed when it returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sshwrap.doctor.facts import (
    NOT_ASKED,
    Account,
    Answer,
    ClientConfig,
    Fact,
    Facts,
    Here,
    Known,
    SignIn,
    Tried,
    Unknown,
    value_of,
)
from sshwrap.doctor.facts import Live as LiveFacts
from sshwrap.doctor.gather_here import (
    NAME_SECONDS,
    TARGET_SECONDS,
    Lookup,
    Targets,
    ask_agent,
    ask_config,
    ask_version,
    look_at_identities,
    ssh_home,
)
from sshwrap.doctor.gather_live import Live, Opened, Place, needs_own, open_test_ports
from sshwrap.doctor.gather_server import (
    SESSION_SECONDS,
    Session,
    ask_server,
    asked_paths,
    asked_ports,
    no_session,
    port_facts,
    server_facts,
)
from sshwrap.doctor.gather_way import LOOK_SECONDS, jump_of, look_at_port, way_facts
from sshwrap.doctor.line import Line
from sshwrap.doctor.questions import Asked
from sshwrap.doctor.remote import Connection, Pump, key_options_words
from sshwrap.doctor.sign_in import (
    address_of,
    key_options_of,
    master_argv,
    sign_in_of,
    software_of,
)
from sshwrap.profile.destination import parse_destination
from sshwrap.profile.forward import Forward, Kind
from sshwrap.ssh.look import forces_command
from sshwrap.ssh.session_record import SessionRecord

if TYPE_CHECKING:
    from sshwrap.profile.model import Profile
    from sshwrap.ssh.version import Version

BUDGET = 13.0  # seconds
SIGN_IN_SECONDS = 7.0
_LEAST = 0.2  # of any question's time: the last ones still fail in their own words


@dataclass(frozen=True, slots=True)
class Question:
    """What doctor is asked about.

    `added`: forwards that ssh_config adds (supervisor/order.py); `control_dir`: a directory that is
    there and ours alone, for a control socket; `control_path` and `snapshot` (as in
    `status --json`) are the running tunnel's; `admin` ("[user@]host") signs in to look, judging for
    the profile's account; `record`: our session on the server that may have outlived its tunnel,
    where it may be used.
    """

    profile: Profile
    environ: Mapping[str, str]
    control_dir: str
    added: tuple[Forward, ...] = ()
    ssh: str = "ssh"
    control_path: str | None = None
    snapshot: Mapping[str, Any] | None = None
    profiles_at_server: int = 1
    fault: str = ""  # as in facts.Here
    admin: str | None = None
    record: SessionRecord | None = None

    @property
    def remote_forwards(self) -> tuple[Forward, ...]:
        more = tuple(one for one in self.added if one.kind is Kind.REMOTE)
        return self.profile.remote_forward + more


def gather(question: Question, tell: Callable[[Facts], None]) -> tuple[Facts, Line | None]:
    """Everything; `tell` is called whenever a section is known. The line stays open, for a remedy;
    whoever called closes it (`Connection.close`). None: there is none."""
    pump = Pump()
    gatherer = _Gatherer(question, tell, pump)
    try:
        return gatherer.run(), gatherer.connection
    except BaseException:
        gatherer.give_up()
        raise
    finally:
        if gatherer.connection is None:
            pump.close()


@dataclass(slots=True)
class _Gatherer:
    question: Question
    tell: Callable[[Facts], None]
    pump: Pump
    facts: Facts = field(default_factory=Facts)
    connection: Connection | None = None
    nonce: str = field(default_factory=lambda: os.urandom(16).hex())
    begun: float = 0.0
    knocks: int = 0

    def left(self, seconds: float) -> float:
        """Of so many seconds, what the budget still has."""
        return max(_LEAST, min(seconds, self.begun + BUDGET - self.pump.now()))

    def know(self, **sections: Any) -> None:
        """Take these sections in, and tell of it."""
        trips = self.connection.round_trips if self.connection is not None else 0
        self.facts = replace(
            self.facts,
            seconds=self.pump.now() - self.begun,
            round_trips=trips + self.knocks,
            **sections,
        )
        self.tell(self.facts)

    def give_up(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    # --- in order ------------------------------------------------------------

    def run(self) -> Facts:
        self.begun = self.pump.now()
        asked = self.question
        version, ssh = ask_version(asked.ssh, asked.environ)
        here = Here(ssh=version, fault=asked.fault, profiles_at_server=asked.profiles_at_server)
        if isinstance(version, Unknown):
            self.know(here=here)
            return self.facts
        config = ask_config(self.pump, asked.profile, ssh, asked.environ, asked.added)
        targets = Targets(self.pump, asked.remote_forwards)
        if isinstance(config, Known):
            home = ssh_home() or asked.environ.get("HOME", "")
            here = replace(
                here,
                identities=Known(
                    look_at_identities(config.value, home, asked.profile.identity_file)
                ),
                agent=ask_agent(config.value, asked.environ, home),
            )
            self.connection = self._connect(version.value, ssh)
        lookup = self._lookup(config)
        self.pump.until(lambda: targets.are_done, TARGET_SECONDS + 0.5)
        self.know(here=replace(here, config=config, targets=Known(targets.answers())))
        if isinstance(config, Unknown) or self.connection is None:
            reason = config if isinstance(config, Unknown) else NOT_ASKED
            self.know(account=Account(sign_in=reason))
            return self.facts
        opened = Opened()
        if self.connection.over_tunnel:
            opened = open_test_ports(self.connection, self.left)
            if opened.is_gone:  # the tunnel has ended meanwhile
                self.connection.leave()
                self.connection = self._sign_in(version.value, ssh)
        return self._ask_there(config.value, self.connection, opened, lookup)

    def _connect(self, version: Version, ssh: str) -> Connection:
        """Sign in, or use the running tunnel's line where that can be."""
        asked = self.question
        is_up = asked.snapshot is not None and asked.snapshot["state"] == "up"
        path = asked.control_path
        if path is not None and is_up and asked.admin is None and os.path.exists(path):  # noqa: PTH110
            return Connection(self.pump, path, ssh=ssh, environ=asked.environ)
        return self._sign_in(version, ssh)

    def _sign_in(self, version: Version, ssh: str) -> Connection:
        asked = self.question
        profile = asked.profile
        if asked.admin is not None:
            profile = as_admin(profile, asked.admin)
        path = os.path.join(asked.control_dir, f"doctor-{os.urandom(5).hex()}")  # noqa: PTH118
        argv = master_argv(profile, version, path, ssh=ssh)
        self.facts = replace(self.facts, sign_ins=self.facts.sign_ins + 1)
        return Connection(self.pump, path, ssh=ssh, environ=asked.environ, argv=argv)

    def _lookup(self, config: Fact[ClientConfig]) -> Lookup | None:
        if isinstance(config, Unknown) or jump_of(config.value) is not None:
            return None
        return Lookup(self.pump, config.value.hostname, seconds=NAME_SECONDS)

    def _ask_there(
        self,
        config: ClientConfig,
        connection: Connection,
        opened: Opened,
        lookup: Lookup | None,
    ) -> Facts:
        sign_in = self._await_sign_in(connection)
        if lookup is not None:
            self.pump.until(lambda: lookup.addresses is not None, self.left(NAME_SECONDS))
        addresses = (lookup.addresses if lookup is not None else None) or NOT_ASKED
        way = way_facts(config, connection, addresses)
        if sign_in.failure is not None:
            self._end(connection)
            way = look_at_port(self.pump, way, config, sign_in, self.left(LOOK_SECONDS))
            software = software_of(way.banner)
            self.know(way=way, server=replace(self.facts.server, software=software))
            self.know(account=Account(sign_in=Known(sign_in), shell=_NOT_SIGNED_IN))
            return self.facts
        self.know(way=way)
        if not connection.over_tunnel and self.question.admin is None:
            opened = open_test_ports(connection, self.left)
        session = self._session(config, connection, opened)
        account = Account(
            sign_in=Known(sign_in),
            key_options=self._key_options(connection),
            shell=session.shell,
            rights=session.rights,
        )
        self.know(account=account)
        self.know(server=server_facts(session, software_of(way.banner), config.user))
        is_up = self._state == "up"
        self.know(
            ports=tuple(
                port_facts(
                    session,
                    one,
                    is_up=is_up,
                    record=self.question.record,
                    as_other=self.question.admin is not None,
                )
                for one in self.question.remote_forwards
            )
        )
        self._live(config, connection, session, opened)
        return self.facts

    def _key_options(self, connection: Connection) -> Fact[tuple[str, ...]]:
        if not connection.over_tunnel:
            return key_options_of(connection.heard)
        heard = (self.question.snapshot or {}).get("_key_options")
        if not heard:
            return Unknown("the running tunnel was used, and its supervisor has not heard it")
        return Known(tuple(heard.split()))

    @property
    def _state(self) -> str:
        return self.question.snapshot["state"] if self.question.snapshot is not None else "down"

    def _await_sign_in(self, connection: Connection) -> SignIn:
        if connection.over_tunnel:
            return SignIn(None, over_tunnel=True)
        self.pump.until(
            lambda: connection.is_up or connection.exit is not None, self.left(SIGN_IN_SECONDS)
        )
        ended = connection.exit
        profile = self.question.profile
        return sign_in_of(
            connection.heard,
            is_ready=connection.is_up,
            exit_status=None if ended is None else ended.status,
            signal=None if ended is None else ended.signal,
            destination=self.question.admin or profile.destination,
            profile=profile.name,
        )

    def _end(self, connection: Connection) -> None:
        """There is no line to hand on; the loop is still needed."""
        self.connection = None
        connection.leave()

    # --- the server ----------------------------------------------------------

    def _session(self, config: ClientConfig, connection: Connection, opened: Opened) -> Session:
        asked = self.question
        why_not = self._why_no_session(connection)
        if why_not is not None:
            return no_session(why_not)
        forwards = asked.remote_forwards
        questions = Asked(
            self.nonce,
            config.user,
            asked_ports(forwards, opened.ports),
            asked_paths(forwards),
            None if asked.record is None else asked.record.session_pid,
        )
        return ask_server(connection, questions, self.left(SESSION_SECONDS))

    def _why_no_session(self, connection: Connection) -> str | None:
        """Why none may be opened, which is never what the account is refused."""
        if not self.question.profile.run_on_server:
            return "run_on_server is false in the profile"
        forced = "the key runs a command of its own in every session"
        if forces_command(key_options_words(connection.heard)):
            return forced
        if connection.over_tunnel and self.question.snapshot is not None:
            # Only its supervisor has heard what the key is for.
            reasons = [one["reach_reason"] for one in self.question.snapshot["forwards"]]
            heard = self.question.snapshot.get("_key_options") or ""
            if forced in reasons or forces_command(heard):
                return forced
        return None

    # --- live ----------------------------------------------------------------

    def _live(
        self, config: ClientConfig, connection: Connection, session: Session, opened: Opened
    ) -> None:
        asked = self.question
        facts = LiveFacts(state=self._state, firewall=session.firewall)
        place = self._place(config, connection)
        live = Live(self.pump, connection, place, self.left, self.nonce)
        if asked.admin is not None:
            other = f"it would be tried as {asked.admin}, and not as {config.user}"
            self.know(live=replace(facts, gateway_ports=Unknown(other), tried=Unknown(other)))
            return
        look = value_of(session.look)
        gateway_ports, tried = live.try_test_ports(opened, look)
        ports_opened = len(opened.ports)
        if connection.over_tunnel and asked.snapshot is not None:
            tried = (*live.of_tunnel(asked.remote_forwards, asked.snapshot), *tried)
            self._time_way(tried)
        elif needs_own(tried, asked.snapshot):
            for port in self.facts.ports[:1]:
                if port.forward.listen_path is None and value_of(port.holders) == ():
                    own = live.try_own(port.forward, has_session=look is not None)
                    tried = (own, *tried)
                    ports_opened += own.reach is not None
        self.knocks = live.knocks
        self.know(
            live=replace(
                facts, gateway_ports=gateway_ports, tried=Known(tried), ports_opened=ports_opened
            )
        )

    def _time_way(self, tried: Sequence[Tried]) -> None:
        """Over the tunnel no connection was made to time it by, but for a knock that was answered
        by somebody."""
        for one in tried:
            knocked = value_of(one.from_here)
            if knocked is not None and knocked.answer in (Answer.OPEN, Answer.REFUSED):
                trip = Known(knocked.seconds)
                self.facts = replace(self.facts, way=replace(self.facts.way, round_trip=trip))
                return

    def _place(self, config: ClientConfig, connection: Connection) -> Place:
        if self.facts.way.jump is not None:
            return Place(config.hostname, None, "the way goes through a jump host")
        known = value_of(self.facts.way.addresses) or ()
        address = address_of(connection.heard) or next(iter(known), None)
        return Place(config.hostname, address)


_NOT_SIGNED_IN = Unknown("the sign-in did not work")


def as_admin(profile: Profile, admin: str) -> Profile:
    """The same server as somebody else, or a host of ssh_config by itself: then port, jump host and
    identity files are that one's own."""
    destination = parse_destination(admin)
    same = destination.host == parse_destination(profile.destination).host
    return replace(
        profile,
        destination=admin,
        user=None,
        identity_file=(),
        port=profile.port if same else None,
        proxy_jump=profile.proxy_jump if same else None,
    )
