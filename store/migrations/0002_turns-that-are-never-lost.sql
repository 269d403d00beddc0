-- Up Migration
-- How an attempt ended for its run, requests of the agent, clocks that stand still, and what a run's result is read from.

alter table runs
  add column deadline_at timestamptz,
  -- The hard and the idle limit stand still while a request of the agent is pending or the turn is parked: since when, and the time of pauses
  -- that are over (store/pause-clock.ts).
  add column paused_since timestamptz,
  add column paused_ms bigint not null default 0,
  add column parked_at timestamptz,
  add column parked_until timestamptz,
  add column parked_reason text check (parked_reason in ('person', 'provider-limit')),
  -- Time parked for a provider's limit that named no reset time: bounded over the whole run.
  add column provider_parked_ms bigint not null default 0,
  add column cancel_deadline_ms integer;

alter table attempts
  add column first_output_at timestamptz,
  -- Set when the turn's workflow has decided about the attempt: tried again or parked. The last attempt of a run ends with the run.
  add column ended_at timestamptz,
  add column end_failure_kind text,
  add column end_reason text,
  -- False: ended in a park, which does not count against the run's attempts.
  add column counted boolean not null default true,
  add column compact_next boolean not null default false;

alter table commands drop constraint commands_type_check;
alter table commands add constraint commands_type_check check (type in ('turn', 'steer', 'answer'));

create table agent_requests (
  request_id text collate "C" primary key,
  tenant_id text not null,
  session_id text collate "C" not null references sessions,
  run_id text collate "C" not null references runs,
  epoch integer not null,
  kind text not null,
  state text not null default 'pending' check (
    state in ('pending', 'approved', 'denied', 'answered', 'timed-out', 'no-channel', 'superseded', 'withdrawn')),
  fingerprint text not null,
  -- The AgentRequest as its driver reported it (contract/agent-requests.ts).
  request jsonb not null,
  -- The AgentRequestResolution; null while pending.
  resolution jsonb,
  answer_command_id text collate "C",
  asked_at timestamptz not null default now(),
  expires_at timestamptz,
  resolved_at timestamptz,
  -- The agent was told, or a later attempt used the answer.
  delivered_at timestamptz
);
create index agent_requests_by_run on agent_requests (run_id, request_id);
create index agent_requests_by_session on agent_requests (session_id, request_id);
create index agent_requests_pending on agent_requests (run_id) where state = 'pending';

-- What a run's result and its supervisor object are read from, kept by the writes of its events: never by reading the log (contract.md 7).
create table run_projections (
  run_id text collate "C" primary key references runs,
  final_message text,
  diff text,
  -- Sums of the proxy's reports; of the agent's, which are totals of an attempt so far, the last of each epoch.
  proxy_usage jsonb,
  agent_usage jsonb not null default '{}',
  -- The last event that is progress of the agent: {seq, eventId, at, type, activityKind, status, toolName, itemId, summary}.
  last_activity jsonb,
  -- The last provider error that the agent reported and whether output followed it: {seq, at, willRetry, codexErrorInfo, providerStatus, message}.
  last_error jsonb,
  recovered_seq bigint,
  -- The last agent event that says that a transport was lost: {seq, at, message}.
  last_disconnect jsonb,
  late_events integer not null default 0
) with (fillfactor = 70);
insert into run_projections (run_id) select run_id from runs;

-- Down Migration
-- Migrations go forward only.
