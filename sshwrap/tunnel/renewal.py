"""A profile read anew: what of a tunnel's forwards stays."""

from __future__ import annotations

from dataclasses import replace

from sshwrap.tunnel.events import Renew
from sshwrap.tunnel.model import Tunnel, forward_states


def renewed(tunnel: Tunnel, event: Renew) -> Tunnel:
    """The tunnel with the new profile; a forward that is in both keeps what is known of it."""
    old = {s.forward: s for s in tunnel.forwards}
    fresh = forward_states(event.profile, event.added)
    return replace(
        tunnel,
        profile=event.profile,
        hostname=event.hostname,
        forwards=tuple(old.get(s.forward, s) for s in fresh),
        # With other forwards it is another tunnel to whoever reads: told in full when it is up.
        was_up=tunnel.was_up and all(s.forward in old for s in fresh),
    )
