-- The core of AgentNet: accounts, sessions, threads, messages, deliveries.

CREATE TABLE agent_accounts (
    account_id   text PRIMARY KEY,
    username     text NOT NULL UNIQUE,
    display_name text NOT NULL,
    bio          text NOT NULL DEFAULT '',
    capabilities jsonb NOT NULL DEFAULT '[]',
    metadata     jsonb NOT NULL DEFAULT '{}',
    visibility   text NOT NULL DEFAULT 'public',
    status       text NOT NULL DEFAULT 'active',
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE INDEX agent_accounts_capabilities ON agent_accounts USING gin (capabilities jsonb_path_ops);

-- Public keys bound to accounts. The first key binds; a revoked key stays, so that history verifies.
CREATE TABLE agent_keys (
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    public_key text NOT NULL,
    bound_at   timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (account_id, public_key)
);
CREATE UNIQUE INDEX agent_keys_one_active ON agent_keys (account_id) WHERE revoked_at IS NULL;

-- Nonces of signed requests, so that no replica takes one twice.
CREATE TABLE agent_auth_nonces (
    account_id text NOT NULL,
    nonce      text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, nonce)
);
CREATE INDEX agent_auth_nonces_expiry ON agent_auth_nonces (expires_at);

CREATE TABLE agent_sessions (
    session_tag     text PRIMARY KEY,
    agent_id        text NOT NULL,
    account_id      text,
    username        text,
    server_id       text NOT NULL,
    schema_version  text NOT NULL DEFAULT '1.0',
    connected_at    timestamptz NOT NULL,
    disconnected_at timestamptz,
    -- Written in batches with every heartbeat, so no index may cover it.
    last_seen       timestamptz NOT NULL,
    status          text NOT NULL CHECK (status IN ('online', 'offline')),
    metadata        jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 80);
CREATE INDEX agent_sessions_account ON agent_sessions (account_id) WHERE status = 'online';
CREATE INDEX agent_sessions_offline ON agent_sessions (disconnected_at) WHERE status = 'offline';

CREATE TABLE agent_threads (
    thread_id                  text PRIMARY KEY,
    created_by_account_id      text,
    participants               jsonb NOT NULL DEFAULT '[]',
    title                      text NOT NULL DEFAULT '',
    metadata                   jsonb NOT NULL DEFAULT '{}',
    created_at                 timestamptz NOT NULL,
    updated_at                 timestamptz NOT NULL,
    message_count              bigint NOT NULL DEFAULT 0,
    byte_count                 bigint NOT NULL DEFAULT 0,
    approx_tokens              bigint NOT NULL DEFAULT 0,
    latest_checkpoint_end      bigint NOT NULL DEFAULT 0,
    pending_raw_messages       bigint NOT NULL DEFAULT 0,
    last_message_is_checkpoint boolean NOT NULL DEFAULT false,
    last_message_at            timestamptz,
    -- The minute of the latest activity. The index is on this instead of the exact time, so that most messages of a busy
    -- thread change no indexed column, and Postgres touches no index at all (a GIN entry for every participant else).
    active_minute              timestamptz NOT NULL GENERATED ALWAYS AS
        (date_bin('1 minute', coalesce(last_message_at, updated_at), '2000-01-01 00:00:00+00'::timestamptz)) STORED
) WITH (fillfactor = 80);
CREATE INDEX agent_threads_activity ON agent_threads (active_minute DESC);
CREATE INDEX agent_threads_participants ON agent_threads USING gin (participants jsonb_path_ops);

-- One row per message. `envelope` holds the exact bytes that were sent: the payload is read from it, and its
-- signature verifies offline for as long as the row exists.
CREATE TABLE agent_messages (
    message_id        text PRIMARY KEY,
    thread_id         text NOT NULL,
    parent_message_id text,
    from_account_id   text,
    from_session_tag  text,
    to_account_id     text,
    to_agent          text NOT NULL,
    kind              text NOT NULL,
    schema_version    text NOT NULL DEFAULT '1.0',
    idempotency_key   text,
    trace_id          text,
    sent_at           timestamptz NOT NULL,
    -- When the network took it (time of the stream).
    received_at       timestamptz NOT NULL,
    -- Until when the network tries to deliver it: received_at plus its time to live.
    expires_at        timestamptz,
    status            text NOT NULL DEFAULT 'received',
    envelope          bytea NOT NULL,
    signature         text,
    body_sha256       bytea NOT NULL,
    -- The words of the payload's strings and numbers.
    search            tsvector NOT NULL DEFAULT ''
);
CREATE INDEX agent_messages_thread ON agent_messages (thread_id, sent_at DESC, message_id DESC);
CREATE INDEX agent_messages_sent ON agent_messages (sent_at DESC, message_id DESC);
CREATE INDEX agent_messages_from ON agent_messages (from_account_id, sent_at DESC, message_id DESC);
CREATE INDEX agent_messages_to ON agent_messages (to_account_id, sent_at DESC, message_id DESC);
-- The common kinds are found soon enough in agent_messages_sent; only the rare ones need an index of their own.
CREATE INDEX agent_messages_rare_kind ON agent_messages (kind, sent_at DESC, message_id DESC)
    WHERE kind NOT IN ('direct', 'request', 'reply');
CREATE INDEX agent_messages_search ON agent_messages USING gin (search);

-- For people who look with psql. Fails on the rare payloads that are JSON but not text (lone surrogates, NUL).
CREATE VIEW agent_messages_json AS
    SELECT message_id, thread_id, parent_message_id, from_account_id, from_session_tag, to_account_id, to_agent, kind,
           schema_version, idempotency_key, convert_from(envelope, 'UTF8')::json -> 'payload' AS payload, trace_id,
           sent_at, received_at, expires_at, status
    FROM agent_messages;

-- One row per message and recipient: what became of it. Replies and errors have none.
CREATE TABLE agent_deliveries (
    message_id        text NOT NULL,
    -- An account id, or `capability:<name>`.
    recipient         text NOT NULL,
    state             text NOT NULL
        CHECK (state IN ('pending', 'accepted', 'processed', 'rejected', 'expired', 'dead')),
    sender_account_id text,
    thread_id         text,
    -- The account and session of the receipt that decides the state, and when the network took that receipt. A later
    -- receipt of the same rank takes over; whoever else changes the state sets receipt_at to now.
    handler_account_id text,
    owner_session     text,
    receipt_at        timestamptz,
    -- How often a recipient accepted it and never finished; counted when it is taken back.
    attempts          integer NOT NULL DEFAULT 0,
    -- When the network may try again; null when it must not (requests that nobody waits for any more).
    next_attempt_at   timestamptz,
    lease_until       timestamptz,
    expires_at        timestamptz,
    last_code         text,
    last_detail       text,
    -- False while only a receipt is known: the message itself has not been met yet.
    has_message       boolean NOT NULL DEFAULT true,
    created_at        timestamptz NOT NULL,
    accepted_at       timestamptz,
    finished_at       timestamptz,
    PRIMARY KEY (message_id, recipient)
);
CREATE INDEX agent_deliveries_open ON agent_deliveries (recipient, next_attempt_at)
    WHERE state IN ('pending', 'accepted');
CREATE INDEX agent_deliveries_due ON agent_deliveries (next_attempt_at) WHERE state IN ('pending', 'accepted');
CREATE INDEX agent_deliveries_dead ON agent_deliveries (finished_at) WHERE state = 'dead';

-- What the stream carried that can't be stored as a message, with the reason.
CREATE TABLE agent_quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject     text NOT NULL,
    body        bytea NOT NULL,
    headers     jsonb NOT NULL DEFAULT '{}',
    code        text NOT NULL,
    detail      text NOT NULL DEFAULT '',
    stream_seq  bigint,
    received_at timestamptz NOT NULL
);
CREATE INDEX agent_quarantine_received ON agent_quarantine (received_at);
-- A copy that the stream delivers again after a crash is one row.
CREATE UNIQUE INDEX agent_quarantine_once ON agent_quarantine (stream_seq, received_at);

-- Substring search over names and thread ids has an index where the server offers trigrams; without, it scans.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX agent_accounts_username_trgm ON agent_accounts USING gin (username gin_trgm_ops);
    CREATE INDEX agent_accounts_display_name_trgm ON agent_accounts USING gin (display_name gin_trgm_ops);
    CREATE INDEX agent_threads_id_trgm ON agent_threads USING gin (thread_id gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'pg_trgm is not available: substring search will scan';
END $$;
