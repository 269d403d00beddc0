import type { OperationId } from '../../contract/routes/index.js';

type Examples = Readonly<Record<string, { readonly summary: string; readonly value: object }>>;

/** Bodies to begin with, by operation. A test parses each with the schema of its route. */
export const bodyExamples: Readonly<Record<string, Examples>> = {
  createSession: {
    minimal: {
      summary: 'A session of Codex',
      value: { tenantId: 'acme', projectId: 'website' },
    },
    repository: {
      summary: 'With an id of your own, a repository and labels',
      value: {
        sessionId: 'fix-login',
        tenantId: 'acme',
        projectId: 'website',
        workspace: { repository: 'https://git.example.com/acme/website.git', ref: 'main' },
        labels: { team: 'web' },
      },
    },
  },
  send: {
    message: {
      summary: 'A message: it steers the running turn, or is a turn',
      value: { prompt: 'The login page answers 500 for names with an umlaut. Find out why and fix it.' },
    },
    queued: {
      summary: 'A turn of its own, behind the running one',
      value: { prompt: 'Then add a test for it.', whenBusy: 'queue', idempotencyKey: 'fix-login-2' },
    },
    dryRun: {
      summary: 'Only say what would be done',
      value: { dryRun: true, prompt: 'Add a test for it.' },
    },
    decision: {
      summary: 'The answer to a request of the agent',
      value: { answers: 'req_01jzcm5w8xe4yr2bq7n3tk9hva', decision: 'approve' },
    },
  },
  controlSession: { cancel: { summary: 'Cancel the active turn', value: { action: 'cancel' } } },
  createRun: {
    external: {
      summary: 'A run of an existing session, for a runner of your own',
      value: { tenantId: 'acme', projectId: 'website', sessionRef: { sessionId: 'fix-login' } },
    },
  },
  createCommand: {
    turn: {
      summary: 'The prompt that begins the run',
      value: { type: 'turn', payload: { prompt: 'Fix the login page.' }, idempotencyKey: 'fix-login-1' },
    },
    steer: {
      summary: 'A word to the running turn',
      value: { type: 'steer', payload: { prompt: 'Leave the database alone.' } },
    },
  },
  cancelRun: {
    wait: {
      summary: 'Cancel, and answer what was observed within ten seconds',
      value: { reason: 'wrong branch', waitMs: 10_000 },
    },
  },
  createQueueTask: {
    task: {
      summary: 'A task for a new session',
      value: { tenantId: 'acme', projectId: 'website', prompt: 'Update the dependencies.' },
    },
  },
} satisfies Partial<Record<OperationId, Examples>>;
