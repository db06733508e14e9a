"""The life of one tunnel: a pure state machine, and what is shown of it."""
