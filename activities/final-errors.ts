import { ApplicationFailure, Context } from '@temporalio/activity';
import { ApplicationFailureCategory } from '@temporalio/common';
import pg from 'pg';
import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';

/**
 * SQLSTATE classes that no repeat changes: data exception, integrity constraint violation, syntax error or access rule violation. Everything else
 * (connections, locks, timeouts, a server that starts) is tried again.
 */
const finalClasses: readonly string[] = ['22', '23', '42'];

/**
 * A refusal that no retry changes becomes a typed, non-retryable failure; its type is the failure kind. What Postgres says about it may hold
 * values of the statement, so only the step and the code go into the history. A refusal of our own kinds is expected: no warning, neither here nor
 * by Temporal, for which it is benign.
 */
export async function finalErrors<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const refusal = refusalOf(step, error);
    if (refusal === undefined) throw error;
    const { type, message } = refusal;
    const { log } = Context.current();
    // The caller is told why: that a session is busy is no fault of anybody's. Everything else is.
    const isExpected = error instanceof AgentRunError;
    if (isExpected) log.info('refused', { step, failureKind: type, reason: message });
    else log.warn('refused for good', { step, failureKind: type, reason: message, cause: error });
    throw ApplicationFailure.create({
      type,
      message,
      nonRetryable: true,
      ...(isExpected ? { category: ApplicationFailureCategory.BENIGN } : {}),
    });
  }
}

/** The failure that a step ends with for good; undefined for one that may pass. */
export function refusalOf(step: string, error: unknown): { type: string; message: string } | undefined {
  if (error instanceof AgentRunError) {
    return error.failureKind === 'unavailable'
      ? undefined
      : { type: error.failureKind, message: error.message };
  }
  if (error instanceof z.ZodError) {
    // A record that this version cannot read; where and how, never its values.
    const [first] = error.issues;
    const where = first === undefined ? '' : ` (${first.path.join('.')}: ${first.code})`;
    return { type: 'infra-failed', message: `the records for ${step} cannot be read${where}` };
  }
  if (!(error instanceof pg.DatabaseError) || error.code === undefined) return undefined;
  if (!finalClasses.includes(error.code.slice(0, 2))) return undefined;
  return { type: 'infra-failed', message: `Postgres refused ${step} (SQLSTATE ${error.code})` };
}
