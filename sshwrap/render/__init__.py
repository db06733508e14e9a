"""Snapshots and stories -> what a person reads."""
