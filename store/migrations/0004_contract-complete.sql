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

create index sessions_by_creation on sessions (created_at desc, session_id desc);
create index sessions_by_tenant_creation on sessions (tenant_id, created_at desc, session_id desc);
drop index sessions_by_tenant;
create index sessions_by_labels on sessions using gin (labels);
create index sessions_to_evict on sessions (expires_at) where storage_kind = 'pvc';
create index runs_by_labels on runs using gin (labels);
create index runners_by_creation on runners (created_at desc, job_name desc);
create index runners_by_session on runners (session_id, created_at desc);

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
