import { DefaultLogger, type LogEntry } from '@temporalio/worker';
import type { Logger } from '../infra/telemetry/logger.js';

/** Temporal's own lines in the worker's log, with their level and attributes. */
export function temporalLogger(logger: Logger): DefaultLogger {
  return new DefaultLogger('INFO', (entry: LogEntry) => {
    // Temporal's word for an execution of a workflow is ours for a turn.
    const meta: Record<string, unknown> = { ...entry.meta };
    const { runId: workflowRunId, trace_id: traceId, ...rest } = meta;
    const fields = {
      ...rest,
      ...(workflowRunId === undefined ? {} : { workflowRunId }),
      ...(traceId === undefined ? {} : { traceId }),
    };
    // The supervising worker has none on purpose.
    if (entry.message.startsWith('No workflows registered')) return logger.debug(fields, entry.message);
    switch (entry.level) {
      case 'ERROR':
        return logger.error(fields, entry.message);
      case 'WARN':
        return logger.warn(fields, entry.message);
      case 'INFO':
        return logger.debug(fields, entry.message);
      case 'DEBUG':
      case 'TRACE':
        return logger.trace(fields, entry.message);
    }
  });
}
