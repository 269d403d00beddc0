import { z } from 'zod';
import { generationOf, type SessionGeneration, unknownSession } from './idle-session.js';
import type { Queryable } from './pool.js';

/** A turn of a session: its number, its run, and the last event of that. */
export interface TurnHead {
  readonly turn: number;
  readonly runId: string;
  readonly lastSeq: number;
}

/** Where the logs of a session stand, to begin a stream of it. */
export interface SessionHead extends SessionGeneration {
  /** Null before the first turn. */
  readonly last: TurnHead | null;
  /** The turn that was asked about; null when the session has none of this number. */
  readonly asked: TurnHead | null;
}

const turnSchema = z.object({ turn: z.number(), runId: z.string(), lastSeq: z.number() }).nullable();
const headSchema = z.object({ generation: z.string(), last: turnSchema, asked: turnSchema });
const turnColumns = `jsonb_build_object('turn', r.session_turn, 'runId', r.run_id, 'lastSeq', g.last_seq)`;

/**
 * Where the logs of a session stand, and where its turn `turn` does.
 *
 * @throws AgentRunError `not-found`, also for a session of another tenant.
 */
export async function readSessionHead(
  db: Queryable,
  sessionId: string,
  { turn, tenantId }: { readonly turn: number; readonly tenantId?: string | undefined },
): Promise<SessionHead> {
  const found = await db.query(
    `select ${generationOf('s')} as generation,
       (select ${turnColumns} from runs r join run_log g using (run_id)
         where r.session_id = s.session_id and r.session_turn is not null order by r.session_turn desc limit 1) as last,
       (select ${turnColumns} from runs r join run_log g using (run_id)
         where r.session_id = s.session_id and r.session_turn = $2) as asked
     from sessions s where s.session_id = $1 and s.deleted_at is null and ($3::text is null or s.tenant_id = $3)`,
    [sessionId, turn, tenantId ?? null],
  );
  if (found.rows.length === 0) throw unknownSession(sessionId);
  return { sessionId, ...headSchema.parse(found.rows[0]) };
}

/** How a session stands that somebody follows. */
export interface SessionState {
  readonly generation: string;
  /** Number of its latest turn; 0 before the first. */
  readonly turns: number;
  readonly isArchived: boolean;
}

const stateSchema = z.object({
  session_id: z.string(),
  generation: z.string(),
  turns: z.number(),
  archived: z.boolean(),
});

/** How many sessions stand, in one statement. One that does not exist, or is being deleted, is not in the answer. */
export async function readSessionStates(
  db: Queryable,
  sessionIds: readonly string[],
): Promise<ReadonlyMap<string, SessionState>> {
  const found = await db.query(
    `select s.session_id, ${generationOf('s')} as generation, s.turns, s.archived_at is not null as archived
       from sessions s where s.session_id = any($1) and s.deleted_at is null`,
    [sessionIds],
  );
  return new Map(
    z
      .array(stateSchema)
      .parse(found.rows)
      .map((row) => [
        row.session_id,
        { generation: row.generation, turns: row.turns, isArchived: row.archived },
      ]),
  );
}

/** What comes after a turn of a session: the next one, if there is one yet. */
export interface AfterTurn {
  readonly next: { readonly turn: number; readonly runId: string } | null;
  readonly isArchived: boolean;
}

/** What comes after the turn `turn`, in one look; undefined: the session was deleted. */
export async function readAfterTurn(
  db: Queryable,
  { sessionId, generation }: SessionGeneration,
  turn: number,
): Promise<AfterTurn | undefined> {
  const found = await db.query<{ archived: boolean; turn: number | null; run_id: string | null }>(
    `select s.archived_at is not null as archived, n.session_turn as turn, n.run_id from sessions s
       left join lateral (select r.session_turn, r.run_id from runs r
         where r.session_id = s.session_id and r.session_turn > $3 order by r.session_turn limit 1) n on true
      where s.session_id = $1 and ${generationOf('s')} = $2 and s.deleted_at is null`,
    [sessionId, generation, turn],
  );
  const row = found.rows[0];
  if (row === undefined) return undefined;
  const next = row.turn === null || row.run_id === null ? null : { turn: row.turn, runId: row.run_id };
  return { next, isArchived: row.archived };
}
