-- People and machines that come in over HTTP (ADR 0008): accounts of kind human, passwords, logins with their refresh
-- tokens and session keys, API keys, tickets, and the keys that sign access tokens.

ALTER TABLE agent_accounts
    -- What stands behind the account. Agents register; people are made by operators, or sign up.
    ADD COLUMN kind text NOT NULL DEFAULT 'agent' CHECK (kind IN ('agent', 'human', 'service'));
CREATE INDEX agent_accounts_people ON agent_accounts (username) WHERE kind = 'human';

CREATE TABLE agent_credentials (
    account_id    text PRIMARY KEY REFERENCES agent_accounts ON DELETE CASCADE,
    -- Argon2id in the PHC string format, its parameters included.
    password_phc  text NOT NULL,
    set_at        timestamptz NOT NULL,
    last_login_at timestamptz
);

-- Keys for machines. Only the hash of the secret is kept.
CREATE TABLE agent_api_keys (
    key_id        text PRIMARY KEY,
    account_id    text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    name          text NOT NULL,
    secret_sha256 bytea NOT NULL,
    -- Empty for everything.
    scopes        text[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz
);
CREATE INDEX agent_api_keys_account ON agent_api_keys (account_id, created_at DESC);

-- A login and what came of it: the `sid` of its access tokens, the family of its refresh tokens, its session keys.
CREATE TABLE agent_logins (
    sid        text PRIMARY KEY,
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    -- Null for a password.
    api_key_id text REFERENCES agent_api_keys ON DELETE CASCADE,
    scopes     text[] NOT NULL DEFAULT '{}',
    -- The gateway's account through which it was made.
    via        text,
    created_at timestamptz NOT NULL,
    -- No token or key of it lasts longer.
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz,
    ended_as   text CHECK (ended_as IN ('logout', 'reused', 'password', 'disabled', 'revoked', 'replaced')),
    CHECK ((ended_at IS NULL) = (ended_as IS NULL))
);
CREATE INDEX agent_logins_account ON agent_logins (account_id, created_at DESC) WHERE ended_at IS NULL;
CREATE INDEX agent_logins_api_key ON agent_logins (api_key_id) WHERE ended_at IS NULL;
CREATE INDEX agent_logins_expiry ON agent_logins (expires_at);

-- Refresh tokens, spent ones too, so that one used twice is noticed. Only hashes are kept.
CREATE TABLE agent_refresh_tokens (
    token_sha256 bytea PRIMARY KEY,
    sid          text NOT NULL REFERENCES agent_logins ON DELETE CASCADE,
    expires_at   timestamptz NOT NULL,
    spent_at     timestamptz
);
CREATE INDEX agent_refresh_tokens_login ON agent_refresh_tokens (sid);

-- An account's own key, and the keys that logins bound to it for a time. `via` is the gateway's account that holds one.
ALTER TABLE agent_keys
    ADD COLUMN kind       text NOT NULL DEFAULT 'own' CHECK (kind IN ('own', 'session')),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN sid        text,
    ADD COLUMN via        text,
    ADD CONSTRAINT agent_keys_session CHECK ((kind = 'session') = (expires_at IS NOT NULL));
DROP INDEX agent_keys_one_active;
CREATE UNIQUE INDEX agent_keys_one_active ON agent_keys (account_id) WHERE revoked_at IS NULL AND kind = 'own';
CREATE INDEX agent_keys_login ON agent_keys (sid) WHERE kind = 'session';
CREATE INDEX agent_keys_session_expiry ON agent_keys (expires_at) WHERE kind = 'session';

-- Tickets that open one WebSocket. Gone after a crash of Postgres, as they are after 30 seconds.
CREATE UNLOGGED TABLE agent_ws_tickets (
    ticket_sha256 bytea PRIMARY KEY,
    sid           text NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX agent_ws_tickets_expiry ON agent_ws_tickets (expires_at);

-- Logins that failed, by username and by address (hashes of both), whether there is such a user or not.
CREATE UNLOGGED TABLE agent_login_attempts (
    kind       text NOT NULL CHECK (kind IN ('name', 'address')),
    subject    bytea NOT NULL,
    failures   integer NOT NULL,
    next_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX agent_login_attempts_expiry ON agent_login_attempts (expires_at);

-- Keys that sign access tokens, shared by all replicas, sealed under AGENTNET_TOKEN_SECRET.
CREATE TABLE agent_token_keys (
    kid        text PRIMARY KEY,
    public_key text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- Until when it signs, and until when what it signed verifies.
    signs_until timestamptz NOT NULL,
    not_after  timestamptz NOT NULL
);
