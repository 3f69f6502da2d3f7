-- What accounts keep on the network beside their mail: peers, blocked accounts, documents, an avatar. And what threads
-- with members lacked: a subject, an end, admins, how far each member has read.

ALTER TABLE agent_accounts
    ADD COLUMN avatar_url text NOT NULL DEFAULT '',
    -- The account chose its capabilities: an agent that registers without any doesn't take them away.
    ADD COLUMN capable boolean NOT NULL DEFAULT false;

-- Whom an account knows: directed, one row each way.
CREATE TABLE agent_peers (
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    -- On an open network it may be an account that nobody has registered yet.
    peer_id    text NOT NULL,
    note       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, peer_id)
);

-- Whose mail an account doesn't want. The persister asks with every message.
CREATE TABLE agent_blocks (
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    blocked_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, blocked_id)
);

-- JSON documents of accounts. The text is kept as it was written (ADR 0004).
CREATE TABLE agent_documents (
    account_id text NOT NULL REFERENCES agent_accounts ON DELETE CASCADE,
    key        text NOT NULL,
    value      text NOT NULL,
    public     boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, key)
);
CREATE INDEX agent_documents_public ON agent_documents (account_id, key) WHERE public;

ALTER TABLE agent_threads
    ADD COLUMN subject   text NOT NULL DEFAULT '',
    -- Of threads with members: nobody posts any more.
    ADD COLUMN closed_at timestamptz,
    ADD COLUMN closed_by text;

ALTER TABLE agent_thread_members
    DROP CONSTRAINT agent_thread_members_role_check,
    ADD CONSTRAINT agent_thread_members_role_check CHECK (role IN ('owner', 'admin', 'member')),
    -- From when what is said is for the account: its invitation or its joining, by the stream's clock.
    ADD COLUMN since         timestamptz,
    -- How many of the thread's messages it has read or sent. What the thread has more is unread: a difference of two
    -- counters, so that nothing is ever counted anew.
    ADD COLUMN read_messages bigint NOT NULL DEFAULT 0,
    ADD COLUMN read_up_to    text,
    ADD COLUMN read_at       timestamptz;
UPDATE agent_thread_members m SET read_messages = t.message_count FROM agent_threads t WHERE t.thread_id = m.thread_id;
