"""The steps that lead an older store to what `schema.sql` describes.

A step is one script, run in one transaction with the version number. What it leaves must equal a newly installed store
in every column, constraint and index, those of the day partitions too: partitions made later are copied from the parent
and attached, which PostgreSQL refuses where something is missing.
"""

from typing import Final

# A reader that holds its lock for long fails the step, to be tried again, instead of making everybody wait behind us.
# Checking all trades against the new constraint takes as long as it takes.
_TO_2: Final = """
SET LOCAL lock_timeout = '5s';

-- What retention has begun to detach would otherwise be left out, and could never be detached any more.
DO $$
DECLARE
    pending REGCLASS;
BEGIN
    FOR pending IN
        SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = 'rl_trades'::regclass AND inhdetachpending
    LOOP
        EXECUTE format('ALTER TABLE rl_trades DETACH PARTITION %s FINALIZE', pending);
    END LOOP;
END
$$;

LOCK TABLE rl_trades, rl_feed_gaps, rl_markets IN ACCESS EXCLUSIVE MODE;
SET LOCAL statement_timeout = 0;

ALTER TABLE rl_trades ALTER COLUMN sequence_number DROP NOT NULL;
ALTER TABLE rl_trades ALTER COLUMN capture DROP NOT NULL;
ALTER TABLE rl_trades ALTER COLUMN frame_no DROP NOT NULL;
ALTER TABLE rl_trades ALTER COLUMN sid DROP NOT NULL;
ALTER TABLE rl_trades ADD COLUMN origin TEXT NOT NULL DEFAULT 'venue' CHECK (origin IN ('venue', 'rest'));
ALTER TABLE rl_trades ADD CONSTRAINT rl_trades_origin_frame_check
    CHECK (num_nonnulls(capture, frame_no, sid, sequence_number) = CASE origin WHEN 'venue' THEN 4 ELSE 0 END);

-- Partitions that retention detached and did not come to dropping: one whose day comes back is attached again.
DO $$
DECLARE
    detached REGCLASS;
BEGIN
    FOR detached IN
        SELECT oid FROM pg_catalog.pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT relispartition
          AND relname ~ '^rl_trades_[0-9]{8}$'
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN sequence_number DROP NOT NULL, ALTER COLUMN capture DROP NOT NULL,
            ALTER COLUMN frame_no DROP NOT NULL, ALTER COLUMN sid DROP NOT NULL,
            ADD COLUMN origin TEXT NOT NULL DEFAULT ''venue'',
            ADD CONSTRAINT rl_trades_origin_check CHECK (origin IN (''venue'', ''rest'')),
            ADD CONSTRAINT rl_trades_origin_frame_check CHECK (num_nonnulls(capture, frame_no, sid, sequence_number) =
                CASE origin WHEN ''venue'' THEN 4 ELSE 0 END)', detached);
    END LOOP;
END
$$;

CREATE INDEX rl_trades_rest_idx ON rl_trades (market_ticker, timestamp_ms) WHERE origin = 'rest';

ALTER TABLE rl_feed_gaps ADD COLUMN filled_ns BIGINT;
ALTER TABLE rl_feed_gaps ADD COLUMN filled_trades BIGINT;
ALTER TABLE rl_feed_gaps ADD CONSTRAINT rl_feed_gaps_filled_check
    CHECK ((filled_ns IS NULL) = (filled_trades IS NULL));
CREATE INDEX rl_feed_gaps_unfilled_idx ON rl_feed_gaps (received_ns) WHERE channel = 'trade' AND filled_ns IS NULL;

ALTER TABLE rl_markets ADD COLUMN yes_sub_title TEXT;
ALTER TABLE rl_markets ADD COLUMN settlement_timer_s INTEGER;
ALTER TABLE rl_markets ADD COLUMN settled_ts_ms BIGINT;

CREATE TABLE rl_fee_changes (
    scope          TEXT NOT NULL CHECK (scope IN ('series', 'event')),
    ticker         TEXT NOT NULL,
    valid_from_ms  BIGINT NOT NULL,
    fee_type       TEXT,
    fee_multiplier NUMERIC,
    fetched_ns     BIGINT NOT NULL,
    PRIMARY KEY (scope, ticker, valid_from_ms)
);
COMMENT ON TABLE rl_fee_changes IS 'Fees of series and their replacements for events, with when they begin.';
"""

MIGRATIONS: Final[tuple[str, ...]] = (_TO_2,)
"""The first leads from version 1 to 2, the next from 2 to 3, and so on."""
