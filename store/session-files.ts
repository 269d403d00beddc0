import { z } from 'zod';
import { generationOf } from './idle-session.js';
import type { Queryable } from './pool.js';

const filesFactsSchema = z.object({
  sessionId: z.string(),
  generation: z.string(),
  /** Null: nobody has decided it. */
  backend: z.enum(['pvc', 'directory']).nullable(),
  /** An eviction or a deletion has begun: nothing is made any more. */
  isToBeRemoved: z.boolean(),
  /** A runner that we launched has worked in the session's files, so they were there. */
  hadRunner: z.boolean(),
});
export type FilesFacts = z.infer<typeof filesFactsSchema>;

/** What the records say about the files of a session; undefined when there is no such session. */
export async function findFilesFacts(db: Queryable, sessionId: string): Promise<FilesFacts | undefined> {
  const found = await db.query(
    `select s.session_id as "sessionId", ${generationOf('s')} as generation, s.storage_backend as backend, s.storage_kind = 'evicted' as "isToBeRemoved",
       exists (select 1 from runners n where n.session_id = s.session_id and n.launcher <> 'external' and n.runner_id is not null) as "hadRunner"
     from sessions s where s.session_id = $1`,
    [sessionId],
  );
  return found.rows.length === 0 ? undefined : filesFactsSchema.parse(found.rows[0]);
}
