-- Up Migration
-- Signed webhooks: who is told of what, and the outbox of what is to be said (docs/adr/0022). No secret is here: secrets are derived from a key file.

create table webhooks (
  webhook_id text collate "C" primary key,
  -- Null: of all tenants, made by a token that sees all of them.
  tenant_id text,
  project_id text,
  url text not null,
  events text[] not null,
  labels jsonb not null default '{}',
  description text,
  state text not null default 'active' check (state in ('active', 'paused', 'gone')),
  -- The secret is derived from the key, the id and this number.
  secret_generation integer not null default 1 check (secret_generation > 0),
  former_secret_until timestamptz,
  -- Of the key that the secret was derived from: with another key nothing is signed.
  key_fingerprint text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Set first; its deliveries are deleted bit by bit, then the row.
  deleted_at timestamptz
);
-- What every end of a run asks, and lists: next to nothing while there are none, and few of each tenant.
create index webhooks_by_tenant on webhooks (tenant_id, webhook_id desc) where deleted_at is null;
create index webhooks_deleted on webhooks (webhook_id) where deleted_at is not null;

-- Written in the transaction that makes the thing so. No foreign key: the end of a run never waits for somebody who changes a subscription.
create table webhook_deliveries (
  delivery_id text collate "C" primary key,
  webhook_id text collate "C" not null,
  event_type text not null,
  -- The run, task or request that it is about, or the test.
  source_id text not null,
  -- Where the facts are of a run: they go with it.
  run_id text,
  data jsonb not null,
  state text not null default 'waiting' check (state in ('waiting', 'sending', 'delivered', 'dead')),
  -- Each redelivery is one more, with a workflow of its own.
  generation integer not null default 1 check (generation > 0),
  tries integer not null default 0,
  -- The last tries of all generations, the oldest first, bounded.
  results jsonb not null default '[]',
  created_at timestamptz not null default now(),
  dispatched_at timestamptz,
  ended_at timestamptz,
  unique (webhook_id, event_type, source_id)
);
create index webhook_deliveries_waiting on webhook_deliveries (delivery_id) where state = 'waiting';
create index webhook_deliveries_sending on webhook_deliveries (dispatched_at) where state = 'sending';
create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_id, delivery_id desc);
create index webhook_deliveries_by_state on webhook_deliveries (webhook_id, state, delivery_id desc);
create index webhook_deliveries_by_run on webhook_deliveries (run_id) where run_id is not null;
create index webhook_deliveries_ended on webhook_deliveries (state, ended_at) where ended_at is not null;

-- Down Migration
-- Migrations go forward only.
