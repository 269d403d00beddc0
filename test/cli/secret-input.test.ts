import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { answerBody, secretQuestions } from '../../cli/commands/requests.js';
import { UsageError } from '../../cli/explain-error.js';
import { requestLines } from '../../cli/request-lines.js';
import { readSecrets } from '../../cli/secret-input.js';

const question = (id: string, secret: boolean) => ({
  id,
  header: '',
  question: `${id}?`,
  options: null,
  secret,
});

function source(isTTY: boolean) {
  const input = new PassThrough();
  const rawModes: boolean[] = [];
  const setRawMode = (on: boolean) => rawModes.push(on);
  let shown = '';
  const prompt = (text: string) => {
    shown += text;
  };
  return {
    input,
    rawModes,
    shown: () => shown,
    options: { input: Object.assign(input, { isTTY, setRawMode }), prompt },
  };
}

describe('secret answers', () => {
  it('are lines of the input, in the order of the questions; an empty one is left out', async () => {
    const { input, options, shown } = source(false);
    input.end('one\n\nthree = 3\n');
    const questions = ['a', 'b', 'c'].map((id) => question(id, true));
    expect(await readSecrets(questions, options)).toEqual({ a: ['one'], c: ['three = 3'] });
    expect(shown()).toBe('');
  });

  it('are asked for at a terminal without being shown', async () => {
    const { input, options, shown, rawModes } = source(true);
    const answers = readSecrets([question('a', true), question('b', true)], options);
    input.write('hun');
    input.write('terx\u007f2\r');
    input.write('pin\r');
    expect(await answers).toEqual({ a: ['hunter2'], b: ['pin'] });
    expect(shown()).toBe('a? (not shown): \nb? (not shown): \n');
    expect(rawModes).toEqual([true, false]);
    expect(input.isPaused()).toBe(true);
  });

  it('are not guessed when the input ends, or the person gives up', async () => {
    const ended = source(false);
    ended.input.end('one\n');
    const two = [question('a', true), question('b', true)];
    await expect(readSecrets(two, ended.options)).rejects.toThrow('the secret answer b');
    const terminal = source(true);
    const answers = readSecrets(two, terminal.options);
    terminal.input.write('abc\u0003');
    await expect(answers).rejects.toThrow(UsageError);
  });
});

describe('which answers are secret', () => {
  const request = (...questions: ReturnType<typeof question>[]) => ({ kind: 'question' as const, questions });
  const secrets = (asked: ReturnType<typeof request>, words: string[], byId: Record<string, string[]> = {}) =>
    secretQuestions(asked, answerBody(asked, words), byId).map(({ id }) => id);

  it('those that the agent says, but for the others', () => {
    expect(secrets(request(question('a', true)), [])).toEqual(['a']);
    expect(secrets(request(question('a', false)), ['x'])).toEqual([]);
    const mixed = request(question('a', true), question('b', false), question('c', true));
    expect(secrets(mixed, [], { b: ['x'] })).toEqual(['a', 'c']);
    expect(secretQuestions(undefined, { prompt: 'x' }, {})).toEqual([]);
  });

  it('none when a form is denied', () => {
    const form = { kind: 'elicitation' as const, questions: [question('a', true)] };
    expect(secretQuestions(form, answerBody(form, ['deny']), {})).toEqual([]);
  });

  it('refused as words of the command line', () => {
    expect(() => secrets(request(question('a', true)), ['hunter2'])).toThrow('the answer is secret');
    expect(() => secrets(request(question('a', true)), [], { a: ['x'] })).toThrow('--to a');
  });

  it('are not asked for as words', () => {
    const lines = requestLines({
      requestId: 'req_1',
      kind: 'question',
      itemId: null,
      summary: '',
      command: null,
      cwd: null,
      reason: null,
      questions: [question('a', true), question('b', false)],
      details: null,
      fingerprint: 'f',
      runId: 'run_1',
      sessionId: 's1',
      epoch: 1,
      state: 'pending',
      askedAt: 'now',
      expiresAt: null,
      resolvedAt: null,
      deliveredAt: null,
      answerCommandId: null,
      valuesPrinted: false,
    });
    expect(lines.at(-1)).toContain('req_1 --to b=<text> (asked for without echo');
  });
});
