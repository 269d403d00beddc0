import { pause } from '../../client/index.js';
import type { Outcome } from '../../contract/commands.js';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import type { TurnEnd } from '../drivers/driver.js';
import type { ProviderProxy } from '../proxy/provider-proxy.js';
import type { Acknowledgements } from './acknowledgements.js';
import type { AgentHostConnection } from './agent-host-connection.js';
import { attemptOutcome, type Interference } from './attempt-outcome.js';
import type { EventUploader } from './event-uploader.js';
import type { RunApi } from './manager-api.js';
import { type ReportResult, reportOutcome } from './outcome-report.js';
import { stopLimits } from './stop-limits.js';
import type { TurnEvents } from './turn-events.js';

/** The flush before the report has the patience; this one only begins it. */
const earlyFlushMs = 1_000;

export interface AttemptReportOptions {
  readonly api: RunApi;
  readonly uploader: EventUploader;
  readonly events: TurnEvents;
  readonly acknowledgements: Acknowledgements;
  readonly proxy: Pick<ProviderProxy, 'lastObservation'>;
  readonly agentHost: Pick<AgentHostConnection, 'diff'>;
  readonly workspaceDirectory: string;
  readonly redactor: Redactor;
  readonly threadId: string | null;
  readonly interference: Interference;
  /** What former attempts left and could not be uploaded yet, once more; bounded. */
  readonly leftovers: () => Promise<void>;
  /** Fires when nothing more can be reported. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Tells how an attempt ended: the diff of its work, the last events, then the outcome. Answers what the runner does next. */
export async function reportAttempt(end: TurnEnd, options: AttemptReportOptions): Promise<ReportResult> {
  const { api, uploader, interference, redactor, signal, log } = options;
  // Side by side: what the agent said last is on its way while git looks.
  await Promise.all([
    interference.stopping ? undefined : addDiff(options),
    uploader.flush(earlyFlushMs),
    options.acknowledgements.flush(earlyFlushMs),
    Promise.race([options.leftovers(), pause(earlyFlushMs)]),
  ]);
  const outcome = attemptOutcome(end, interference, options.threadId, (text) => redactor.text(text));
  if (outcome.terminalStatus === 'failed') tellFailure(outcome, options);
  const result = await reportOutcome({
    api,
    uploader,
    outcome,
    signal,
    ...(interference.stopping ? { flushLimitMs: stopLimits.flushMs } : {}),
    log,
  });
  log.info(
    { outcome: outcome.terminalStatus, failureKind: outcome.failureKind, next: result },
    'attempt reported',
  );
  return result;
}

function tellFailure(
  { failureKind, failureMessage }: Outcome,
  { proxy, events }: AttemptReportOptions,
): void {
  const observation = proxy.lastObservation;
  events.add({
    type: 'backend_status',
    payload: {
      phase: 'attempt-failed',
      failureKind: failureKind ?? null,
      message: failureMessage ?? null,
      providerStatus: observation?.status ?? null,
      providerErrorCode: observation?.errorCode ?? null,
      resetAt: observation?.resetAtMs == null ? null : new Date(observation.resetAtMs).toISOString(),
    },
  });
}

/** The diff of the workspace, or else the agent's own. */
async function addDiff({ agentHost, workspaceDirectory, events }: AttemptReportOptions): Promise<void> {
  const { diff, truncated } = await agentHost.diff(workspaceDirectory);
  if (diff === '') return;
  if (diff !== null) events.upload({ type: 'diff', payload: { diff, source: 'workspace', truncated } });
  else if (events.agentDiff !== undefined) events.upload(events.agentDiff);
}
