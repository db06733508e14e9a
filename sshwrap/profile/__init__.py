"""What a person asks for: forwards, profiles, and the file they are kept in."""
