"""Data sets and how images become inputs."""
