"""How hypothesis looks for counterexamples: the same ones each time, however slow the machine is.

A run that has to pass before a change is taken may neither depend on luck nor on who else is using
the processor. `--hypothesis-profile=default` goes looking with other examples.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "sure",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sure")
