import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { codexText } from '../../runner/drivers/codex/codex-text.js';

const notificationSchema = z.object({ method: z.string(), params: z.unknown() });
const recorded = readFileSync(new URL('./fixtures/codex-notifications.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => notificationSchema.parse(JSON.parse(line)));

test('of what Codex told in recorded turns, messages and summaries of reasoning are live text, and nothing else', () => {
  const found = recorded.flatMap(({ method, params }) => {
    const piece = codexText(method, params);
    return piece === null ? [] : [{ method, ...piece }];
  });
  expect(new Set(found.filter(({ restarts }) => !restarts).map(({ method }) => method))).toEqual(
    new Set(['item/agentMessage/delta', 'item/reasoning/summaryTextDelta']),
  );
  expect(found.every(({ restarts, method }) => restarts === (method === 'item/started'))).toBe(true);
  expect(found.some(({ restarts }) => restarts)).toBe(true);
});

test.each([
  [
    'item/agentMessage/delta',
    { threadId: 't', itemId: 'm', delta: ' and' },
    { itemId: 'm', text: ' and', restarts: false },
  ],
  ['item/reasoning/summaryPartAdded', { threadId: 't', itemId: 'r', summaryIndex: 0 }, null],
  [
    'item/reasoning/summaryPartAdded',
    { threadId: 't', itemId: 'r', summaryIndex: 1 },
    { itemId: 'r', text: '\n\n', restarts: false },
  ],
  [
    'item/started',
    { threadId: 't', turnId: 'u', item: { type: 'agentMessage', id: 'm', text: '' } },
    { itemId: 'm', text: '', restarts: true },
  ],
  [
    'item/started',
    {
      threadId: 't',
      turnId: 'u',
      item: { type: 'commandExecution', id: 'c', command: 'ls', status: 'inProgress' },
    },
    null,
  ],
  ['item/commandExecution/outputDelta', { threadId: 't', itemId: 'c', delta: 'x' }, null],
  ['item/agentMessage/delta', { threadId: 't', delta: 7 }, null],
  ['turn/started', null, null],
])('%s %j', (method, params, piece) => {
  expect(codexText(method, params)).toEqual(piece);
});
