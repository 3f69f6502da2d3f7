-- Delivering again: what the network tried, what came of it, and how far the persisters are.

ALTER TABLE agent_deliveries
    -- The registry replica that delivered it again last; null for what only travelled live.
    ADD COLUMN leased_by      text,
    -- How often the network delivered it again, how often of these nobody answered since somebody last did, and when
    -- it last tried.
    ADD COLUMN redeliveries   integer NOT NULL DEFAULT 0,
    ADD COLUMN unanswered     integer NOT NULL DEFAULT 0,
    ADD COLUMN redelivered_at timestamptz,
    -- Nobody is there to take it; `next_attempt_at` is only a safety net, a hello makes it due.
    ADD COLUMN parked         boolean NOT NULL DEFAULT false;

-- One recipient's open deliveries in the order they came.
DROP INDEX agent_deliveries_open;
CREATE INDEX agent_deliveries_open ON agent_deliveries (recipient, created_at, message_id)
    WHERE state IN ('pending', 'accepted');
-- What has to be looked at next: to be tried again, or to be given up.
DROP INDEX agent_deliveries_due;
CREATE INDEX agent_deliveries_due ON agent_deliveries (least(next_attempt_at, expires_at))
    WHERE state IN ('pending', 'accepted');
-- What a recipient has in hand of what was delivered again. Live traffic never enters it.
CREATE INDEX agent_deliveries_leased ON agent_deliveries (recipient)
    WHERE leased_by IS NOT NULL AND state IN ('pending', 'accepted');
DROP INDEX agent_deliveries_dead;
CREATE INDEX agent_deliveries_failed ON agent_deliveries (state, finished_at)
    WHERE state IN ('rejected', 'expired', 'dead');
-- Receipts whose message never came.
CREATE INDEX agent_deliveries_stubs ON agent_deliveries (created_at) WHERE NOT has_message;

-- What happened to a delivery beyond the straight way: attempts of the network, refusals, answers to redeliveries.
CREATE TABLE agent_delivery_events (
    message_id text NOT NULL,
    recipient  text NOT NULL,
    at         timestamptz NOT NULL,
    what       text NOT NULL,
    -- Which attempt it belongs to, counted from 1.
    attempt    integer,
    account_id text,
    session    text,
    code       text,
    detail     text,
    PRIMARY KEY (message_id, recipient, at, what)
);

-- How far the persisters are with a stream: one row, kept by whoever looks.
CREATE TABLE agent_stream_progress (
    stream       text PRIMARY KEY,
    -- Tells a stream from one of the same name that was deleted.
    created_at   timestamptz NOT NULL,
    -- The first sequence that is accounted for.
    base_seq     bigint NOT NULL,
    committed    int8multirange NOT NULL DEFAULT '{}',
    -- Sequences that left the stream without having been committed.
    missing      bigint NOT NULL DEFAULT 0,
    missing_last text,
    missing_at   timestamptz,
    -- Everything the stream took until then is committed.
    committed_at timestamptz NOT NULL,
    -- How far the stream's clock is ahead of the database's.
    clock_ahead  interval NOT NULL DEFAULT '0',
    updated_at   timestamptz NOT NULL
);

-- Sequences that were committed and aren't yet in the row above, one row for each persister: written in the
-- transaction that commits them.
CREATE TABLE agent_stream_commits (
    stream     text NOT NULL,
    created_at timestamptz NOT NULL,
    replica    text NOT NULL,
    seqs       int8multirange NOT NULL,
    PRIMARY KEY (stream, created_at, replica)
) WITH (fillfactor = 50);

-- Which registry replica delivers again to whom, so that windows and rates hold for all replicas together. Nothing is
-- lost when it is.
CREATE UNLOGGED TABLE agent_redelivery_owners (
    recipient text PRIMARY KEY,
    replica   text NOT NULL,
    until     timestamptz NOT NULL
);

-- Times of deliveries are the stream's: receipts and messages carry no other that can be trusted.
CREATE FUNCTION agentnet_stream_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT clock_timestamp()
        + coalesce((SELECT clock_ahead FROM agent_stream_progress WHERE stream = 'AGENTNET'), interval '0')
$$;
-- Until when every message and receipt is known here. Null, so that nothing is due, before a persister has ever run.
CREATE FUNCTION agentnet_committed_at() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT committed_at FROM agent_stream_progress WHERE stream = 'AGENTNET'
$$;
