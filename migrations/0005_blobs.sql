-- Files: what is in the object store, what is on its way there, who sent which to whom, and what is to be removed from there
-- (ADR 0007). Every object and every chunk of the bucket belongs to a row of one of these tables: rows come before bytes
-- and go after them.

CREATE TABLE agent_blobs (
    -- `blob_` and a lower-case ULID: ids sort by the time they were made.
    blob_id     text PRIMARY KEY,
    account_id  text NOT NULL,
    -- The upload it came by, so that asking again to finish that finds it.
    upload_id   text NOT NULL UNIQUE,
    -- Names the object's chunks: `$O.<bucket>.C.<nuid>`.
    nuid        text NOT NULL UNIQUE,
    filename    text NOT NULL DEFAULT '',
    mime_type   text NOT NULL,
    size_bytes  bigint NOT NULL CHECK (size_bytes >= 0),
    sha256      bytea NOT NULL CHECK (length(sha256) = 32),
    chunk_size  integer NOT NULL CHECK (chunk_size > 0),
    -- Each chunk's sequence in the bucket's stream, and its SHA-256: ranges are found and checked by them.
    chunk_seqs  bigint[] NOT NULL,
    chunk_sha256 bytea NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
-- The same content under the same name is one blob of an account.
CREATE UNIQUE INDEX agent_blobs_content ON agent_blobs (account_id, sha256, filename);
CREATE INDEX agent_blobs_account ON agent_blobs (account_id, blob_id DESC) INCLUDE (size_bytes);
CREATE INDEX agent_blobs_expiry ON agent_blobs (expires_at);

CREATE TABLE agent_blob_uploads (
    upload_id      text PRIMARY KEY,
    account_id     text NOT NULL,
    -- What it will be.
    blob_id        text NOT NULL UNIQUE,
    nuid           text NOT NULL UNIQUE,
    filename       text NOT NULL DEFAULT '',
    mime_type      text NOT NULL,
    size_bytes     bigint,
    sha256         bytea CHECK (length(sha256) = 32),
    chunk_size     integer NOT NULL CHECK (chunk_size > 0),
    metadata       jsonb NOT NULL DEFAULT '{}',
    keep_seconds   bigint NOT NULL,
    -- What of the account's quota is set aside for it.
    reserved_bytes bigint NOT NULL,
    created_at     timestamptz NOT NULL,
    -- When something was heard of it; exact to half a minute.
    touched_at     timestamptz NOT NULL
);
CREATE INDEX agent_blob_uploads_account ON agent_blob_uploads (account_id);
CREATE INDEX agent_blob_uploads_touched ON agent_blob_uploads (touched_at);

-- Which message refers to which blob, said by its sender, who could read the blob then. Whoever may read the message may
-- read the blob, for as long as the message is kept.
CREATE TABLE agent_blob_shares (
    blob_id    text NOT NULL REFERENCES agent_blobs ON DELETE CASCADE,
    message_id text NOT NULL,
    account_id text NOT NULL,
    -- When its sender said so last. A message may come as late as its time to live allows.
    shared_at  timestamptz NOT NULL,
    -- Whether the message was seen, and when to look for it again.
    confirmed  boolean NOT NULL DEFAULT false,
    check_at   timestamptz NOT NULL,
    PRIMARY KEY (blob_id, message_id, account_id)
);
CREATE INDEX agent_blob_shares_check ON agent_blob_shares (check_at);
CREATE INDEX agent_blob_shares_waiting ON agent_blob_shares (account_id) WHERE NOT confirmed;

-- Objects whose chunks and name are to be removed from the bucket. Until they are, they count in the quota of their account.
CREATE TABLE agent_blob_garbage (
    nuid       text PRIMARY KEY,
    blob_id    text NOT NULL,
    account_id text NOT NULL,
    -- At most so much is there.
    size_bytes bigint NOT NULL,
    since      timestamptz NOT NULL
);
CREATE INDEX agent_blob_garbage_since ON agent_blob_garbage (since);
CREATE INDEX agent_blob_garbage_account ON agent_blob_garbage (account_id) INCLUDE (size_bytes);
