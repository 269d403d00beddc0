import { z } from 'zod';
import { portSetting } from './setting-types.js';

/** The variables of every process with metrics; `metricsAddress` reads them. */
export const metricsVariables = {
  AGENTRUN_METRICS_PORT: portSetting
    .optional()
    .describe('Port of `GET /metrics`, which asks for no token; 0 asks for a free one. Not set: no metrics.'),
  AGENTRUN_METRICS_HOST: z.string().default('127.0.0.1').describe('Address that the metrics listen on.'),
};

const metricsSchema = z.object(metricsVariables);

/** Where a process serves its metrics; undefined: nowhere. */
export type MetricsAddress = { readonly host: string; readonly port: number } | undefined;

export function metricsAddress(read: z.output<typeof metricsSchema>): MetricsAddress {
  const port = read.AGENTRUN_METRICS_PORT;
  return port === undefined ? undefined : { host: read.AGENTRUN_METRICS_HOST, port };
}
