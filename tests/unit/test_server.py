"""Which port the embedded server takes."""

from __future__ import annotations

from flows.server import bind, free_port


def test_two_servers_that_start_at_once_get_two_ports() -> None:
    """Neither accepts yet, and both ask for a port that is free: the system would give it to both."""
    preferred = free_port(0)
    with bind(preferred) as first, bind(preferred) as second:
        assert first.getsockname()[1] == preferred
        assert second.getsockname()[1] != preferred
