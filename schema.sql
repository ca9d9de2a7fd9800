-- The tables of rlflow, for PostgreSQL 16 to 18.
--
-- rlflow itself installs this file into a schema that has none of these tables, and says in rl_meta what store it is.
-- Everything goes into the first schema of the search path.
--
-- Units. A column ending in _ns is nanoseconds since 1970-01-01 UTC on our wall clock; one ending in _ms is milliseconds
-- since 1970-01-01 UTC on the venue's. A column ending in _e4 is 1/10,000 dollar, which is exact for every price of the
-- venue. `price` columns are whole cents: what is finer is cut off there, never rounded up. Sizes and counts are
-- contracts with two decimals. NULL means "not said" or "not known", never zero.
--
-- Names of frames. A capture is one connection to the venue (or one recorded in a file), from open to close. Every frame
-- received in it has a number, frame_no, from 1; what we noted ourselves (opened, closed, stale) takes numbers of the
-- same counter, and opening is 0. Frames that nothing could take have numbers too, and no rows. (capture, frame_no) orders
-- everything that a capture holds; time does not, because a wall clock can be set back.


-- One row: what this store is.
CREATE TABLE rl_meta (
    only_row       BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    schema_version INTEGER NOT NULL CHECK (schema_version > 0),  -- of the tables here; rlflow upgrades older, refuses newer
    store_id       UUID NOT NULL DEFAULT gen_random_uuid(),      -- stands in every journal segment written for this store
    environment    TEXT NOT NULL                                 -- of every capture here: kinds of data never mix
                   CHECK (environment IN ('prod', 'demo', 'sim', 'replay', 'recordings')),
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE rl_meta IS 'What this store is: schema version, identity, kind of data. One row.';


-- One row per capture. committed_frame is the offset of exactly-once: the rows of the frames up to it are in the tables
-- below, those behind it are not, because both change in one transaction and only if committed_frame is still what the
-- writer left there.
CREATE TABLE rl_captures (
    capture          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- stands for the UUID in all other tables
    capture_id       UUID NOT NULL UNIQUE,      -- made by us: UUIDv7 of a connection, UUIDv5 of a recorded file
    url              TEXT NOT NULL,             -- where the frames came from
    use_yes_price    BOOLEAN NOT NULL,          -- whether the wire gave NO levels as YES prices; the rows never do
    legacy           BOOLEAN NOT NULL,          -- whether frames may have the form in use before 2026-03-12
    sparse_seq       BOOLEAN NOT NULL,          -- whether a hole in the venue's sequence is no gap (partial recordings)
    sample_rate      INTEGER NOT NULL CHECK (sample_rate > 0),  -- N: deltas with frame_no % N = 0 are kept; 1: all
    tickers          TEXT[] NOT NULL,           -- what was asked for; a hint for people
    opened_ns        BIGINT NOT NULL,           -- when the connection was opened
    committed_frame  BIGINT NOT NULL CHECK (committed_frame >= 0),  -- last number processed, with or without rows
    last_received_ns BIGINT NOT NULL,           -- receive time of committed_frame
    resume_state     JSONB NOT NULL,            -- subscriptions, invalid and crossed books after committed_frame
    -- What became of the frames up to committed_frame; each is counted in exactly one column.
    stored           BIGINT NOT NULL DEFAULT 0 CHECK (stored >= 0),       -- made rows in snapshots, deltas or trades
    control          BIGINT NOT NULL DEFAULT 0 CHECK (control >= 0),      -- answers to commands, news of markets' lives
    duplicate        BIGINT NOT NULL DEFAULT 0 CHECK (duplicate >= 0),    -- same sequence number and bytes as before
    unknown          BIGINT NOT NULL DEFAULT 0 CHECK (unknown >= 0),      -- of types that are not stored
    rejected         BIGINT NOT NULL DEFAULT 0 CHECK (rejected >= 0),     -- verbatim in rl_rejected_frames
    sampled_out      BIGINT NOT NULL DEFAULT 0 CHECK (sampled_out >= 0),  -- deltas that sample_rate left out
    dropped          BIGINT NOT NULL DEFAULT 0 CHECK (dropped >= 0),      -- lost: neither journal nor database took them
    -- How it ended; all NULL while it is open.
    closed_ns        BIGINT,
    closed_cause     TEXT,
    closed_code      INTEGER,                   -- the websocket close code, if there was one
    is_complete      BOOLEAN,                   -- nothing is known to be missing behind its end (a whole recording)
    -- Receive times of all rows of the capture lie in [rows_from_ns, rows_to_ns): whole UTC days, so that a reader
    -- touches only their partitions. NULL: it has no rows.
    rows_from_ns     BIGINT,
    rows_to_ns       BIGINT,
    CHECK ((closed_ns IS NULL) = (closed_cause IS NULL) AND (closed_ns IS NULL) = (is_complete IS NULL)),
    CHECK (rows_from_ns < rows_to_ns)
);
CREATE INDEX rl_captures_opened_idx ON rl_captures (opened_ns);
COMMENT ON TABLE rl_captures IS 'One row per connection or recording; committed_frame is the exactly-once offset.';


-- Whole books. Sent by the venue (origin venue), or made by us from its deltas (origin checkpoint) so that a book can be
-- rebuilt without reading far back. The book at a frame is the latest snapshot of its market in the capture at or before
-- it, plus `delta` of every delta row behind that snapshot up to the frame, unless a row of rl_feed_gaps lies between.
CREATE TABLE rl_orderbook_snapshots (
    id              BIGINT GENERATED ALWAYS AS IDENTITY,
    market_ticker   TEXT NOT NULL,
    timestamp_ms    BIGINT GENERATED ALWAYS AS (sending_ts_ms) STORED,  -- the venue's snapshots carry no other time
    sequence_number BIGINT,           -- the venue's seq; restarts and repeats
    yes_bids        JSONB NOT NULL,   -- [[cents, contracts], ...] best first, exact: [[45, 120], [44.5, 3.25]]
    yes_asks        JSONB NOT NULL,   -- the NO bids seen from the other side: 100 - cents, best first
    no_bids         JSONB NOT NULL,
    no_asks         JSONB NOT NULL,
    yes_spread      INTEGER,          -- cents between best ask and best bid, rounded up; NULL while a side is empty
    no_spread       INTEGER,          -- equal to yes_spread, both sides being one book
    yes_mid_price   NUMERIC(7, 3),    -- cents, exact; NULL while a side is empty
    no_mid_price    NUMERIC(7, 3),    -- 100 - yes_mid_price
    capture         BIGINT NOT NULL,  -- of rl_captures; no foreign key, which would cost a look-up per row of each COPY
    frame_no        BIGINT NOT NULL CHECK (frame_no >= 0),
    received_ns     BIGINT NOT NULL,  -- a checkpoint has that of its frame
    sending_ts_ms   BIGINT,           -- when the venue queued the frame
    sid             BIGINT NOT NULL,  -- the venue's subscription number, unique within the capture
    clock           BIGINT,           -- the venue's engine counter: the book contains every change up to it
    origin          TEXT NOT NULL CHECK (origin IN ('venue', 'checkpoint')),
    PRIMARY KEY (id, received_ns),
    CHECK (jsonb_typeof(yes_bids) = 'array' AND jsonb_typeof(no_bids) = 'array'),
    CHECK (jsonb_array_length(yes_asks) = jsonb_array_length(no_bids)),
    CHECK (jsonb_array_length(no_asks) = jsonb_array_length(yes_bids)),
    CHECK ((yes_mid_price IS NULL) = (yes_bids = '[]' OR no_bids = '[]') AND yes_mid_price + no_mid_price = 100),
    CHECK (yes_spread = no_spread)
) PARTITION BY RANGE (received_ns);
CREATE INDEX ON rl_orderbook_snapshots (capture, frame_no);
CREATE INDEX ON rl_orderbook_snapshots (market_ticker, capture, frame_no);
CREATE INDEX ON rl_orderbook_snapshots (market_ticker, received_ns);
COMMENT ON TABLE rl_orderbook_snapshots IS 'Whole books, from the venue or as checkpoints of ours.';


-- Changes of one level each, in the venue's order within a subscription.
CREATE TABLE rl_orderbook_deltas (
    id              BIGINT GENERATED ALWAYS AS IDENTITY,
    market_ticker   TEXT NOT NULL,
    timestamp_ms    BIGINT,           -- when the venue recorded the change
    sequence_number BIGINT NOT NULL,  -- the venue's seq, one counter for all markets of the subscription
    side            TEXT NOT NULL CHECK (side IN ('yes', 'no')),  -- whose bids
    action          TEXT CHECK (action IN ('add', 'reduce', 'remove')),  -- NULL, with both sizes, if the book was not known
    price           INTEGER GENERATED ALWAYS AS (price_e4 / 100) STORED,  -- whole cents of the side's own contract
    old_size        NUMERIC(16, 2) CHECK (old_size >= 0),  -- contracts at the level before
    new_size        NUMERIC(16, 2) CHECK (new_size >= 0),  -- and after
    capture         BIGINT NOT NULL,
    frame_no        BIGINT NOT NULL CHECK (frame_no > 0),
    received_ns     BIGINT NOT NULL,  -- when the socket read that held the frame returned
    sending_ts_ms   BIGINT,           -- when the venue queued the frame
    sid             BIGINT NOT NULL,
    clock           BIGINT,           -- the venue's engine counter; equal for all deltas of one action
    price_e4        INTEGER NOT NULL CHECK (price_e4 BETWEEN 0 AND 10000),  -- NO side: NO price, whatever the wire said
    delta           NUMERIC(16, 2) NOT NULL,  -- contracts added to the level, as on the wire: what replay uses
    PRIMARY KEY (id, received_ns),
    CHECK ((action IS NULL) = (old_size IS NULL) AND (action IS NULL) = (new_size IS NULL)),
    CHECK (new_size = old_size + delta)
) PARTITION BY RANGE (received_ns);
CREATE INDEX ON rl_orderbook_deltas (capture, frame_no);
-- A market's deltas in their true order. By frame and not by time, because rebuilding must not depend on a clock; a query
-- for a market and a time finds its day by the partition and its market by this index.
CREATE INDEX ON rl_orderbook_deltas (market_ticker, capture, frame_no);
COMMENT ON TABLE rl_orderbook_deltas IS 'Changes of one book level each, as the venue sent them.';


-- Trades between others, as published. What was lost while a subscription had a gap is fetched by REST later and stored
-- once (origin rest); such a row came on no capture, and the gap's row says how many there are.
CREATE TABLE rl_trades (
    id              BIGINT GENERATED ALWAYS AS IDENTITY,
    market_ticker   TEXT NOT NULL,
    timestamp_ms    BIGINT,           -- when the venue matched it
    sequence_number BIGINT,
    trade_id        TEXT NOT NULL,    -- the venue's; the same trade may come on several captures
    yes_price       INTEGER GENERATED ALWAYS AS (yes_price_e4 / 100) STORED,  -- whole cents
    count           NUMERIC(16, 2) NOT NULL CHECK (count >= 0),  -- contracts
    taker_side      TEXT NOT NULL CHECK (taker_side IN ('yes', 'no')),
    is_block_trade  BOOLEAN NOT NULL, -- agreed outside the book, which it never touched
    capture         BIGINT,
    frame_no        BIGINT CHECK (frame_no > 0),
    received_ns     BIGINT NOT NULL,  -- origin rest: when it was fetched, perhaps long after timestamp_ms
    sending_ts_ms   BIGINT,
    sid             BIGINT,
    yes_price_e4    INTEGER NOT NULL CHECK (yes_price_e4 BETWEEN 0 AND 10000),
    origin          TEXT NOT NULL DEFAULT 'venue' CHECK (origin IN ('venue', 'rest')),
    PRIMARY KEY (id, received_ns),
    CONSTRAINT rl_trades_origin_frame_check
        CHECK (num_nonnulls(capture, frame_no, sid, sequence_number) = CASE origin WHEN 'venue' THEN 4 ELSE 0 END)
) PARTITION BY RANGE (received_ns);
CREATE INDEX ON rl_trades (capture, frame_no);
CREATE INDEX ON rl_trades (market_ticker, received_ns);
CREATE INDEX rl_trades_rest_idx ON rl_trades (market_ticker, timestamp_ms) WHERE origin = 'rest';
COMMENT ON TABLE rl_trades IS 'Trades as the venue published them.';

-- The three tables above have one partition per UTC day of received_ns, named like rl_trades_20261122, made by rlflow
-- before the first row of the day. There is no default partition: it would block making and detaching the others.


-- Where data is missing or cannot be trusted: never bridged by replay or training.
CREATE TABLE rl_feed_gaps (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    capture       BIGINT NOT NULL REFERENCES rl_captures,
    channel       TEXT NOT NULL,            -- orderbook_delta or trade
    market_ticker TEXT,                     -- NULL: every market of the subscription (trade, if it went on at once)
    sid           BIGINT,                   -- NULL: no subscription was known
    frame_no      BIGINT NOT NULL CHECK (frame_no >= 0),  -- where it was noticed
    received_ns   BIGINT NOT NULL,          -- when it was noticed
    from_frame    BIGINT NOT NULL,          -- the last frame known to be good
    from_ns       BIGINT NOT NULL,          -- its receive time
    -- When its data went on; NULL: still open. A market's goes on with its next snapshot, in whichever capture; its
    -- trades with one in a capture that is subscribed to trades, or with that subscription.
    to_ns         BIGINT,
    cause         TEXT NOT NULL,            -- for people: a lost seq, a closed connection, another book at the venue, ...
    expected_seq  BIGINT,                   -- for a hole in the venue's sequence
    received_seq  BIGINT,
    filled_ns     BIGINT,                   -- channel trade: when the trades of the time were asked for by REST
    filled_trades BIGINT,                   -- and how many of that time rl_trades has with origin rest
    CHECK (from_frame <= frame_no),
    CHECK (to_ns >= from_ns),
    CONSTRAINT rl_feed_gaps_filled_check CHECK ((filled_ns IS NULL) = (filled_trades IS NULL))
);
CREATE INDEX ON rl_feed_gaps (capture, frame_no);
CREATE INDEX ON rl_feed_gaps (market_ticker, from_ns);
CREATE INDEX rl_feed_gaps_open_idx ON rl_feed_gaps (channel, coalesce(market_ticker, '')) WHERE to_ns IS NULL;
CREATE INDEX rl_feed_gaps_unfilled_idx ON rl_feed_gaps (received_ns) WHERE channel = 'trade' AND filled_ns IS NULL;
COMMENT ON TABLE rl_feed_gaps IS 'Stretches in which data is missing or cannot be trusted.';


-- Frames that could not be accepted, kept to learn from.
CREATE TABLE rl_rejected_frames (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    capture          BIGINT NOT NULL REFERENCES rl_captures,
    frame_no         BIGINT NOT NULL CHECK (frame_no > 0),
    received_ns      BIGINT NOT NULL,
    reason           TEXT NOT NULL,
    raw              BYTEA NOT NULL,  -- the frame verbatim; where PostgreSQL refused its rows, those rows as JSON
    traceback_digest TEXT,            -- set when our code failed on it: equal failures have equal digests
    UNIQUE (capture, frame_no)
);
COMMENT ON TABLE rl_rejected_frames IS 'Frames that could not be accepted, verbatim.';


-- The data sheet of each market, as the venue's REST interface gave it last. What could not be read of it, such as a
-- settlement value finer than 1/10,000 dollar, is NULL here and stands in sheet.
CREATE TABLE rl_markets (
    market_ticker         TEXT PRIMARY KEY,
    event_ticker          TEXT NOT NULL,
    series_ticker         TEXT,
    title                 TEXT,
    status                TEXT NOT NULL,    -- the venue's word: initialized, active, closed, determined, finalized, ...
    open_ts_ms            BIGINT,           -- trading begins
    close_ts_ms           BIGINT,           -- trading ends
    result                TEXT,             -- yes, no or scalar; NULL until determined
    settlement_value_e4   INTEGER CHECK (settlement_value_e4 BETWEEN 0 AND 10000),  -- what a YES contract paid
    price_level_structure TEXT,             -- the venue's name for the tick grid
    price_ranges          JSONB,            -- the tick grid: [{"start", "end", "step"}] in dollars; decides over the name
    sheet                 JSONB NOT NULL,   -- the whole answer
    fetched_ns            BIGINT NOT NULL,  -- when it was fetched
    yes_sub_title         TEXT,             -- what YES means, such as the strike
    settlement_timer_s    INTEGER,          -- between determination and payment
    settled_ts_ms         BIGINT            -- when it was paid out; nothing changes any more then
);
CREATE INDEX ON rl_markets (series_ticker, close_ts_ms);
COMMENT ON TABLE rl_markets IS 'The data sheet of each market as the venue gave it last.';


-- Which fee holds from when. The fee of a market at a time is the row of its series with the greatest valid_from_ms up to
-- then, each column of which a row of its event, found in the same way, replaces where it is not NULL.
CREATE TABLE rl_fee_changes (
    scope          TEXT NOT NULL CHECK (scope IN ('series', 'event')),
    ticker         TEXT NOT NULL,    -- of the series or the event
    valid_from_ms  BIGINT NOT NULL,  -- announced by the venue, else when we saw the change; 0: when we first looked
    fee_type       TEXT,             -- the venue's name of the model: quadratic, quadratic_with_maker_fees, flat, ...
    fee_multiplier NUMERIC,          -- 0, 0.5, 1, ...
    fetched_ns     BIGINT NOT NULL,  -- when we learnt it
    PRIMARY KEY (scope, ticker, valid_from_ms)
);
COMMENT ON TABLE rl_fee_changes IS 'Fees of series and their replacements for events, with when they begin.';


-- Trained agents.
CREATE TABLE rl_models (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_name       TEXT NOT NULL,
    version          TEXT NOT NULL,
    algorithm        TEXT NOT NULL,   -- such as PPO, A2C, MaskablePPO
    market_ticker    TEXT,            -- market or series it was trained for; NULL: any
    hyperparameters  JSONB NOT NULL DEFAULT '{}',
    training_metrics JSONB NOT NULL DEFAULT '{}',  -- an undefined metric is absent, never 0
    status           TEXT NOT NULL,   -- a state of the model registry
    UNIQUE (model_name, version)
);
COMMENT ON TABLE rl_models IS 'Trained agents and how they came to be.';


-- Stretches of trading by one agent, on paper or in evaluation.
CREATE TABLE rl_trading_episodes (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id       BIGINT REFERENCES rl_models,  -- NULL: a fixed rule instead of a model
    episode_number INTEGER NOT NULL,
    market_ticker  TEXT NOT NULL,
    total_return   NUMERIC(20, 6),    -- dollars; NULL until the episode ends
    sharpe_ratio   DOUBLE PRECISION,  -- of the episode's steps; NULL where undefined
    max_drawdown   NUMERIC(20, 6) CHECK (max_drawdown >= 0)  -- dollars below the highest equity before
);
CREATE INDEX ON rl_trading_episodes (model_id, episode_number);
COMMENT ON TABLE rl_trading_episodes IS 'Stretches of trading by one agent.';


-- Every decision of an episode; the episode's figures can be computed again from these.
CREATE TABLE rl_trading_actions (
    id                  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    episode_id          BIGINT NOT NULL REFERENCES rl_trading_episodes ON DELETE CASCADE,
    action_timestamp_ms BIGINT NOT NULL,   -- on our clock
    step_number         INTEGER NOT NULL CHECK (step_number >= 0),
    action_type         TEXT NOT NULL,
    price               INTEGER,           -- whole cents; NULL where the action has none
    quantity            NUMERIC(16, 2),    -- contracts
    position_before     NUMERIC(16, 2) NOT NULL,  -- contracts, YES positive
    position_after      NUMERIC(16, 2) NOT NULL,
    capture             BIGINT REFERENCES rl_captures,  -- with the next two: the observation that was decided on
    frame_no            BIGINT,
    observed_ns         BIGINT,
    UNIQUE (episode_id, step_number)
);
COMMENT ON TABLE rl_trading_actions IS 'Every decision of an episode and the observation it was made on.';
