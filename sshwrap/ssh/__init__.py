"""What ssh is told, and what its words mean."""
