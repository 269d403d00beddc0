-- Up Migration
-- What retention has taken out of the log: readers of the feed are told of it as a gap, and operators can look it up.

create table dropped_events (
  -- A month of `events` that was dropped whole; `events_default`: the sum of what was deleted from it, run by run.
  partition text primary key,
  -- Bounds of its run ids, the upper one exclusive; null for `events_default`.
  from_run_id text collate "C",
  to_run_id text collate "C",
  -- The last event that is gone, in the order of the feed; null: it held none.
  last_xid xid8,
  last_run_id text collate "C",
  last_seq bigint,
  runs bigint not null default 0,
  bytes bigint not null default 0,
  dropped_at timestamptz not null default now()
);

-- Who waits for a lock makes everybody after him wait too: better to fail, and to be run again.
set local lock_timeout = '5s';

-- The highest `xid` among the events of a log. The next ones get none below it, so that the feed, which goes by it, has the events of a run in the order
-- of their seq: a transaction is given its number before it waits for the lock of the log.
alter table run_log add column last_xid xid8;

-- Down Migration
-- Migrations go forward only.
