"""sshwrap: `ssh -R` that stays up, tells the truth, and says why when it cannot."""

__version__ = "0.1.0"
