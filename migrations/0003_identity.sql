-- Identity and access: roles, keys that ended, who is connected, enrolment, granted capabilities, members of threads,
-- and who may read a thread (ADR 0005).

-- What an account may do beyond its own mail. `operator` comes from the configuration or from another operator.
ALTER TABLE agent_accounts
    ADD COLUMN role text NOT NULL DEFAULT 'agent' CHECK (role IN ('agent', 'operator', 'gateway')),
    -- The account chose its display name: registering doesn't change it any more.
    ADD COLUMN named boolean NOT NULL DEFAULT false;

-- Few, and asked for with every batch of messages.
CREATE INDEX agent_accounts_suspended ON agent_accounts (account_id) WHERE status = 'suspended';

-- A key that doesn't speak for the account any more stays, so that what it signed before still verifies.
ALTER TABLE agent_keys
    ADD COLUMN ended_as text CHECK (ended_as IN ('rotated', 'revoked'));
UPDATE agent_keys SET ended_as = 'revoked' WHERE revoked_at IS NOT NULL;
ALTER TABLE agent_keys
    ADD CONSTRAINT agent_keys_end CHECK ((revoked_at IS NULL) = (ended_as IS NULL));
-- The auth callout looks accounts up by key.
CREATE INDEX agent_keys_owner ON agent_keys (public_key);

-- Connections that the auth callout let in, so that a revoked key or a suspended account can be thrown out at once.
-- Unlogged: after a crash of Postgres only the wait for the expiry of the user JWT (an hour at most) is left.
CREATE UNLOGGED TABLE agent_connections (
    -- The nats-server's id, and its number for the connection.
    server_id   text NOT NULL,
    client_id   bigint NOT NULL,
    public_key  text NOT NULL,
    -- Null while the key is bound to no account.
    account_id  text,
    admitted_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (server_id, client_id)
);
CREATE INDEX agent_connections_account ON agent_connections (account_id);
CREATE INDEX agent_connections_key ON agent_connections (public_key);
CREATE INDEX agent_connections_expiry ON agent_connections (expires_at);

-- Tokens that let an unknown key bind itself to a new account (AGENTNET_ENROLMENT=token), or, where `account_id` is
-- set, to that account. Only the hash is kept.
CREATE TABLE agent_enrolment_tokens (
    token_sha256 bytea PRIMARY KEY,
    account_id   text REFERENCES agent_accounts ON DELETE CASCADE,
    note         text NOT NULL DEFAULT '',
    created_by   text,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    uses_left    integer NOT NULL CHECK (uses_left >= 0)
);
CREATE INDEX agent_enrolment_tokens_expiry ON agent_enrolment_tokens (expires_at);

-- A capability without a row here is open: whoever registers it may serve it.
CREATE TABLE agent_restricted_capabilities (
    capability    text PRIMARY KEY,
    restricted_by text,
    restricted_at timestamptz NOT NULL
);
CREATE TABLE agent_capability_grants (
    capability text NOT NULL REFERENCES agent_restricted_capabilities ON DELETE CASCADE,
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    granted_by text,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (capability, account_id)
);
CREATE INDEX agent_capability_grants_account ON agent_capability_grants (account_id);

-- `members`: only members post and read, and `thread:<id>` reaches each of them. `open`: anybody may post.
ALTER TABLE agent_threads
    ADD COLUMN access text NOT NULL DEFAULT 'open' CHECK (access IN ('open', 'members')),
    -- Of threads with members: whether any account may join.
    ADD COLUMN public boolean NOT NULL DEFAULT false,
    -- Who wrote to whom: `<from>><to>` for messages, `<from>~<to>` for replies. Bounded; see docs/SECURITY.md for what
    -- reading it allows.
    ADD COLUMN addressed text[] NOT NULL DEFAULT '{}';

CREATE TABLE agent_thread_members (
    thread_id  text NOT NULL,
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    role       text NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'member')),
    state      text NOT NULL CHECK (state IN ('invited', 'joined', 'left', 'ejected')),
    invited_by text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (thread_id, account_id)
);
CREATE INDEX agent_thread_members_account ON agent_thread_members (account_id, thread_id);
