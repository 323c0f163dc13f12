"""Live streams: thousands of sequences that go on, step by step, at the same time.

====================  ==========================================================================
`Sessions`            streams by key, each with its own state; steps together in one batch
`SessionsFullError`   a new stream, and no place for it
====================  ==========================================================================
"""

from bptt.serving.sessions import Sessions, SessionsFullError

__all__ = ["Sessions", "SessionsFullError"]
