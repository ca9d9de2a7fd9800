"""Who records into a store: each recorder's connection holds a shared lock that tells the others of it.

Two of them harm nothing, for each writes its own captures. But it is seldom meant, and costs twice the space.
"""

from rlflow.data.store.postgres import Connection

# Of two numbers: the first says which schema is recorded into, the second who does it.
_ANNOUNCE = "SELECT pg_advisory_lock_shared(hashtext('rlflow recorder ' || current_schema()), %s)"

_OTHERS = """
    SELECT DISTINCT coalesce(host(activity.client_addr), 'the database''s own machine')
    FROM pg_catalog.pg_locks AS held LEFT JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
    WHERE held.locktype = 'advisory' AND held.objsubid = 2 AND held.granted
      AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND held.classid::bigint = hashtext('rlflow recorder ' || current_schema())::bigint & 4294967295
      AND held.objid::bigint <> %s
    ORDER BY 1"""


def announce(connection: Connection, recorder: int) -> None:
    """Say that this connection is a recorder's, until it ends.

    Args:
        connection: works in the schema of the store.
        recorder: a number of the process, 0 to 2^31 - 1; the same for all its connections, so that one that the server
            has not noticed the end of is not taken for somebody else's.
    """
    connection.execute(_ANNOUNCE, (recorder,))


def others(connection: Connection, recorder: int) -> tuple[str, ...]:
    """Return the addresses that other recorders of the store are connected from."""
    return tuple(address for (address,) in connection.execute(_OTHERS, (recorder,)))
