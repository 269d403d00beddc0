-- Up Migration
-- The words of an answer are kept only until the agent was told, or the run has ended: those of before are overwritten.

update session_messages set body = jsonb_build_object('answer', (body -> 'answer') || '{"text":null,"answers":null}')
 where decision is not null and body ? 'answer';

update agent_requests q set resolution = q.resolution || case q.resolution ->> 'resolution'
    when 'answered' then '{"text":null,"answers":null}'::jsonb when 'denied' then '{"text":null}' else '{}' end
 from runs r where r.run_id = q.run_id and q.state in ('answered', 'denied')
   and (q.delivered_at is not null or r.terminal_status is not null);

update commands c set payload = c.payload || '{"text":null,"answers":null}'
 from runs r where r.run_id = c.run_id and c.type = 'answer' and (c.delivered_at is not null or r.terminal_status is not null);

-- Messages that their session has not decided about: looked for when a run ends, because an answer among them is not needed any more.
create index session_messages_undecided on session_messages (session_id) where decision is null;

-- Down Migration
-- Migrations go forward only.
