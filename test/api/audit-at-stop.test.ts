import { expect, it } from 'vitest';
import { auditsWritten } from '../../api/audit.js';
import { newSessionId, owner } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

it('a stop can wait for the ends of all requests that were answered', async () => {
  await database.pool.query(
    `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$;
     create trigger slow before update on audit_log for each row execute function slow()`,
  );
  const outcomes = async () => {
    const found = await database.pool.query<{ outcome: string | null }>('select outcome from audit_log');
    return found.rows.map(({ outcome }) => outcome);
  };
  const answers = await Promise.all(
    [1, 2, 3].map(() =>
      api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId: newSessionId() } }),
    ),
  );
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(await outcomes()).toContain(null);
  await auditsWritten(api.deps.pool);
  expect(await outcomes()).toEqual(['success', 'success', 'success']);
  await auditsWritten(api.deps.pool);
});
