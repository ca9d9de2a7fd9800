"""Names for captures of recordings, made from what the recording says, not from where it lies."""

import hashlib
from collections.abc import Container, Iterable, Iterator
from itertools import islice
from uuid import UUID, uuid5

HEAD_LINES = 1_000

# Any fixed value serves; this one was drawn once, and every imported capture's id depends on it.
_NAMESPACE = UUID("7c1f2d0a-5f0e-4c53-9b1e-6f2f3a8d9e47")


def prefix_identities(texts: Iterable[bytes]) -> tuple[str, ...]:
    """Return a digest of the first line, of the first two, and so on up to the first 1,000.

    The last one is the identity of the recording. The others are those that it had when it was shorter: damaged that
    early, or not yet written further.
    """
    return tuple(_digests(islice(texts, HEAD_LINES)))


def capture_id(identity: str, ordinal: int) -> UUID:
    """Return the id of the recording's connection number `ordinal`, the first being 0."""
    return uuid5(_NAMESPACE, f"{identity}/{ordinal}")


def known_identity(identities: tuple[str, ...], captures: Container[UUID]) -> str | None:
    """Return the longest of the identities whose first connection is among the captures."""
    return next((one for one in reversed(identities) if capture_id(one, 0) in captures), None)


def _digests(texts: Iterable[bytes]) -> Iterator[str]:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(text.rstrip(b"\r") + b"\n")
        yield digest.hexdigest()
