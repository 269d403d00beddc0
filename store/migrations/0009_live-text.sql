-- Up Migration
-- Text while it is being written (docs/adr/0021). Unlogged: no WAL, empty after a crash of the server, and nothing of it is missed then.

-- Who watches: one row for each process of the API that has a reader of the run. `expires_at` ends what a killed process left.
create unlogged table run_watchers (
  run_id text collate "C" not null,
  process_id text not null,
  expires_at timestamptz not null,
  primary key (run_id, process_id)
);
create index run_watchers_by_expiry on run_watchers (expires_at);

-- Pieces of text of messages that are not in the log yet; trimmed after a minute.
create unlogged table event_deltas (
  run_id text collate "C" not null,
  delta_id bigint generated always as identity,
  item_id text not null,
  -- Of the redacted text of the item, in UTF-16 units.
  text_offset integer not null,
  text text not null,
  -- The last event of the log when this was written: the message itself, when it comes, has a higher seq.
  log_seq bigint not null,
  at timestamptz not null default now(),
  primary key (run_id, delta_id)
);
create index event_deltas_by_age on event_deltas (at);
-- Readers ask for what has a higher id than they know: after a crash the table is empty, and its ids must go on all the same.
alter sequence event_deltas_delta_id_seq set logged;

-- Down Migration
-- Migrations go forward only.
