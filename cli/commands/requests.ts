import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { ConnectionError, quickRetry, RawBody } from '../../client/index.js';
import type { AgentRequestRecord } from '../../contract/agent-requests.js';
import { routes } from '../../contract/routes/index.js';
import { type ApiAccess, findApi } from '../api-access.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../explain-error.js';
import { createOutput, type Output } from '../output.js';
import { requestLines } from '../request-lines.js';
import { readSecrets } from '../secret-input.js';
import type { Run } from './run-command.js';

const answerOptions = {
  sessionId: '<sessionId>',
  answers: '<requestId>',
  decision: '<answer>',
  prompt: '<answer>',
  questionAnswers: '--to',
};

/** Adds `requests` and `answer`: what agents ask people. */
export function addRequestCommands(program: Command, run: Run): void {
  program
    .command('requests')
    .description('show what the agent of a session asks: what waits, or with --all also what has ended')
    .argument('<sessionId>')
    .option('--all', 'also requests that were answered, timed out or withdrawn')
    .action((sessionId: string, options: { all?: boolean }, command: Command) =>
      run(
        command,
        () => list(sessionId, options.all === true, createOutput(command.optsWithGlobals().json === true)),
        { optionNames: { sessionId: '<sessionId>' } },
      ),
    );

  program
    .command('answer')
    .description(
      'answer a request of the agent: approve, approve-for-session, deny [why…], or the text of an answer; secret answers are asked for, or read from stdin',
    )
    .argument('<sessionId>')
    .argument('<requestId>', 'req_…, as `requests` and `watch` show it')
    .argument('[answer...]', 'approve, approve-for-session, deny [why…], or a text')
    .option('--to <id=text...>', 'the answer to one of several questions', [])
    .option(
      '--key <idempotencyKey>',
      'a repeat with the same key is answered, not sent again; default: a random one',
    )
    .action(
      (sessionId: string, requestId: string, words: string[], options: AnswerOptions, command: Command) =>
        run(
          command,
          () =>
            answer(
              sessionId,
              requestId,
              words,
              options,
              createOutput(command.optsWithGlobals().json === true),
            ),
          { optionNames: answerOptions },
        ),
    );
}

async function list(sessionId: string, all: boolean, output: Output): Promise<number> {
  const requests = await readRequests(findApi(output), sessionId, all ? undefined : 'pending');
  output.data(...requests);
  output.line(...requests.flatMap(requestLines));
  if (requests.length === 0)
    output.remark(all ? 'the agent has asked nothing' : 'nothing waits for an answer');
  return exitCodes.ok;
}

interface AnswerOptions {
  readonly to: string[];
  readonly key?: string;
}

async function answer(
  sessionId: string,
  requestId: string,
  words: readonly string[],
  options: AnswerOptions,
  output: Output,
): Promise<number> {
  const access = findApi(output);
  const pending = await readRequests(access, sessionId, 'pending');
  const request = pending.find((candidate) => candidate.requestId === requestId);
  const said = answerBody(request, words);
  const byId = answersById(options.to);
  const secrets = secretQuestions(request, said, byId);
  const answers = { ...byId, ...(secrets.length === 0 ? {} : await readSecrets(secrets)) };
  // A request that is not there, or not pending, is the API's to refuse.
  const body = {
    answers: requestId,
    ...said,
    ...(Object.keys(answers).length === 0 ? {} : { questionAnswers: answers }),
    idempotencyKey: options.key ?? `cli-${randomUUID()}`,
  };
  const sent = await access.client.call(
    routes.send,
    { params: { sessionId }, body: RawBody.json(body) },
    { retry: quickRetry },
  );
  if (sent.dryRun) throw new ConnectionError('invalid-answer', 'the API answered a plan to an answer');
  output.data(sent);
  output.line(`${sent.decision} ${sent.command.id} of ${sent.run.id}`);
  return exitCodes.ok;
}

/** To a question every word is text, to a form all but a denial; to everything else the first word decides. */
export function answerBody(
  request: Pick<AgentRequestRecord, 'kind' | 'questions'> | undefined,
  words: readonly string[],
): { decision?: string; prompt?: string } {
  const [first = '', ...rest] = words;
  const decides = decisionsOf(request).includes(first);
  const text = (decides ? rest : words).join(' ').trim();
  return { ...(decides ? { decision: first } : {}), ...(text === '' ? {} : { prompt: text }) };
}

function decisionsOf(request: Pick<AgentRequestRecord, 'kind' | 'questions'> | undefined): readonly string[] {
  if (request?.kind === 'question') return [];
  if (request?.kind === 'elicitation') return request.questions.length === 0 ? ['approve', 'deny'] : ['deny'];
  return ['approve', 'approve-for-session', 'deny'];
}

/**
 * The questions whose answers are read without being shown: a word of the command line stands in the shell's history and in the process list.
 *
 * @throws UsageError when a secret answer is among the words.
 */
export function secretQuestions(
  request: Pick<AgentRequestRecord, 'kind' | 'questions'> | undefined,
  said: ReturnType<typeof answerBody>,
  byId: Readonly<Record<string, readonly string[]>>,
): AgentRequestRecord['questions'] {
  const secrets = (request?.questions ?? []).filter(({ secret }) => secret);
  if (secrets.length === 0 || said.decision !== undefined) return [];
  const given = secrets.find(({ id }) => Object.hasOwn(byId, id));
  if (given !== undefined) throw secretInWords(`--to ${given.id}`);
  if (said.prompt !== undefined) throw secretInWords('<answer>');
  return secrets;
}

const secretInWords = (place: string) =>
  new UsageError(`${place}: the answer is secret, leave it out: it is asked for, or read from stdin`);

/** `id=text`, an id given twice has two answers. */
export function answersById(pairs: readonly string[]): Record<string, string[]> {
  const answers = new Map<string, string[]>();
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    if (at < 1) throw new UsageError(`--to: expected id=text, received ${JSON.stringify(pair)}`);
    const id = pair.slice(0, at);
    answers.set(id, [...(answers.get(id) ?? []), pair.slice(at + 1)]);
  }
  return Object.fromEntries(answers);
}

/** A session asks a person far less often than this: a bound on what a wrong cursor could make of it. */
const mostPages = 20;

async function readRequests(
  access: ApiAccess,
  sessionId: string,
  state: 'pending' | undefined,
): Promise<AgentRequestRecord[]> {
  const found: AgentRequestRecord[] = [];
  let cursor: string | undefined;
  for (let pages = 0; pages < mostPages; pages += 1) {
    const page = await access.client.call(routes.listSessionRequests, {
      params: { sessionId },
      query: { state, cursor, limit: 500 },
    });
    found.push(...page.items);
    if (page.nextCursor === null) break;
    cursor = page.nextCursor;
  }
  return found;
}
