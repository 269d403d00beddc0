-- Up Migration
-- Without a transaction
-- Built beside the reads and writes of a running installation. What of it was broken off is begun anew at the next run (store/migration-files.ts).

-- Lists page by these keys, each with and without a tenant (docs/adr/0019). What a list leaves out by default is not in its index.
create index concurrently if not exists sessions_by_creation on sessions (created_at desc, session_id desc) where archived_at is null and deleted_at is null;
create index concurrently if not exists sessions_by_tenant_creation on sessions (tenant_id, created_at desc, session_id desc)
  where archived_at is null and deleted_at is null;
create index concurrently if not exists sessions_archived on sessions (created_at desc, session_id desc) where archived_at is not null;
create index concurrently if not exists sessions_archived_by_tenant on sessions (tenant_id, created_at desc, session_id desc) where archived_at is not null;
create index concurrently if not exists sessions_evicted on sessions (created_at desc, session_id desc) where storage_kind = 'evicted';
create index concurrently if not exists sessions_by_labels on sessions using gin (labels);
create index concurrently if not exists sessions_to_evict on sessions (expires_at) where storage_kind = 'pvc';
-- Evictions and deletions that have begun: what garbage collection brings to their end.
create index concurrently if not exists sessions_to_remove on sessions (session_id)
  where deleted_at is not null or (storage_kind = 'evicted' and storage_pvc_phase is not null);
-- What a deletion looks for, and the checks of its foreign keys.
create index concurrently if not exists commands_by_session on commands (session_id);
create index concurrently if not exists session_messages_by_session on session_messages (session_id);
create index concurrently if not exists runner_jobs_by_runner on runner_jobs (job_name);
create index concurrently if not exists queue_tasks_under_way on queue_tasks (session_id)
  where state in ('queued', 'dispatched', 'running');
create index concurrently if not exists idempotency_keys_by_session on idempotency_keys
  ((coalesce(answer -> 'session' ->> 'sessionId', answer ->> 'sessionId')))
  where coalesce(answer -> 'session' ->> 'sessionId', answer ->> 'sessionId') is not null;
-- Keys that have expired are deleted oldest first.
create index concurrently if not exists idempotency_keys_by_age on idempotency_keys (created_at);
create index concurrently if not exists runs_by_labels on runs using gin (labels);
create index concurrently if not exists runs_of_session on runs (session_id, run_id desc);
-- Not by status, which changes several times in a turn: an index on it would make each of those writes dearer.
create index concurrently if not exists runs_open on runs (run_id desc) where terminal_status is null;
create index concurrently if not exists runs_ended on runs (terminal_status, run_id desc) where terminal_status is not null;
create index concurrently if not exists runners_by_creation on runners (created_at desc, job_name desc);
create index concurrently if not exists runners_by_tenant_creation on runners (tenant_id, created_at desc, job_name desc);
create index concurrently if not exists runners_by_session on runners (session_id, created_at desc, job_name desc);
-- Its queries have sessions_by_tenant_creation now.
drop index concurrently if exists sessions_by_tenant;

-- Down Migration
-- Migrations go forward only.
