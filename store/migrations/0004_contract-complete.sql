-- Up Migration
-- What the whole HTTP contract asks for: an id of the installation, archive and storage facts of sessions, lists by labels, the audit log.

-- One row: the same on every replica over this database, so that two addresses can be compared (requirements.md A.0.c 29).
create table installation (
  only_row boolean primary key default true check (only_row),
  installation_id uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now()
);
insert into installation default values;

alter table sessions
  add column archived_at timestamptz,
  -- Set before its rows are deleted one table after another: from here on the session does not exist for callers.
  add column deleted_at timestamptz,
  add column storage_namespace text,
  -- What the control plane measured at storage_updated_at.
  add column storage_size_bytes bigint,
  add column storage_files_count integer,
  add column storage_sha256 text,
  add column storage_updated_at timestamptz;

-- Lists page by these keys, each with and without a tenant (docs/adr/0019). What a list leaves out by default is not in its index.
create index sessions_by_creation on sessions (created_at desc, session_id desc) where archived_at is null and deleted_at is null;
create index sessions_by_tenant_creation on sessions (tenant_id, created_at desc, session_id desc)
  where archived_at is null and deleted_at is null;
create index sessions_archived on sessions (created_at desc, session_id desc) where archived_at is not null;
create index sessions_archived_by_tenant on sessions (tenant_id, created_at desc, session_id desc) where archived_at is not null;
create index sessions_evicted on sessions (created_at desc, session_id desc) where storage_kind = 'evicted';
drop index sessions_by_tenant;
create index sessions_by_labels on sessions using gin (labels);
create index sessions_to_evict on sessions (expires_at) where storage_kind = 'pvc';
-- Evictions and deletions that have begun: what garbage collection brings to their end.
create index sessions_to_remove on sessions (session_id)
  where deleted_at is not null or (storage_kind = 'evicted' and storage_pvc_phase is not null);
-- What a deletion looks for, and the checks of its foreign keys.
create index commands_by_session on commands (session_id);
create index session_messages_by_session on session_messages (session_id);
create index runner_jobs_by_runner on runner_jobs (job_name);
create index queue_tasks_under_way on queue_tasks (session_id) where state in ('dispatched', 'running');
create index idempotency_keys_by_session on idempotency_keys
  ((coalesce(answer -> 'session' ->> 'sessionId', answer ->> 'sessionId')))
  where coalesce(answer -> 'session' ->> 'sessionId', answer ->> 'sessionId') is not null;
-- Keys that have expired are deleted oldest first.
create index idempotency_keys_by_age on idempotency_keys (created_at);
create index runs_by_labels on runs using gin (labels);
create index runs_of_session on runs (session_id, run_id desc);
-- Not by status, which changes several times in a turn: an index on it would make each of those writes dearer.
create index runs_open on runs (run_id desc) where terminal_status is null;
create index runs_ended on runs (terminal_status, run_id desc) where terminal_status is not null;
create index runners_by_creation on runners (created_at desc, job_name desc);
create index runners_by_tenant_creation on runners (tenant_id, created_at desc, job_name desc);
create index runners_by_session on runners (session_id, created_at desc, job_name desc);

-- Who did what to which thing (security.md 20). Rows are only added; the outcome is filled in once.
create table audit_log (
  audit_id text collate "C" primary key,
  at timestamptz not null default now(),
  actor text not null,
  actor_kind text not null check (actor_kind in ('token', 'oidc', 'anonymous')),
  tenant_id text,
  operation text not null,
  method text not null,
  route text not null,
  resource_kind text,
  resource_id text,
  -- Null: not known, because the process ended before.
  outcome text check (outcome in ('success', 'refused', 'failed')),
  status integer,
  failure_kind text,
  trace_id text not null
);
create index audit_log_by_tenant on audit_log (tenant_id, audit_id desc);
create index audit_log_by_resource on audit_log (resource_id, audit_id desc);
create index audit_log_by_actor on audit_log (actor, audit_id desc);

create function audit_log_is_append_only() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.outcome is null and new.outcome is not null
     and (old.audit_id, old.at, old.actor, old.actor_kind, old.operation, old.method, old.route, old.trace_id)
       = (new.audit_id, new.at, new.actor, new.actor_kind, new.operation, new.method, new.route, new.trace_id) then
    return new;
  end if;
  raise exception 'the audit log is append-only' using errcode = 'integrity_constraint_violation';
end $$;
create trigger audit_log_append_only before update or delete on audit_log
  for each row execute function audit_log_is_append_only();
create trigger audit_log_no_truncate before truncate on audit_log
  for each statement execute function audit_log_is_append_only();

-- Down Migration
-- Migrations go forward only.
