"""Which addresses a home has: those of its network, one number of 240 at a time."""

from __future__ import annotations

from dataclasses import dataclass

ROUTER6 = "2001:db8:51::10"  # the router's on the internet, which does not change


@dataclass(frozen=True, slots=True)
class HomeNet:
    """The home's networks: those of another `number` (1 to 250) replace them."""

    number: int
    nat: bool

    @property
    def _four(self) -> str:
        return "192.168.1" if self.nat else f"198.18.{self.number}"

    @property
    def net4(self) -> str:
        return f"{self._four}.0/24"

    @property
    def host4(self) -> str:
        return f"{self._four}.10"

    @property
    def router4(self) -> str:
        return f"{self._four}.1"

    @property
    def net6(self) -> str:
        return f"2001:db8:aa:{self.number:x}::/64"

    @property
    def host6(self) -> str:
        return f"2001:db8:aa:{self.number:x}::10"

    @property
    def router6(self) -> str:
        return f"2001:db8:aa:{self.number:x}::1"
