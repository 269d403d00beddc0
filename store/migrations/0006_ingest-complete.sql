-- Up Migration
-- Who may append to a log, and whether its producer has said all, stand in the log's own row: a batch is one statement (docs/adr/0005).

-- Who waits for a lock makes everybody after him wait too: better to fail, and to be run again.
set local lock_timeout = '5s';

-- The current attempt and the runner that holds it, copied into the row that an append locks. By triggers: every writer of an attempt keeps them, whatever
-- its version.
create function run_log_follows_attempt() returns trigger language plpgsql as $$
begin
  update run_log set writer_epoch = new.current_epoch,
    writer = (select a.claimed_by from attempts a where a.run_id = new.run_id and a.epoch = new.current_epoch)
   where run_id = new.run_id;
  return null;
end $$;
create trigger run_log_follows_attempt after update of current_epoch on runs
  for each row when (old.current_epoch is distinct from new.current_epoch) execute function run_log_follows_attempt();

create function run_log_follows_claim() returns trigger language plpgsql as $$
begin
  update run_log set writer = new.claimed_by
   where run_id = new.run_id and writer_epoch = new.epoch and writer is distinct from new.claimed_by;
  return null;
end $$;
create trigger run_log_follows_claim after insert or update of claimed_by on attempts
  for each row execute function run_log_follows_claim();

alter table run_log
  add column writer_epoch integer not null default 0,
  add column writer text,
  -- The epoch whose producer has completed its stream: its last event is last_producer_seq.
  add column completed_epoch integer;

update run_log g set writer_epoch = r.current_epoch, writer = a.claimed_by
  from runs r left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
 where r.run_id = g.run_id and r.terminal_status is null and r.current_epoch > 0;

-- Not valid: the rows of before have one of the former reasons, and are not read again for it.
alter table quarantined_events drop constraint quarantined_events_reason_check;
alter table quarantined_events add constraint quarantined_events_reason_check
  check (reason in ('fenced', 'after-terminal', 'completed')) not valid;

-- Down Migration
-- Migrations go forward only.
