"""Hosts on a small internet of network namespaces, and what can befall them."""
