import {
  approvalRequestedPayloadSchema,
  approvalResolvedPayloadSchema,
  type ProducedEvent,
} from '../contract/events.js';
import type { AgentRequestState } from '../contract/states.js';
import { wordlessAnswer, wordlessResolution } from './agent-requests.js';
import { refreshPauseClock } from './pause-clock.js';
import type { Transaction } from './pool.js';
import { storableJson } from './storable-json.js';
import { tellWebhooks } from './webhook-outbox.js';

/** What a batch of events says about requests of the agent. */
interface RequestChanges {
  /** The requests as JSON, in order. */
  readonly asked: readonly {
    readonly requestId: string;
    readonly kind: string;
    readonly fingerprint: string;
    readonly request: string;
  }[];
  readonly resolved: readonly { readonly requestId: string; readonly resolution: AgentRequestState }[];
}

/** Reads the requests that a batch tells of; null when it tells of none. A payload of another shape is only an event. */
export function requestChangesIn(events: readonly ProducedEvent[]): RequestChanges | null {
  const asked = events.flatMap((event) => {
    if (event.type !== 'approval_requested') return [];
    const request = approvalRequestedPayloadSchema.safeParse(event.payload).data;
    if (request === undefined) return [];
    const { requestId, kind, fingerprint } = request;
    return [{ requestId, kind, fingerprint, request: storableJson(request) }];
  });
  const resolved = events.flatMap((event) => {
    if (event.type !== 'approval_resolved') return [];
    const change = approvalResolvedPayloadSchema.safeParse(event.payload).data;
    return change === undefined ? [] : [{ requestId: change.requestId, resolution: change.resolution }];
  });
  return asked.length + resolved.length === 0 ? null : { asked, resolved };
}

/**
 * Stores what a runner says about its agent's requests: a new one is pending until the policy's limit. Of a resolution the row is the truth: one that
 * agrees with it means that the agent was told, which completes the answer's command; `no-channel` and `withdrawn` are the runner's to say, of a
 * pending request only; everything else changes nothing. The caller holds the lock of the run's row.
 */
export async function recordRequestChanges(
  tx: Transaction,
  runId: string,
  epoch: number,
  { asked, resolved }: RequestChanges,
): Promise<void> {
  const fresh: string[] = [];
  if (asked.length > 0) {
    const inserted = await tx.query<{ request_id: string }>(
      `insert into agent_requests (request_id, tenant_id, session_id, run_id, epoch, kind, fingerprint, request, expires_at)
       select n.request_id, r.tenant_id, r.session_id, r.run_id, $2, n.kind, n.fingerprint, n.request::jsonb,
         now() + nullif((r.execution_policy ->> 'approvalTimeoutMs')::bigint, 0) * interval '1 millisecond'
       from runs r, unnest($3::text[], $4::text[], $5::text[], $6::text[]) as n(request_id, kind, fingerprint, request)
       where r.run_id = $1 on conflict (request_id) do nothing returning request_id`,
      [
        runId,
        epoch,
        asked.map(({ requestId }) => requestId),
        asked.map(({ kind }) => kind),
        asked.map(({ fingerprint }) => fingerprint),
        asked.map(({ request }) => request),
      ],
    );
    fresh.push(...inserted.rows.map((row) => row.request_id));
  }
  if (resolved.length > 0) {
    const said = [resolved.map(({ requestId }) => requestId), resolved.map(({ resolution }) => resolution)];
    await tx.query(
      `update agent_requests q set state = n.resolution, resolution = jsonb_build_object('resolution', n.resolution), resolved_at = now()
         from unnest($2::text[], $3::text[]) as n(request_id, resolution)
        where q.request_id = n.request_id and q.run_id = $1 and q.state = 'pending' and n.resolution in ('no-channel', 'withdrawn')`,
      [runId, ...said],
    );
    await recordTold(tx, runId, resolved);
  }
  // Not of one that was withdrawn in the same batch.
  await tellWebhooks(tx, 'pendingRequest', fresh);
  await refreshPauseClock(tx, runId);
}

/**
 * Stores that the agent was told how its requests are resolved, where that agrees with the row; the words of the answers are not needed any more and
 * are overwritten. Also for events that come too late for the log: an answer that was told is given to no other agent. The caller holds the lock of the
 * run's row.
 */
export async function recordTold(
  tx: Transaction,
  runId: string,
  resolved: RequestChanges['resolved'],
): Promise<void> {
  if (resolved.length === 0) return;
  await tx.query(
    `with told as (
       update agent_requests q set delivered_at = now(), resolution = ${wordlessResolution('q.resolution')}
         from unnest($2::text[], $3::text[]) as n(request_id, resolution)
        where q.request_id = n.request_id and q.run_id = $1 and q.state = n.resolution and q.delivered_at is null
          and q.state in ('approved', 'denied', 'answered', 'timed-out', 'no-channel')
        returning q.answer_command_id)
     update commands c set payload = ${wordlessAnswer('c.payload')},
       state = case when c.state in ('pending', 'acknowledged') then 'completed' else c.state end,
       acknowledged_at = coalesce(c.acknowledged_at, now()), delivered_at = coalesce(c.delivered_at, now()), finished_at = coalesce(c.finished_at, now())
      where c.run_id = $1 and c.type = 'answer' and c.command_id in (select answer_command_id from told)`,
    [runId, resolved.map(({ requestId }) => requestId), resolved.map(({ resolution }) => resolution)],
  );
}
