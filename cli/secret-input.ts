import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import type { AgentQuestion } from '../contract/agent-requests.js';
import { UsageError } from './explain-error.js';
import { oneLine } from './terminal-text.js';

type SecretQuestion = Pick<AgentQuestion, 'id' | 'header' | 'question'>;

/** Where secrets come from: a terminal, or a pipe or file. */
export interface SecretSource {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly prompt: (text: string) => void;
}

const ownTerminal: SecretSource = {
  input: process.stdin,
  prompt: (text) => void process.stderr.write(text),
};

/**
 * Reads an answer to each question, by its id, without showing it: at a terminal it is asked for without echo, else each answer is a line of the input.
 * The terminal is given back as it was. An empty answer is left out: whether it may be is the API's to say.
 *
 * @throws UsageError when the input ends first, or the person gives up.
 */
export async function readSecrets(
  questions: readonly SecretQuestion[],
  { input, prompt }: SecretSource = ownTerminal,
): Promise<Record<string, string[]>> {
  const terminal = input.isTTY === true;
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: silent, terminal, historySize: 0 });
  const iterator = lines[Symbol.asyncIterator]();
  let gaveUp = false;
  lines.once('SIGINT', () => {
    gaveUp = true;
    lines.close();
  });
  const answers: [string, string[]][] = [];
  try {
    for (const { id, header, question } of questions) {
      const asked = oneLine([header, question].filter((part) => part !== '').join(': '));
      if (terminal) prompt(`${asked} (not shown): `);
      const next = await iterator.next();
      if (terminal) prompt('\n');
      if (gaveUp) throw new UsageError('nothing was answered');
      if (next.done === true)
        throw new UsageError(`stdin: expected a line for the secret answer ${oneLine(id)}`);
      if (next.value !== '') answers.push([id, [next.value]]);
    }
  } finally {
    lines.close();
  }
  return Object.fromEntries(answers);
}
