-- Tasks (ADR 0009): what was submitted, who has it, and how often it was tried. All times are this database's.

CREATE TABLE agent_tasks (
    task_id         text PRIMARY KEY,
    -- An account's id.
    submitter       text NOT NULL,
    idempotency_key text,
    -- Of everything the submitter said, so that the same request is told from another one under the same id or key.
    request_sha256  bytea NOT NULL,
    task_type       text,
    -- JSON as it was written.
    task_data       text NOT NULL,
    -- 0 urgent, 1 critical, 2 high, 3 normal, 4 low.
    priority        smallint NOT NULL CHECK (priority BETWEEN 0 AND 4),
    requirements    jsonb NOT NULL,
    affinity        text NOT NULL,
    state           text NOT NULL CHECK (state IN
        ('queued', 'assigned', 'running', 'completed', 'failed', 'cancelled', 'expired', 'dead')),
    created_at      timestamptz NOT NULL,
    -- The order: when it came, or a second behind the task of the same submitter and priority before it that waits, whichever
    -- is later; less its priority's head start.
    rank_at         timestamptz NOT NULL,
    deadline        timestamptz NOT NULL,
    -- From when on it might have been given to somebody.
    due_at          timestamptz NOT NULL,
    -- Whether it waits for `next_attempt_at`, and how often nobody was found who could do it.
    parked          boolean NOT NULL DEFAULT false,
    next_attempt_at timestamptz NOT NULL,
    looks           integer NOT NULL DEFAULT 0,
    -- How often it was given to a worker, and how many of these attempts were begun and came to nothing.
    attempt         integer NOT NULL DEFAULT 0,
    attempts_failed integer NOT NULL DEFAULT 0,
    max_attempts    integer NOT NULL,
    -- Who has it, or had it last.
    worker          text,
    worker_session  text,
    -- What the worker shows; of the last attempt that was accepted.
    lease           text,
    lease_until     timestamptz,
    assigned_at     timestamptz,
    accepted_at     timestamptz,
    progress        double precision,
    progress_note   text,
    -- JSON as it was written.
    result          text,
    code            text,
    detail          text,
    finished_at     timestamptz,
    -- Whether its end is in `agent_task_ends`.
    counted         boolean NOT NULL DEFAULT false,
    CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled', 'expired', 'dead'))),
    CHECK (state NOT IN ('assigned', 'running') OR (worker IS NOT NULL AND lease_until IS NOT NULL)),
    CHECK (state <> 'running' OR lease IS NOT NULL)
) WITH (fillfactor = 70);
-- The queue in its order, and the last in it of each submitter.
CREATE INDEX agent_tasks_queue ON agent_tasks (rank_at, task_id) WHERE state = 'queued' AND NOT parked;
CREATE INDEX agent_tasks_slots ON agent_tasks (submitter, priority, rank_at) WHERE state = 'queued';
CREATE INDEX agent_tasks_parked ON agent_tasks (next_attempt_at) WHERE state = 'queued' AND parked;
CREATE INDEX agent_tasks_sizes ON agent_tasks (priority, created_at) WHERE state = 'queued';
CREATE INDEX agent_tasks_deadline ON agent_tasks (deadline) WHERE state IN ('queued', 'assigned', 'running');
CREATE INDEX agent_tasks_in_hand ON agent_tasks (worker, submitter) WHERE state IN ('assigned', 'running');
CREATE INDEX agent_tasks_lease ON agent_tasks (lease_until) WHERE state IN ('assigned', 'running');
CREATE UNIQUE INDEX agent_tasks_key ON agent_tasks (submitter, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- Lists.
CREATE INDEX agent_tasks_newest ON agent_tasks (created_at DESC, task_id DESC);
CREATE INDEX agent_tasks_state ON agent_tasks (state, created_at DESC, task_id DESC);
CREATE INDEX agent_tasks_submitter ON agent_tasks (submitter, created_at DESC, task_id DESC);
CREATE INDEX agent_tasks_worker ON agent_tasks (worker, created_at DESC, task_id DESC) WHERE worker IS NOT NULL;
CREATE INDEX agent_tasks_uncounted ON agent_tasks (finished_at) WHERE finished_at IS NOT NULL AND NOT counted;
CREATE INDEX agent_tasks_finished ON agent_tasks (finished_at) WHERE finished_at IS NOT NULL;

-- Attempts that ended, written with what ended them.
CREATE TABLE agent_task_attempts (
    task_id     text NOT NULL REFERENCES agent_tasks ON DELETE CASCADE,
    attempt     integer NOT NULL,
    worker      text NOT NULL,
    session     text,
    assigned_at timestamptz NOT NULL,
    -- From when the task might have been given to somebody until it was.
    waited      interval NOT NULL,
    accepted_at timestamptz,
    ended_at    timestamptz NOT NULL,
    -- `completed`, or a code.
    outcome     text NOT NULL,
    detail      text,
    -- The state that the task reached by it.
    state       text NOT NULL,
    -- Whether it is in the figures of its worker below.
    counted     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (task_id, attempt)
);
CREATE INDEX agent_task_attempts_uncounted ON agent_task_attempts (ended_at) WHERE NOT counted;

-- Figures of workers, out of their attempts, and what the strategies go by.
CREATE TABLE agent_task_workers (
    account_id       text PRIMARY KEY,
    attempts         bigint NOT NULL DEFAULT 0,
    completed        bigint NOT NULL DEFAULT 0,
    waited           interval NOT NULL DEFAULT '0',
    -- Milliseconds from beginning to completion, lately.
    avg_ms           double precision,
    last_assigned_at timestamptz,
    -- What it was given, by its weight.
    share            double precision NOT NULL DEFAULT 0
);

-- How many tasks ended in each state, also of those that retention has removed.
CREATE TABLE agent_task_ends (
    state text PRIMARY KEY,
    ended bigint NOT NULL DEFAULT 0
);

-- What operators set for all replicas: one row.
CREATE TABLE agent_task_settings (
    only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    strategy   text NOT NULL,
    changed_at timestamptz NOT NULL,
    changed_by text
);

-- What agents said about how they are.
CREATE TABLE agent_status (
    account_id   text PRIMARY KEY,
    status       text NOT NULL,
    load_metrics jsonb NOT NULL DEFAULT '{}',
    updated_at   timestamptz NOT NULL
) WITH (fillfactor = 70);
