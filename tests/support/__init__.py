"""What tests, the demo and the benchmark share, in pure standard library."""
