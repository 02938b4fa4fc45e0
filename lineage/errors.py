"""Every error that lineage raises on purpose. Each message is a sentence that names the value
and the way out, so that a command can print it as it is."""

from __future__ import annotations

from collections.abc import Sequence


class LineageError(Exception):
    """Base of all errors raised on purpose by lineage."""


class InvalidValue(LineageError, ValueError):
    """A value cannot be recorded: NaN, an unknown relation, a malformed niche, a negative cost."""


class NotFound(LineageError, LookupError):
    """A reference fits no organism. `nearest` holds the names that look like it."""

    def __init__(self, message: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.nearest = tuple(nearest)


class Ambiguous(LineageError, LookupError):
    """A reference fits several organisms. `candidates` lists a reference to each."""

    def __init__(self, message: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.candidates = tuple(candidates)


class CycleError(LineageError):
    """A parent link would make an organism its own ancestor. `path` runs from the child's
    descendant that is the parent, down the existing links, back to the child."""

    def __init__(self, message: str, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)


class GenomeError(LineageError):
    """A file is not what it claims to be, or cannot be read: it is named."""


class CullError(LineageError):
    """Files cannot be put into quarantine, put back, or deleted: what stands in the way is named.
    They are where they were."""


class RegistryUnavailable(LineageError):
    """The registry could not be reached: missing, locked, read-only, full, on a refused file
    system, or of another schema."""


class NotAllowed(LineageError):
    """The registry is on PostgreSQL, and this takes a role that the user does not have: it is
    named."""


class SchemaMismatch(RegistryUnavailable):
    """The registry was written by an older or newer lineage."""
