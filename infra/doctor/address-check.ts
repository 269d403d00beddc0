import { z } from 'zod';
import type { Check } from '../../contract/doctor.js';
import { healthSchema } from '../../contract/health.js';
import type { ResolvedBase } from '../config/base-urls.js';

/** Of a health body only this: an API of another version is still one. */
const answerSchema = z.object({ data: healthSchema.pick({ serviceId: true, installationId: true }) });
const longestAnswer = 100_000;

/**
 * Whether a base URL leads to this very AgentRun: its health body must name the same installation (requirements.md A.0.c 29).
 *
 * `installationId` is asked for after the answer, so that a database that is away does not hide a wrong URL.
 */
export function addressCheck(options: {
  readonly name: string;
  readonly base: ResolvedBase;
  readonly installationId: () => Promise<string>;
}): Check {
  const { base, name } = options;
  const { url, variable } = base;
  const wrong = (message: string, cure: string) => ({ ok: false, message, cure, variable }) as const;
  return {
    name,
    variable,
    cure: `start the API, or correct ${variable}`,
    look: async (signal) => {
      let text: string;
      let status: number;
      try {
        const response = await fetch(`${url}/health`, { redirect: 'manual', signal });
        status = response.status;
        text = (await response.text()).slice(0, longestAnswer);
      } catch (error) {
        const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : '';
        return wrong(
          `nobody answers at ${url}${reason === '' ? '' : ` (${reason})`}`,
          `start the API, or correct ${variable}`,
        );
      }
      const answer = answerSchema.safeParse(parsed(text)).data?.data;
      if (answer === undefined) {
        const place = status >= 300 && status < 400 ? 'redirects' : 'answers and is not the AgentRun API';
        return wrong(
          `what is at ${url} ${place} (HTTP ${status} for ${url}/health)`,
          `correct scheme, host, port or path of ${variable}: below it must be /health and /api/v1`,
        );
      }
      const mine = await options.installationId();
      if (answer.installationId === mine) return { ok: true, message: `${url} leads to this installation` };
      return answer.installationId === null
        ? wrong(
            `the API at ${url} cannot reach its database`,
            'correct DATABASE_URL of the API, or start Postgres',
          )
        : wrong(
            `${url} leads to another installation of AgentRun (${answer.installationId}, this one is ${mine})`,
            `correct ${variable}, or the DATABASE_URL of either side`,
          );
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
