-- Thread ids that the network makes (`thread_` and a message id) are as good as random: their trigrams cost more at every
-- message that opens a thread than all other indexes of the table together, and nobody searches for the middle of one.
-- Searches for what can't be in such an id, and for a whole one, have an index; see `threads.rs`.
DO $$
BEGIN
    DROP INDEX IF EXISTS agent_threads_id_trgm;
    CREATE INDEX agent_threads_id_trgm ON agent_threads USING gin (thread_id gin_trgm_ops)
        WHERE thread_id !~ '^thread_[0-9a-f]{32}$';
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'pg_trgm is not available: substring search will scan';
END $$;
