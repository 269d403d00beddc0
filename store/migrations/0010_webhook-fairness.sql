-- Up Migration
-- Deliveries that wait are taken webhook by webhook, so that nobody stands in line behind a subscriber whose receiver hangs (store/webhook-due.ts).

create index webhook_deliveries_waiting_by_webhook on webhook_deliveries (webhook_id, delivery_id) where state = 'waiting';

-- Down Migration
-- Migrations go forward only.
