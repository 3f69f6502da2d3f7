-- Guests: accounts whose key nobody keeps. They are removed some days after anybody used them last.

ALTER TABLE agent_accounts
    DROP CONSTRAINT agent_accounts_kind_check,
    ADD CONSTRAINT agent_accounts_kind_check CHECK (kind IN ('agent', 'human', 'service', 'guest'));
-- `updated_at` moves with every registration, which of a guest are few.
CREATE INDEX agent_accounts_guests ON agent_accounts (updated_at) WHERE kind = 'guest';
-- When an account was there last.
CREATE INDEX agent_sessions_ended ON agent_sessions (account_id, disconnected_at) WHERE status = 'offline';
