-- Up Migration
-- Ids sort by time; collation C makes Postgres compare them byte by byte, as the partition bounds of `events` demand.

create table sessions (
  session_id text collate "C" primary key,
  tenant_id text not null,
  project_id text not null,
  backend_profile text not null,
  conversation_id text,
  thread_id text,
  codex_rollout_subdir text not null default 'sessions',
  workspace jsonb,
  execution_policy jsonb not null default '{}',
  labels jsonb not null default '{}',
  metadata jsonb not null default '{}',
  storage_kind text not null default 'none' check (storage_kind in ('none', 'pvc', 'evicted')),
  storage_backend text check (storage_backend in ('pvc', 'directory')),
  storage_pvc_name text,
  storage_pvc_phase text,
  active_run_id text collate "C",
  active_command_id text collate "C",
  last_run_id text collate "C",
  last_command_id text collate "C",
  turns integer not null default 0,
  last_activity_at timestamptz,
  expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index sessions_by_tenant on sessions (tenant_id, session_id desc);

create table session_reads (
  session_id text collate "C" not null references sessions,
  reader_id text not null,
  run_id text collate "C",
  read_at timestamptz not null default now(),
  primary key (session_id, reader_id)
);

create table runs (
  run_id text collate "C" primary key,
  tenant_id text not null,
  project_id text not null,
  session_id text collate "C" not null references sessions,
  -- Position among the session's turns; null until the turn workflow is to run it.
  session_turn integer,
  conversation_id text,
  session_metadata jsonb not null default '{}',
  backend_profile text not null,
  provider_id text,
  status text not null default 'pending'
    check (status in ('pending', 'claimed', 'running', 'completed', 'failed', 'blocked', 'cancelled')),
  -- While true a steer may be inserted; set to false under the row lock by the outcome "completed", a cancel or the finish
  -- (architecture.md 4.1).
  is_open boolean not null default true,
  launcher text not null check (launcher in ('process', 'kubernetes', 'external')),
  execution_policy jsonb not null,
  workspace jsonb,
  labels jsonb not null default '{}',
  metadata jsonb not null default '{}',
  current_epoch integer not null default 0,
  prompt_command_id text collate "C",
  last_command_seq integer not null default 0,
  cancel_requested_at timestamptz,
  cancel_reason text,
  terminal_status text,
  failure_kind text,
  failure_message text,
  thread_id text,
  turn_id text,
  traceparent text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  updated_at timestamptz not null default now()
);
create index runs_by_session on runs (session_id, session_turn);
create index runs_open_by_session on runs (session_id, run_id) where terminal_status is null;
create index runs_by_tenant on runs (tenant_id, run_id desc);

create table runners (
  job_name text primary key,
  tenant_id text not null,
  session_id text collate "C" not null references sessions,
  backend_profile text not null,
  launcher text not null,
  fingerprint text not null,
  state text not null check (state in ('launching', 'serving', 'idle', 'closing', 'gone')),
  -- The runner instance: one start of a supervisor (decisions.md, Words).
  runner_id text,
  version text,
  capabilities jsonb,
  run_id text collate "C",
  epoch integer,
  idle_timeout_ms integer not null,
  idle_until timestamptz,
  expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
-- An external runner may serve many runs under one name of its own.
create unique index runners_by_instance on runners (runner_id) where launcher <> 'external';
create index runners_idle_by_session on runners (session_id) where state = 'idle';
create index runners_alive on runners (launcher, job_name) where state <> 'gone';

-- One row per attempt; the epoch is the attempt number, written before the launch (architecture.md 5).
create table attempts (
  run_id text collate "C" not null references runs,
  epoch integer not null check (epoch > 0),
  job_name text not null,
  mode text not null check (mode in ('start', 'resume')),
  claim_deadline_at timestamptz not null,
  claimed_by text,
  claimed_at timestamptz,
  first_event_at timestamptz,
  last_progress_at timestamptz,
  outcome text check (outcome in ('completed', 'failed', 'blocked', 'cancelled')),
  outcome_body jsonb,
  outcome_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (run_id, epoch)
);

-- The lease of a runner, narrow on purpose: it is written every few seconds (HOT updates, no index on what changes).
create table leases (
  job_name text primary key references runners,
  run_id text collate "C",
  epoch integer,
  runner_id text not null,
  lease_ms integer not null,
  expires_at timestamptz not null,
  heartbeat_at timestamptz not null default now(),
  progress jsonb
) with (fillfactor = 50);
create index leases_by_run on leases (run_id);

create table runner_jobs (
  job_id text collate "C" primary key,
  run_id text collate "C" not null references runs,
  epoch integer not null,
  command_id text collate "C",
  job_name text not null references runners,
  namespace text,
  launcher text not null,
  reused boolean not null default false,
  phase text not null default 'creating',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (run_id, epoch)
);

create table commands (
  command_id text collate "C" primary key,
  run_id text collate "C" not null references runs,
  session_id text collate "C" not null references sessions,
  seq integer not null,
  type text not null check (type in ('turn', 'steer')),
  state text not null default 'pending'
    check (state in ('pending', 'acknowledged', 'completed', 'failed', 'blocked', 'cancelled')),
  steer_delivery text check (steer_delivery in ('pending', 'acknowledged', 'delivered', 'next-turn', 'rejected')),
  payload jsonb not null,
  idempotency_key text,
  -- The turn command that a steer became when its turn had ended first.
  next_command_id text collate "C",
  created_at timestamptz not null default now(),
  acknowledged_at timestamptz,
  delivered_at timestamptz,
  finished_at timestamptz,
  unique (run_id, seq)
);
create index commands_undelivered on commands (run_id) where delivered_at is null and type = 'steer';
-- Steers that are to become turns, found by the session when it looks for its next turn.
create index commands_next_turn on commands (session_id, command_id)
  where steer_delivery = 'next-turn' and next_command_id is null;

-- A message that was handed in and the decision about it. The command id is made at intake; a send is decided once,
-- in the transaction that has the effect (architecture.md 4.1, Idempotency).
create table session_messages (
  command_id text collate "C" primary key,
  tenant_id text not null,
  session_id text collate "C" not null,
  route text not null,
  idempotency_key text not null,
  body_hash text not null,
  body jsonb not null,
  -- A run that exists already (POST runs, then a turn command), else null.
  run_id text collate "C",
  notify_workflow_id text,
  traceparent text,
  decision jsonb,
  created_at timestamptz not null default now(),
  decided_at timestamptz,
  unique (tenant_id, route, idempotency_key)
);

create table idempotency_keys (
  tenant_id text not null,
  route text not null,
  idempotency_key text not null,
  body_hash text not null,
  answer jsonb not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, route, idempotency_key)
);

-- The narrow row of a run's log, locked once per batch (architecture.md 6).
create table run_log (
  run_id text collate "C" primary key references runs,
  last_seq bigint not null default 0,
  epoch integer not null default 0,
  last_producer_seq bigint not null default 0,
  last_event_at timestamptz,
  closed_at timestamptz
) with (fillfactor = 50);

create table events (
  run_id text collate "C" not null,
  seq bigint not null,
  event_id text not null,
  epoch integer not null,
  -- Sequence of the producer within its epoch; null for events that the control plane writes.
  producer_seq bigint,
  type text not null,
  at timestamptz not null default now(),
  payload jsonb not null,
  raw jsonb,
  -- Commits happen out of order; a feed over all runs reads below pg_snapshot_xmin (architecture.md 6).
  xid xid8 not null default pg_current_xact_id(),
  primary key (run_id, seq)
) partition by range (run_id);
create index events_by_transaction on events (xid, run_id, seq);
create table events_default partition of events default;

create table quarantined_events (
  quarantine_id bigint generated always as identity primary key,
  run_id text collate "C" not null,
  epoch integer not null,
  producer_seq bigint,
  reason text not null check (reason in ('fenced', 'after-terminal')),
  event jsonb not null,
  at timestamptz not null default now()
);
create unique index quarantined_events_once on quarantined_events (run_id, epoch, producer_seq);

create table queue_tasks (
  task_id text collate "C" primary key,
  tenant_id text not null,
  project_id text not null,
  queue text not null,
  title text,
  state text not null default 'queued' check (
    state in ('queued', 'dispatched', 'running', 'completed', 'failed', 'blocked', 'cancelled', 'expired')),
  priority integer not null default 0,
  backend_profile text not null,
  session_id text collate "C" not null,
  payload jsonb not null,
  workspace jsonb,
  execution_policy jsonb not null default '{}',
  labels jsonb not null default '{}',
  metadata jsonb not null default '{}',
  attempts integer not null default 0,
  latest_run_id text collate "C",
  latest_command_id text collate "C",
  terminal_status text,
  failure_kind text,
  failure_message text,
  created_at timestamptz not null default now(),
  dispatched_at timestamptz,
  finished_at timestamptz,
  updated_at timestamptz not null default now()
);
create index queue_tasks_by_queue on queue_tasks (tenant_id, queue, state, task_id);
create index queue_tasks_by_run on queue_tasks (latest_run_id) where latest_run_id is not null;

-- Down Migration
-- Migrations go forward only.
