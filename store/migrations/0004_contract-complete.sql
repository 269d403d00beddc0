-- Up Migration
-- What the whole HTTP contract asks for: an id of the installation, the audit log, archive and storage facts of sessions. Indexes of tables that hold
-- rows already come with the next migration.

-- Who waits for a lock makes everybody after him wait too: better to fail, and to be run again.
set local lock_timeout = '5s';

-- One row: the same on every replica over this database, so that two addresses can be compared (requirements.md A.0.c 29).
create table installation (
  only_row boolean primary key default true check (only_row),
  installation_id uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now()
);
insert into installation default values;

-- What its runner said of a command's end; null when it ended otherwise, for example with its run.
alter table commands add column outcome jsonb;

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
  -- How many refusals alike the entry stands for.
  requests integer not null default 1 check (requests > 0),
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
  -- Only forget_audit_entries says this, and not even that makes young entries go.
  if tg_op = 'DELETE' and current_setting('agentrun.forget_audit_entries', true) = 'on'
     and old.at < now() - interval '30 days' then
    return old;
  end if;
  raise exception 'the audit log is append-only' using errcode = 'integrity_constraint_violation';
end $$;
create trigger audit_log_append_only before update or delete on audit_log
  for each row execute function audit_log_is_append_only();

-- Deletes the entries from before a time at least 30 days ago and answers how many. Nothing of AgentRun calls it: how long entries are kept is for who
-- runs the installation to say (docs/adr/0015).
create function forget_audit_entries(before timestamptz) returns bigint language plpgsql as $$
declare forgotten bigint;
begin
  if before > now() - interval '30 days' then
    raise exception 'audit entries are kept for 30 days at least' using errcode = 'integrity_constraint_violation';
  end if;
  perform set_config('agentrun.forget_audit_entries', 'on', true);
  delete from audit_log where at < before;
  get diagnostics forgotten = row_count;
  perform set_config('agentrun.forget_audit_entries', 'off', true);
  return forgotten;
end $$;
create trigger audit_log_no_truncate before truncate on audit_log
  for each statement execute function audit_log_is_append_only();

-- Last, because it locks the table until the end of the transaction; no row is rewritten.
alter table sessions
  add column archived_at timestamptz,
  -- Whether the caller said when it expires; null in rows of before, where the time itself tells (store/session-expiry.ts).
  add column expires_at_chosen boolean,
  -- Set before its rows are deleted one table after another: from here on the session does not exist for callers.
  add column deleted_at timestamptz,
  add column storage_namespace text,
  -- What the control plane measured at storage_updated_at.
  add column storage_size_bytes bigint,
  add column storage_files_count integer,
  add column storage_sha256 text,
  add column storage_updated_at timestamptz;

-- Down Migration
-- Migrations go forward only.
