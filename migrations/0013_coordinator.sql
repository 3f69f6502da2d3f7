-- The coordinator: what agents say about themselves to be found and given work, where to reach those that come in over
-- HTTP, and a log of what changed, which clients resume by id.

CREATE TABLE agent_cards (
    account_id    text PRIMARY KEY REFERENCES agent_accounts ON DELETE CASCADE,
    -- The coordinator's id, byte for byte as it was given; null for whoever gave none: the username counts then.
    agent_id      text UNIQUE,
    -- Whoever registered it over HTTP may act for it. Null on an open network, and for agents that registered themselves.
    owner_id      text REFERENCES agent_accounts ON DELETE SET NULL,
    agent_type    text NOT NULL DEFAULT 'general',
    services      text[] NOT NULL DEFAULT '{}',
    tags          text[] NOT NULL DEFAULT '{}',
    endpoints     jsonb NOT NULL DEFAULT '{}',
    metadata      jsonb NOT NULL DEFAULT '{}',
    version       text NOT NULL DEFAULT '1.0.0',
    -- The account whose worker it is.
    coordinator_id text,
    -- From whom it takes what: see docs/COORDINATOR.md.
    accepts       jsonb NOT NULL DEFAULT '{}',
    registered_at timestamptz NOT NULL,
    -- What it reported last: a copy of its row in agent_status, kept by that table's trigger, with what follows from it, so
    -- that ten thousand agents are sorted by health in one go.
    status        text NOT NULL DEFAULT 'active',
    load_metrics  jsonb NOT NULL DEFAULT '{}',
    load          double precision NOT NULL DEFAULT 0,
    -- When it was heard of over HTTP; sessions on NATS have their own.
    heartbeat_at  timestamptz,
    -- The status that was told last.
    told          text NOT NULL DEFAULT 'inactive',
    -- Where its messages go.
    webhook_url   text,
    webhook_secret text,
    webhook_failures integer NOT NULL DEFAULT 0,
    webhook_error text,
    webhook_disabled_at timestamptz,
    -- Something waits to be posted there.
    webhook_due   boolean NOT NULL DEFAULT false
) WITH (fillfactor = 80);
CREATE INDEX agent_cards_type ON agent_cards (agent_type);
CREATE INDEX agent_cards_services ON agent_cards USING gin (services);
CREATE INDEX agent_cards_tags ON agent_cards USING gin (tags);
CREATE INDEX agent_cards_owner ON agent_cards (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX agent_cards_due ON agent_cards (account_id) WHERE webhook_due;

INSERT INTO agent_cards (account_id, registered_at)
    SELECT account_id, created_at FROM agent_accounts WHERE kind = 'agent' AND role <> 'gateway';

-- Presence and reports together: a session on NATS that is heard of counts for active, one that is late for stale; without
-- one, heartbeats over HTTP count, for 60 seconds in full and for 120 as stale.
CREATE FUNCTION agentnet_agent_status(
    reported text, heartbeat timestamptz, seen timestamptz, at timestamptz, late interval
) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN seen > at - late THEN reported
        WHEN heartbeat > at - interval '60 seconds' THEN reported
        WHEN seen IS NOT NULL THEN 'stale'
        WHEN heartbeat > at - interval '120 seconds'
            THEN CASE WHEN reported = 'inactive' THEN 'inactive' ELSE 'stale' END
        ELSE 'inactive'
    END
$$;

-- From 0 to 1; see docs/COORDINATOR.md for the formula.
CREATE FUNCTION agentnet_health_score(reported text, load double precision, heard timestamptz, at timestamptz)
RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT round(greatest(0, least(1, 1
        - CASE WHEN load > 0.8 THEN 0.3 WHEN load > 0.6 THEN 0.1 ELSE 0 END
        - CASE reported WHEN 'error' THEN 0.5 WHEN 'maintenance' THEN 0.2 WHEN 'busy' THEN 0.1 ELSE 0 END
        - CASE WHEN heard IS NULL OR heard < at - interval '120 seconds' THEN 0.5
               WHEN heard < at - interval '60 seconds' THEN 0.2 ELSE 0 END))::numeric, 2)::double precision
$$;

-- What changed, for those who watch. Ids of rows that are committed later may be smaller, so that readers go by the
-- transaction first, and only as far as no older one is under way.
CREATE TABLE agent_feed (
    tx         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    kind       text NOT NULL,
    -- Whom it is about, and who else may read it; null for everybody.
    account_id text,
    readers    text[],
    body       jsonb NOT NULL,
    PRIMARY KEY (tx, id)
);
CREATE INDEX agent_feed_at ON agent_feed (at);

-- The mean load, from 0 to 1, of everything that is reported. Parts of a whole (`cpu_usage`, `memory_usage`, anything that
-- ends like these) count as they are, or as percentages above 1; counts (`active_connections`, `pending_tasks`, anything else)
-- in proportion to `capacity`, `max_tasks` or `max_connections`, else to 100.
CREATE FUNCTION agentnet_load(metrics jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(avg(least(1, CASE
               WHEN name !~ '(_usage|_ratio|_utilization|_load|_percent)$' AND name <> 'load' THEN value / capacity
               WHEN value > 1 THEN value / 100
               ELSE value
           END)), 0)
    FROM (SELECT key AS name, (m.value #>> '{}')::double precision AS value FROM jsonb_each(metrics) m
          WHERE jsonb_typeof(m.value) = 'number') v,
         (SELECT coalesce((SELECT (m.value #>> '{}')::double precision FROM jsonb_each(metrics) m
              WHERE m.key IN ('capacity', 'max_tasks', 'max_connections') AND jsonb_typeof(m.value) = 'number'
              AND (m.value #>> '{}')::double precision > 0 ORDER BY m.key LIMIT 1), 100) AS capacity) c
    WHERE value >= 0 AND name NOT IN ('capacity', 'max_tasks', 'max_connections')
$$;

CREATE FUNCTION agentnet_reported() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE agent_cards SET status = NEW.status, load_metrics = NEW.load_metrics, load = agentnet_load(NEW.load_metrics)
        WHERE account_id = NEW.account_id;
    IF NEW.load_metrics <> '{}' AND (TG_OP = 'INSERT' OR NEW.load_metrics IS DISTINCT FROM OLD.load_metrics) THEN
        INSERT INTO agent_feed (at, kind, account_id, readers, body)
            SELECT NEW.updated_at, 'load_metrics', a.account_id,
                   CASE WHEN a.visibility = 'private' THEN ARRAY[a.account_id, coalesce(c.owner_id, a.account_id)] END,
                   jsonb_build_object('agent_id', coalesce(c.agent_id, a.username), 'account_id', a.account_id,
                       'status', NEW.status, 'load_metrics', NEW.load_metrics)
            FROM agent_accounts a LEFT JOIN agent_cards c USING (account_id) WHERE a.account_id = NEW.account_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER agent_status_reported AFTER INSERT OR UPDATE ON agent_status
    FOR EACH ROW EXECUTE FUNCTION agentnet_reported();
UPDATE agent_cards c SET status = s.status, load_metrics = s.load_metrics, load = agentnet_load(s.load_metrics)
    FROM agent_status s WHERE s.account_id = c.account_id;

-- What happens to tasks, in the transaction in which it happens.
CREATE FUNCTION agentnet_task_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO agent_feed (at, kind, account_id, readers, body)
        VALUES (clock_timestamp(), 'task_' || CASE NEW.state
                    WHEN 'queued' THEN CASE WHEN TG_OP = 'INSERT' THEN 'submitted' ELSE 'retried' END
                    WHEN 'running' THEN 'started' ELSE NEW.state END,
                NEW.submitter, ARRAY[NEW.submitter, NEW.worker],
                jsonb_strip_nulls(jsonb_build_object('task_id', NEW.task_id, 'task_type', NEW.task_type, 'state', NEW.state,
                    'priority', (ARRAY['urgent', 'critical', 'high', 'normal', 'low'])[NEW.priority + 1],
                    'submitter', NEW.submitter, 'worker', NEW.worker, 'attempt', NEW.attempt, 'code', NEW.code)));
    RETURN NULL;
END
$$;
CREATE TRIGGER agent_tasks_submitted AFTER INSERT ON agent_tasks
    FOR EACH ROW EXECUTE FUNCTION agentnet_task_changed();
CREATE TRIGGER agent_tasks_changed AFTER UPDATE OF state ON agent_tasks
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION agentnet_task_changed();

-- Lists by either end of a broadcast: which of an account's threads hold one.
ALTER TABLE agent_threads ADD COLUMN broadcast boolean NOT NULL DEFAULT false;
