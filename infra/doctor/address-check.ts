import { z } from 'zod';
import type { Check } from '../../contract/doctor.js';
import { errorEnvelopeSchema } from '../../contract/envelope.js';
import { healthSchema } from '../../contract/health.js';
import type { ResolvedBase } from '../config/base-urls.js';

/** Of a health body only this: an API of another version is still one. */
const answerSchema = z.object({ data: healthSchema.pick({ serviceId: true, installationId: true }) });
/** Bytes. */
const refusalSchema = errorEnvelopeSchema.pick({ ok: true, failureKind: true });
const longestAnswer = 100_000;

/**
 * Whether a base URL leads to this very AgentRun: its health body must name the same installation (requirements.md A.0.c 29).
 *
 * `installationId` is asked for after the answer, so that a database that is away neither hides a wrong URL nor makes a right one wrong.
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
        text = await beginningOf(response);
      } catch (error) {
        const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : '';
        return wrong(
          `nobody answers at ${url}${reason === '' ? '' : ` (${reason})`}`,
          `start the API, or correct ${variable}`,
        );
      }
      const answer = answerSchema.safeParse(parsed(text)).data?.data;
      if (refusalSchema.safeParse(parsed(text)).data?.failureKind === 'route-not-found') {
        return wrong(
          `the AgentRun API answers at ${url}, but not below this path`,
          `correct the path of ${variable}`,
        );
      }
      if (answer === undefined) {
        const place = status >= 300 && status < 400 ? 'redirects' : 'answers and is not the AgentRun API';
        return wrong(
          `what is at ${url} ${place} (HTTP ${status} for ${url}/health)`,
          `correct scheme, host, port or path of ${variable}: below it must be /health and /api/v1`,
        );
      }
      let mine: string;
      try {
        mine = await options.installationId();
      } catch {
        return {
          ok: false,
          severity: 'skipped',
          message: `an AgentRun API answers at ${url}; whether it is this installation cannot be said without the database`,
          cure: 'start Postgres, or correct DATABASE_URL',
          variable: 'DATABASE_URL',
        };
      }
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

/** The first {@link longestAnswer} bytes: what is at a wrong address may send without an end. */
async function beginningOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body: AsyncIterable<Uint8Array> | null = response.body;
  for await (const chunk of body ?? []) {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    if (bytes >= longestAnswer) break;
  }
  return Buffer.concat(chunks).toString('utf8', 0, longestAnswer);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
