-- Up Migration
-- What a runner's pod waits for, in the cluster's own words, where it runs, and what was kept of it before it was deleted (activities/pods.ts).

alter table runner_jobs
  add column pod_wait text check (pod_wait in ('place', 'volume', 'image', 'start')),
  add column pod_message text,
  add column pod_since timestamptz,
  add column node_name text,
  add column diagnostics jsonb;

-- Down Migration
-- Migrations go forward only.
